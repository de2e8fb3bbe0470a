package resources

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

// matchesOf returns which paths grep -E finds the expression in, with the C library's regcomp(3), byte by byte.
func matchesOf(t *testing.T, pattern string, paths []string) (found []string, ok bool) {
	t.Helper()
	cmd := exec.Command("grep", "-zE", "-e", pattern)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdin = strings.NewReader(strings.Join(paths, "\x00") + "\x00")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if exit, failed := err.(*exec.ExitError); failed && exit.ExitCode() > 1 {
		return nil, false
	} else if err != nil && !failed {
		t.Fatal(err)
	}
	for s := range strings.SplitSeq(string(out), "\x00") {
		if s != "" {
			found = append(found, s)
		}
	}
	return found, true
}

// An expression that is accepted matches what grep -E finds. Those that codesign writes are accepted.
func TestExpressions(t *testing.T) {
	nartest.Tool(t, "grep")
	paths := []string{
		"a", "b", "ab", "aab", "a.b", "a]b", `a\b`, "evil", "Resources/evil", "Resources/en.lproj/x", "version.plist", "a\nb", "x", "SC_Info/a.sinf", "Frameworks/a.framework/SC_Info/a.supf", "0", "-", "^", "$",
		"[", "]", "{", "}", "a{1}", "(a)", "|", "1", "aa", "aaa", "ev\xc3\xa9l", "\xff", ".DS_Store", "a/.DS_Store", "Info.plist", "Frameworks/F.framework", "A", "Z", "é",
	}
	pieces := []string{
		"a", "b", ".", "^", "$", "*", "+", "?", "|", "(", ")", "[", "]", "{", "}", "1", "2", ",", "\\", "-", "[^", "[]", "[:alpha:]", "[a-z]",
		"[^/]", `\.`, `\]`, `\x65`, "{1}", "{1,}", "{2,3}", "é", "/", "[a-b-]", "[[:digit:]a]", "()", "x", "n", "d", "<", ">", "`", "'", "w",
	}
	for _, p := range []string{
		"^.*", `^Info\.plist$`, `^(.*/)?\.DS_Store$`, `^.*\.lproj/`, "^[^/]+$", "^(Frameworks|SharedFrameworks)/", `^.*\.dSYM($|/)`,
		"^Library/(Automator|Spotlight|LoginItems)/", `^Resources/.*\.lproj/locversion.plist$`, `^Base\.lproj/`, "^a{1,255}$", "[]x]", "[^]x]", "[a-]", "[-a]",
		"^", "()", "^()a", "(())b", "(a|())b", "(()|a)$", `(Frameworks/[^/]+\.framework/|PlugIns/[^/]+\.appex/|())SC_Info/[^/]+\.sinf$`,
		`^(Frameworks/[^/]+\.framework/|PlugIns/[^/]+\.appex/|PlugIns/[^/]+\.appex/Frameworks/[^/]+\.framework/|())SC_Info/[^/]+\.(sinf|supf|supp)$`,
		`^Watch/[^/]+\.app/(Frameworks/[^/]+\.framework/|PlugIns/[^/]+\.appex/|PlugIns/[^/]+\.appex/Frameworks/[^/]+\.framework/)SC_Info/[^/]+\.(sinf|supf|supp)$`,
	} {
		if why := notPOSIX(p); why != "" {
			t.Errorf("%q: %s", p, why)
		}
		checkExpression(t, p, paths)
	}
	for _, p := range []string{
		`^Resources/[\]e]vil$`, `\x65`, `\145`, `\n`, `\a`, `\d`, `\w`, `\b`, `\Qa`, `\<`, `\>`, "\\`", `\'`, `\/`, "a**", "a+?", "a{1}{2}", "^*", "$*", "(*a)", "a{,3}", "a{x", "a{256}",
		"a{3,1}", "(|a)", "(a|)", "()*", "(){2}", "(()+)", "a(|)", "a||b", "|a", "a|", "", "é", "[é]", "[[.a.]]", "[[=a=]]", "[[:word:]]", "[[:^alpha:]]", "[z-a]", "[!--]", "[a-c-e]", "[[a]", "[:alpha:]", "a\x00", "(?i)a",
	} {
		if _, err := parseExpression(p); err == nil {
			t.Errorf("%q is accepted", p)
		}
	}
	random := rand.New(rand.NewPCG(1, 3))
	accepted := 0
	for range 1_000_000 {
		p := ""
		for range 1 + random.IntN(6) {
			p += pieces[random.IntN(len(pieces))]
		}
		if _, err := parseExpression(p); err != nil {
			continue
		}
		if accepted++; accepted > 300 {
			break
		}
		checkExpression(t, p, paths)
	}
	if accepted < 300 {
		t.Errorf("only %d expressions are accepted", accepted)
	}
}

func checkExpression(t *testing.T, pattern string, paths []string) {
	t.Helper()
	want, ok := matchesOf(t, pattern, paths)
	if !ok {
		t.Errorf("%q is accepted, and not by grep -E", pattern)
		return
	}
	l := &List{}
	if err := l.addRule(pattern, rule{weight: 1}); err != nil {
		t.Error(err)
		return
	}
	var got []string
	for _, p := range paths {
		r, clear := l.find(p, false)
		switch {
		case !clear && isASCII(p):
			t.Errorf("%q: %q is not clear", pattern, p)
		case !clear && slices.Contains(want, p), r != nil:
			got = append(got, p)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q matches %q, grep -E finds %q", pattern, got, want)
	}
}
