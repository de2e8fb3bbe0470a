package rules

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

func TestParse(t *testing.T) {
	for _, test := range []struct{ in, from, to string }{
		{"{A}={B}", "{A}", "{B}"},
		{"/nix/store/{A}=/nix/store/{B}", "{A}", "{B}"},
		{"/gnu/store/{A}-x=/gnu/store/{B}-y", "{A}-x", "{B}-y"},
		{"/nix/store/{A}-x={B}-y", "{A}-x", "{B}-y"},
		{"{A}-x={B}-x", "{A}", "{B}"},
		{"{A}-x={A}-y", "{A}-x", "{A}-y"},
		{"{A}-a=b={B}-c=d", "{A}-a=b", "{B}-c=d"},
		{"{A}-=={B}-x", "{A}-=", "{B}-x"},
		{"{A}-.a={B}-+b", "{A}-.a", "{B}-+b"},
		{"{A}-" + strings.Repeat("n", 211) + "={B}-" + strings.Repeat("m", 211), "{A}-" + strings.Repeat("n", 211), "{B}-" + strings.Repeat("m", 211)},
	} {
		got, err := Parse(expand(test.in))
		want := Rule{expand(test.from), expand(test.to)}
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %q, %v, want %q", expand(test.in), got, err, want)
		}
	}
}

// badRules are rules that nothing accepts, and what the error must say.
var badRules = []struct{ from, to, want string }{
	{"", "{B}", `old "": empty`},
	{"{A}", "", `new "": empty`},
	{"{A}x", "{B}x", `"x" at offset 32, want the end or "-"`},
	{hashA[:31], hashB[:31], "hash part has 31 characters, want 32"},
	{"{A}", "{B}-x", "lengths differ"},
	{"{A}-x", "{B}-xy", "lengths differ"},
	{hashA[:31] + "e", "{B}", `"e" at offset 31`},
	{"o" + hashA[1:], "{B}", `"o" at offset 0`},
	{"{A}", "tt" + hashB[2:], `new "tt`},
	{"{A}", hashB[:5] + "u" + hashB[6:], `"u" at offset 5`},
	{strings.ToUpper(hashA), "{B}", `"C" at offset 1`},
	{"{A}-", "{B}-", "empty name"},
	{"{A}-a b", "{B}-abc", `" " at offset 34`},
	{"{A}-é", "{B}-ab", `"\xc3" at offset 33`},
	{"{A}-a\x00", "{B}-ab", `"\x00" at offset 34`},
	{"{A}-.", "{B}-x", `component "."`},
	{"{A}-..-x", "{B}-abcd", `component ".."`},
	{"{A}-" + strings.Repeat("n", 212), "{B}-" + strings.Repeat("m", 212), "name has 212 characters, want at most 211"},
}

func TestBadRules(t *testing.T) {
	for _, test := range badRules {
		rule := Rule{expand(test.from), expand(test.to)}
		_, compileErr := Compile([]Rule{rule}, AllEncodings)
		_, parseErr := Parse(rule.From + "=" + rule.To)
		for _, err := range []error{compileErr, parseErr} {
			if err == nil || !strings.Contains(err.Error(), expand(test.want)) {
				t.Errorf("%q: got error %v, want one that says %q", rule, err, test.want)
			}
		}
	}
}

func TestParseErrors(t *testing.T) {
	for in, want := range map[string]string{
		"":                              `rule "": got no "="`,
		"{A}":                           `got no "=", want OLD=NEW`,
		"/nix/store/{A}=/gnu/store/{B}": `the store directories "/nix/store/" and "/gnu/store/" differ`,
		"/nix/store/{A}-x/={B}-x":       "empty",
		"/nix/store/{A}-x/bin/x={B}-x":  `hash part has 1 characters`,
		"{A}={B}={C}":                   `"=" at offset 32`,
	} {
		if _, err := Parse(expand(in)); err == nil || !strings.Contains(err.Error(), expand(want)) {
			t.Errorf("Parse(%q): got error %v, want one that says %q", expand(in), err, want)
		}
	}
}

