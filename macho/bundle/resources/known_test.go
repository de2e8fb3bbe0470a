package resources

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"narseal/macho"
)

// The functions for codesign's expressions match what Go's regular expressions do.
func TestKnownRules(t *testing.T) {
	pieces := []string{
		"", "/", "/", ".", "a", "é", "\xff", "\n", "Resources", "Base", ".lproj", "Info.plist", "version", "plist", "locversion",
		"embedded.provisionprofile", "PkgInfo", ".dSYM", ".DS_Store", ".pkg", "Frameworks", "SharedFrameworks", "PlugIns", "Plug-ins", "XPCServices",
		"Helpers", "MacOS", "Library", "Automator", "Spotlight", "LoginItems", ".lproj/locversion.plist", "version.plist", "Resources/",
	}
	var paths []string
	for _, a := range pieces {
		for _, b := range pieces {
			for _, c := range pieces {
				paths = append(paths, a+b+c)
			}
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		path := ""
		for range 1 + r.IntN(8) {
			path += pieces[r.IntN(len(pieces))]
		}
		paths = append(paths, path)
	}
	for pattern, match := range known {
		parsed, err := parseExpression(pattern)
		if err != nil {
			t.Fatalf("%s: %v", pattern, err)
		}
		re := regexp.MustCompile(parsed.String())
		matched := 0
		for _, p := range paths {
			got := match(p)
			if want := re.MatchString(p); got != want {
				t.Fatalf("%s: %q: %v, want %v", pattern, p, got, want)
			}
			matched += count(got)
		}
		if matched == 0 {
			t.Errorf("%s matches no path of the test", pattern)
		}
	}
}

// A comparison that is made once gives the same problems for each executable as one made for it alone.
func TestComparison(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		l := &List{files: map[string]*seal{}}
		for pattern, rule := range map[string]rule{"^.*": {weight: 1}, "^o": {weight: 2, omit: true}} {
			if err := l.addRule(pattern, rule); err != nil {
				t.Fatal(err)
			}
		}
		var files []File
		for i := range 12 {
			path := fmt.Sprintf("%c%02d", "aox"[r.IntN(3)], i)
			if r.IntN(4) > 0 {
				files = append(files, File{Path: path, Sums: &Sums{}, Touched: r.IntN(4) == 0})
			}
			if r.IntN(3) > 0 {
				l.files[path] = &seal{sums: []byte{byte(r.IntN(2)), 19: 0}, types: 1 << macho.SHA1, optional: r.IntN(3) == 0}
			}
		}
		slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
		once := l.Compare(&Bundle{Files: files})
		for _, executable := range []string{"", "none", "a00", "a03", "a11", "o05", "x07"} {
			all := problemsFor(l, files, executable)
			for _, most := range []int{1, 2, 5, 100} {
				want := all
				if more := len(all) - most; more > 0 {
					last := Problem{macho.Resource{Problem: fmt.Sprintf("%d more files do not match", more)}, slices.ContainsFunc(all[most:], func(p Problem) bool { return p.Touched })}
					want = append(slices.Clone(all[:most]), last)
				}
				if got := once.Problems(executable, most); !slices.Equal(got, want) {
					t.Fatalf("%q, at most %d: got\n%v, want\n%v", executable, most, got, want)
				}
			}
		}
	}
}

// problemsFor is a plain comparison for one executable, with the rules of the test.
func problemsFor(l *List, files []File, executable string) (all []Problem) {
	seen := map[string]bool{}
	touched := false
	for _, f := range files {
		touched = touched || f.Touched
		if f.Path == executable || f.Path[0] == 'o' {
			continue
		}
		seen[f.Path] = true
		if s := l.files[f.Path]; s == nil {
			all = append(all, Problem{macho.Resource{Path: f.Path, Problem: "added"}, f.Touched})
		} else if s.sums[0] != 0 {
			all = append(all, Problem{macho.Resource{Path: f.Path, Problem: Changed}, f.Touched})
		}
	}
	for path, s := range l.files {
		if !seen[path] && !s.optional {
			all = append(all, Problem{macho.Resource{Path: path, Problem: "missing"}, touched})
		}
	}
	slices.SortFunc(all, func(a, b Problem) int { return strings.Compare(a.Path, b.Path) })
	return all
}

// Everything that takes time counts: files, entries, expressions, and their compiling.
func TestCost(t *testing.T) {
	cost := func(files, entries int, patterns ...string) int64 {
		l := &List{files: map[string]*seal{}}
		for i := range entries {
			l.files[fmt.Sprint(i)] = &seal{}
		}
		for _, p := range patterns {
			if err := l.addRule(p, rule{}); err != nil {
				t.Fatal(err)
			}
		}
		all := make([]File, files)
		for i := range all {
			all[i].Path = strings.Repeat("x", 60)
		}
		return l.Cost(all)
	}
	var codesign []string
	for pattern := range known {
		codesign = append(codesign, pattern)
	}
	const file = 188 // of 60 bytes
	for _, test := range []struct {
		name        string
		got         int64
		least, most int64
	}{
		{"nothing", cost(0, 0), 0, 0},
		{"files", cost(1000, 0), 1000 * file, 1000 * file},
		{"files and entries", cost(1000, 1000), 1000 * (file + fileCost), 1000 * (file + fileCost)},
		{"entries without files or rules", cost(0, 49_000), 49_000 * fileCost, 49_000 * fileCost},
		{"codesign's rules", cost(1000, 0, codesign...), 1000 * file, 1000 * file},
		{"another rule", cost(0, 0, "a"), ruleCost + instructionCost, ruleCost + 3*instructionCost},
		{"another rule and files", cost(1000, 0, "(a.?){100}"), 1000 * 60 * 200, 1000 * 60 * 800},
	} {
		if test.got < test.least || test.got > test.most {
			t.Errorf("%s: %d, want %d to %d", test.name, test.got, test.least, test.most)
		}
	}
}
