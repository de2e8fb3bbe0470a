package report

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter"
	"narseal/macho"
	"narseal/nar"
)

// undoGithub is what GitHub's runner makes of an escaped value.
func undoGithub(s string) string {
	return strings.NewReplacer("%25", "%", "%0D", "\r", "%0A", "\n", "%3A", ":", "%2C", ",").Replace(s)
}

// Whatever a name holds, an annotation is one line, and says it.
func TestGitHubAnnotation(t *testing.T) {
	for _, name := range []string{"a", "a,b:c", "a%0Ab", "a\n::set-env name=X::y", "a\r::error::x", "100%"} {
		var out bytes.Buffer
		g := NewGitHub(&out, "")
		g.Add(&Item{Input: name, OnDisk: true, Signature: filter.Signature{Path: nar.NewPath(name), Slice: macho.Slice{Arch: "arm64", Status: macho.StatusMalformed, Reason: "why"}}})
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
		if want := terminal.Printable(name) + ": arm64 slice at offset 0: why"; undoGithub(message) != want {
			t.Errorf("%q: message %q, want %q", name, undoGithub(message), want)
		}
	}
}

// A summary is Markdown in which names are only text, and short.
func TestGitHubSummary(t *testing.T) {
	summary := filepath.Join(t.TempDir(), "summary")
	if err := os.WriteFile(summary, []byte("before\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	g := NewGitHub(&out, summary)
	for range maxSummaryRows + 5 {
		path := nar.NewPath("/a|b`c*d_e<img>[l](u)\n@me" + strings.Repeat("z", 4000))
		g.Add(&Item{Input: "x.nar", Signature: filter.Signature{Path: path, Slice: macho.Slice{Status: macho.StatusStale}}})
		g.Fail(os.ErrPermission)
	}
	if err := g.End(&Tally{Invalid: 105}); err != nil {
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

// However long names and errors are, and whatever becomes of them in Markdown, GitHub takes the summary.
func TestGitHubSummaryIsShort(t *testing.T) {
	var out bytes.Buffer
	g := NewGitHub(&out, "")
	for range maxSummaryRows {
		g.Add(&Item{Input: "x.nar", Signature: filter.Signature{Path: nar.NewPath("/" + strings.Repeat("|", 1<<20)), Slice: macho.Slice{Status: macho.StatusStale, Warnings: []string{strings.Repeat("|", 8<<10)}}}})
		g.Fail(errors.New(strings.Repeat("|", 1<<20)))
	}
	text := g.markdown(&Tally{})
	rows, failed := strings.Count(text, "| stale "), strings.Count(text, "\n- <code>")
	if len(text) > 1<<20 || rows == 0 || !strings.Contains(text, fmt.Sprintf("\nand %d more\n", maxSummaryRows-rows)) ||
		!strings.Contains(text, fmt.Sprintf("\n- and %d more\n", maxSummaryRows-failed)) {
		t.Errorf("%d bytes, %d rows, end %q", len(text), rows, text[max(0, len(text)-200):])
	}
}

func TestGitHubSummaryFails(t *testing.T) {
	var out bytes.Buffer
	if err := NewGitHub(&out, t.TempDir()).End(&Tally{}); err == nil || !strings.HasPrefix(err.Error(), "GITHUB_STEP_SUMMARY: ") {
		t.Errorf("error %v", err)
	}
}

// Whatever a reason or the path of a resource holds, nothing reaches a terminal raw: the reason of a bundle names a file.
func TestGitHubReason(t *testing.T) {
	for _, name := range []string{"\x1b[31mred", "\u009b31m", "\u202eabc", "\xff", "a\nb", "a\r::error::x"} {
		var out bytes.Buffer
		g := NewGitHub(&out, "")
		bundle := &macho.SealedBundle{Path: "/" + name, Resources: []macho.Resource{{Path: name, Problem: name}}}
		g.Add(&Item{Input: "x", Signature: filter.Signature{Path: nar.NewPath("/x"), Slice: macho.Slice{
			Arch: "arm64", Status: macho.StatusBundle, Reason: "a file is not the one that was sealed: " + name, Bundle: bundle}}})
		if got := strings.TrimSuffix(out.String(), "\n"); !terminal.IsHarmless(got) {
			t.Errorf("%q: %q", name, got)
		}
	}
}