func TestParseFile(t *testing.T) {
	file := expand("# a comment\r\n\r\n{A}={B}\r\n  {B}\t{C}  # and why\n\n#{D}={D}\n#/nix/store/{D}-x={A}-x\n\t#/x/{D}={A}\n#\u0085/x/{D}={A}\n/nix/store/{C}-x {D}-x\n{D}-x={A}-y")
	got, err := ParseFile(iotest.OneByteReader(strings.NewReader(file)), "rules")
	if err != nil {
		t.Fatal(err)
	}
	want := []Rule{{hashA, hashB}, {hashB, hashC}, {hashC, hashD}, {hashD + "-x", hashA + "-y"}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestParseFileErrors(t *testing.T) {
	for in, want := range map[string]string{
		"{A}={B}\n\n{A}":                   `rules:3: rule "{A}": got no "="`,
		"{A} {B} {C}":                      "rules:1: got 3 words",
		"{A} = {B}":                        "rules:1: got 3 words",
		"junk\t/x/{A}={B}":                 `rules:1: rule "junk /x/{A}={B}"`,
		"junk\u00a0/x/{A}={B}":             `rules:1: rule "junk /x/{A}={B}"`,
		"{A} x{B}":                         `rules:1: rule "{A} x{B}": new "x{B}"`,
		"\n" + strings.Repeat(" ", 20<<10): "rules:2: bufio.Scanner: token too long",
	} {
		if rules, err := ParseFile(strings.NewReader(expand(in)), "rules"); err == nil || !strings.Contains(err.Error(), expand(want)) {
			t.Errorf("%.80q: got %q and error %v, want one that says %q", expand(in), rules, err, expand(want))
		}
	}
	broken := errors.New("broken")
	if _, err := ParseFile(iotest.ErrReader(broken), "rules"); !errors.Is(err, broken) {
		t.Errorf("got error %v, want %v", err, broken)
	}
	if rules, err := ParseFile(strings.NewReader("# nothing\n"), "rules"); err != nil || len(rules) != 0 {
		t.Errorf("got %q and error %v from a file without rules", rules, err)
	}
}

// Lines without rules take no memory for any.
func TestParseFileOfEmptyLines(t *testing.T) {
	text := strings.Repeat("\n", 8<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := ParseFile(strings.NewReader(text), "rules"); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 4*uint64(len(text)) {
		t.Errorf("%d bytes were allocated for %d", n, len(text))
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, test := range []struct {
		rules []Rule
		enc   Encodings
		want  string
	}{
		{nil, AllEncodings, "no rules"},
		{[]Rule{{hashA, hashB}}, 0, "encodings"},
		{[]Rule{{hashA, hashB}}, AllEncodings + 1, "encodings"},
		{[]Rule{{hashA, hashB}, {hashC, hashD}, {hashA, hashC}}, UTF8, expand(`two rules for "{A}": one gives "{B}", one "{C}"`)},
		{[]Rule{{hashA + "-x", hashB + "-y"}, {hashA + "-x", hashB + "-z"}}, UTF8, "two rules"},
		{[]Rule{{hashA + "-x", hashB + "-x"}, {hashA + "-y", hashC + "-y"}}, UTF8, "two rules"},
	} {
		if _, err := Compile(test.rules, test.enc); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Compile(%q, %d): got error %v, want one that says %q", test.rules, test.enc, err, test.want)
		}
	}
}

func TestCompileKeepsOrder(t *testing.T) {
	in := parse(t, "{C}={D} {A}={B} {C}={D} {A}-x={B}-y {B}-x={C}-x {A}={B}")
	r := compile(t, in, UTF8)
	want := parse(t, "{C}={D} {A}={B} {A}-x={B}-y {B}={C}")
	if r.Len() != len(want) {
		t.Fatalf("got %d rules, want %d", r.Len(), len(want))
	}
	for i := range want {
		if r.Rule(i) != want[i] {
			t.Errorf("rule %d is %q, want %q", i, r.Rule(i), want[i])
		}
	}
	in[0].From = hashD
	if r.Rule(0).From != hashC {
		t.Error("compiled rules changed with the caller's slice")
	}
}

func TestEncodings(t *testing.T) {
	for in, want := range map[string]Encodings{
		"utf8": UTF8, "utf16": UTF16, "utf32": UTF32, "utf8,utf16": UTF8 | UTF16,
		"UTF8, utf32 ,utf32": UTF8 | UTF32, "utf32,utf16,utf8": AllEncodings,
	} {
		got, err := ParseEncodings(in)
		if err != nil || got != want {
			t.Errorf("ParseEncodings(%q) = %v, %v, want %v", in, got, err, want)
		}
		if again, err := ParseEncodings(got.String()); err != nil || again != got {
			t.Errorf("ParseEncodings(%q) = %v, %v, want %v", got.String(), again, err, got)
		}
	}
	for _, in := range []string{"", "utf-8", "utf8,", "utf8 utf16", "latin1"} {
		if got, err := ParseEncodings(in); err == nil || !strings.Contains(err.Error(), "want utf8, utf16 or utf32") {
			t.Errorf("ParseEncodings(%q) = %v, %v, want an error that lists the names", in, got, err)
		}
	}
}

// Whatever a rules file holds, it is refused or its rules compile and read back.
func FuzzParseFile(f *testing.F) {
	f.Add(expand("{A}={B}\n"))
	f.Add(expand("/nix/store/{A}-x=/nix/store/{B}-y # why\r\n{C} {D}"))
	f.Add(expand("{A}-a=b={B}-c=d\n"))
	for _, bad := range badRules {
		f.Add(expand(bad.from + "=" + bad.to))
	}
	f.Fuzz(func(t *testing.T, file string) {
		rules, err := ParseFile(strings.NewReader(file), "rules")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "rules:") {
				t.Errorf("error without a place: %v", err)
			}
			return
		}
		for _, rule := range rules {
			if _, err := Compile([]Rule{rule}, AllEncodings); err != nil {
				t.Errorf("parsed rule does not compile: %v", err)
			}
			if again, err := Parse(rule.From + "=" + rule.To); err != nil || again != rule {
				t.Errorf("%q reads back as %q, %v", rule, again, err)
			}
		}
	})
}

func TestHashPart(t *testing.T) {
	for _, s := range []string{hashA, hashA + "-n", "/nix/store/" + hashA + "-n", "/nix/store/" + hashA} {
		if got, err := HashPart(s); got != hashA || err != nil {
			t.Errorf("%q: got %q, %v", s, got, err)
		}
	}
	for _, s := range []string{"", hashA[1:], hashA + "x", hashA + "-", "/nix/store/" + hashA + "-n/bin", "e" + hashA[1:]} {
		if got, err := HashPart(s); got != "" || err == nil {
			t.Errorf("%q: got %q, want an error", s, got)
		}
	}
}
