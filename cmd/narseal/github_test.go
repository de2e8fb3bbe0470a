package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"narseal/filter"
	"narseal/macho"
)

// undoGithub is what GitHub's runner makes of an escaped value.
func undoGithub(s string) string {
	return strings.NewReplacer("%25", "%", "%0D", "\r", "%0A", "\n", "%3A", ":", "%2C", ",").Replace(s)
}

// Whatever a name holds, an annotation is one line, and says it.
func TestGithubAnnotation(t *testing.T) {
	t.Setenv("GITHUB_STEP_SUMMARY", "")
	for _, name := range []string{"a", "a,b:c", "a%0Ab", "a\n::set-env name=X::y", "a\r::error::x", "100%"} {
		var out bytes.Buffer
		g := newGithub(&out)
		g.add(name, "", true, filter.Signature{Path: name, Slice: macho.Slice{Arch: "arm64", Status: macho.StatusMalformed, Reason: "why"}})
		line, rest, _ := strings.Cut(out.String(), "\n")
		if rest != "" || strings.Contains(line, "\r") {
			t.Fatalf("%q: more than a line in %q", name, &out)
		}
		properties, message, ok := strings.Cut(strings.TrimPrefix(line, "::error "), "::")
		want := "file=" + name + ",title=signature: malformed"
		if strings.ContainsAny(name, "\r\n") {
			want = "title=signature: malformed"
		}
		if !ok || undoGithub(properties) != want || strings.Count(properties, ",") > 1 || strings.Contains(properties, ": ") {
			t.Errorf("%q: annotation %q", name, line)
		}
		if want := printable(name) + ": arm64 slice at offset 0: why"; undoGithub(message) != want {
			t.Errorf("%q: message %q, want %q", name, undoGithub(message), want)
		}
	}
}

// A summary is Markdown in which names are only text, and short.
func TestGithubSummary(t *testing.T) {
	summary := filepath.Join(t.TempDir(), "summary")
	if err := os.WriteFile(summary, []byte("before\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GITHUB_STEP_SUMMARY", summary)
	var out bytes.Buffer
	g := newGithub(&out)
	for range maxSummaryRows + 5 {
		g.add("x.nar", "", false, filter.Signature{Path: "/a|b`c*d_e<img>[l](u)\n@me" + strings.Repeat("z", 4000), Slice: macho.Slice{Status: macho.StatusStale}})
		g.fail(os.ErrPermission)
	}
	if err := g.end(&tally{broken: 105}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(summary)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	if !strings.HasPrefix(text, "before\n### Signatures\n") || len(text) > 1<<20 {
		t.Errorf("%d bytes: %.100q", len(text), text)
	}
	rows := 0
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "| stale ") {
			rows++
			if strings.Count(line, "|") != 5 || strings.ContainsAny(strings.NewReplacer("<code>", "", "</code>", "").Replace(line), "<>`*_[]@") {
				t.Fatalf("row %q", line)
			}
		}
	}
	if rows != maxSummaryRows || strings.Count(text, "and 5 more") != 2 {
		t.Errorf("%d rows; %q", rows, text[max(0, len(text)-200):])
	}
}

func TestGithubSummaryFails(t *testing.T) {
	t.Setenv("GITHUB_STEP_SUMMARY", t.TempDir())
	var out bytes.Buffer
	if err := newGithub(&out).end(&tally{}); err == nil || !strings.HasPrefix(err.Error(), "GITHUB_STEP_SUMMARY: ") {
		t.Errorf("error %v", err)
	}
}
