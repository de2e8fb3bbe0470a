package scripts

import (
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

// TestOptions compares docs/options.md with the help that the program prints.
func TestOptions(t *testing.T) {
	nartest.Tool(t, "go")
	if out, err := exec.Command(nartest.Tool(t, "bash"), "options", "--check").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// A page is a file of documentation in Markdown.
type page struct {
	name string // relative to the root of the module
	text string
}

// pages returns the documentation in the root and in docs.
func pages(t *testing.T) []page {
	var all []page
	for _, pattern := range []string{"../*.md", "../docs/*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(names), err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, page{filepath.ToSlash(strings.TrimPrefix(name, "../")), string(b)})
		}
	}
	return all
}

func TestReadmeIsShort(t *testing.T) {
	b, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), "\n"); n > 250 {
		t.Errorf("README.md has %d lines, want at most 250", n)
	}
}

var (
	fence   = regexp.MustCompile("(?ms)^( *)```.*?^ *```$")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	notSlug = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns what GitHub makes of a page's headings.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		all[strings.ReplaceAll(notSlug.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return all
}

// TestLinks follows each link from one page of the documentation to a file or to a heading.
func TestLinks(t *testing.T) {
	all := map[string]map[string]bool{} // anchors of each page
	for _, p := range pages(t) {
		all[p.name] = anchors(p.text)
	}
	followed := 0
	for _, p := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(p.text, ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			followed++
			file, anchor, _ := strings.Cut(m[1], "#")
			to := p.name
			if file != "" {
				to = path.Join(path.Dir(p.name), file)
			}
			if _, err := os.Stat(filepath.Join("..", filepath.FromSlash(to))); err != nil {
				t.Errorf("%s links to %s: %v", p.name, m[1], err)
			} else if anchor != "" && !all[to][anchor] {
				t.Errorf("%s links to %s: no such heading", p.name, m[1])
			}
		}
	}
	if followed < 10 {
		t.Errorf("only %d links", followed)
	}
}

var (
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	testName = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`)
	goTest   = regexp.MustCompile(`go test ((?:\./\S+ )+)-run '?([^\x60' ]+)'?`)
)

// tests returns the names of the tests in each directory of the module, such as "nar/compression".
func tests(t *testing.T) map[string][]string {
	all := map[string][]string{}
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(strings.TrimPrefix(filepath.Dir(name), "../"))
		for _, m := range testFunc.FindAllStringSubmatch(string(b), -1) {
			all[dir] = append(all[dir], m[1])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestNamedTestsExist looks for the tests that the documentation says hold a promise: by their names, and
// by the commands that run them, of which each alternative must choose a test.
func TestNamedTestsExist(t *testing.T) {
	all := tests(t)
	exists := map[string]bool{}
	for _, names := range all {
		for _, name := range names {
			exists[name] = true
		}
	}
	named, commands := 0, 0
	for _, p := range pages(t) {
		for _, name := range testName.FindAllString(p.text, -1) {
			if named++; !exists[name] {
				t.Errorf("%s names %s, which does not exist", p.name, name)
			}
		}
		for _, m := range goTest.FindAllStringSubmatch(p.text, -1) {
			if m[2] == "^$" {
				continue // only benchmarks
			}
			var names []string
			for pkg := range strings.FieldsSeq(m[1]) {
				dir := strings.TrimPrefix(pkg, "./")
				for in := range all {
					if in == dir || strings.HasSuffix(dir, "/...") && strings.HasPrefix(in+"/", strings.TrimSuffix(dir, "...")) {
						names = append(names, all[in]...)
					}
				}
			}
			for alternative := range strings.SplitSeq(m[2], "|") {
				commands++
				chosen := regexp.MustCompile(alternative)
				found := false
				for _, name := range names {
					found = found || chosen.MatchString(name)
				}
				if !found {
					t.Errorf("%s: no test matches %q in %q", p.name, alternative, m[0])
				}
			}
		}
	}
	if named < 10 || commands < 10 {
		t.Errorf("%d tests and %d patterns", named, commands)
	}
}
