package terminal

import (
	"bytes"
	"slices"
	"testing"
)

// Color goes to a terminal only, unless the environment asks for it elsewhere or forbids it.
func TestStyleOf(t *testing.T) {
	for _, test := range []struct {
		noColor, force string
		want           string
	}{
		{"", "", "stale"},
		{"", "0", "stale"},
		{"", "1", "\x1b[1;31mstale\x1b[0m"},
		{"1", "1", "stale"},
	} {
		t.Setenv("NO_COLOR", test.noColor)
		t.Setenv("CLICOLOR_FORCE", test.force)
		if got := StyleOf(&bytes.Buffer{}).Verdict("stale", false); got != test.want {
			t.Errorf("NO_COLOR=%s CLICOLOR_FORCE=%s: %q, want %q", test.noColor, test.force, got, test.want)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, test := range []struct {
		width, indent int
		want          []string
	}{
		{0, 2, []string{"one two three"}},
		{13, 0, []string{"one two three"}},
		{13, 1, []string{"one two", "three"}},
		{2, 1, []string{"one", "two", "three"}},
	} {
		if got := (Style{width: test.width}).Wrap("one two three", test.indent); !slices.Equal(got, test.want) {
			t.Errorf("%d columns, indent %d: %q, want %q", test.width, test.indent, got, test.want)
		}
	}
}
