package manual

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"narseal/nar/nartest"
)

func TestDescribe(t *testing.T) {
	about, examples := Describe("One\nparagraph.\n\n  an example |\n    of two lines\n\nAnother one.\n\n  more\n")
	if want := []string{"One paragraph.", "Another one."}; !slices.Equal(about, want) {
		t.Errorf("paragraphs %q, want %q", about, want)
	}
	if want := []string{"an example |", "  of two lines", "more"}; !slices.Equal(examples, want) {
		t.Errorf("examples %q, want %q", examples, want)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"map", "map-file", "output", "repair", "report"}
	for given, want := range map[string]string{
		"mpa": "map", "mapfile": "map-file", "ouput": "output", "reprot": "report", "repairs": "repair",
		"zzz": "", "x": "", "": "",
	} {
		if got := Nearest(given, names); got != want {
			t.Errorf("nearest to %q is %q, want %q", given, got, want)
		}
	}
}

// Nothing in a page's text is taken for a request or an escape.
func TestManText(t *testing.T) {
	p := &page{
		name: "narseal odd", summary: `.it's \fBodd\fR`, synopsis: "narseal odd [options]",
		about:    []string{`'quoted' .SH \e "x" – ü \(em --all, -v`, ".SH NO", "'in"},
		examples: []string{`.ls '~/x' ^ \` + "`", "a-b --c"},
		lists:    []List{{Heading: "Options", Items: []Item{{"-x, --ex A|b-c", "..text"}}, options: true}},
	}
	file := filepath.Join(t.TempDir(), "odd.1")
	if err := os.WriteFile(file, p.man(`1.0-"x"`, time.Unix(0, 0)), 0o666); err != nil {
		t.Fatal(err)
	}
	text := manText(t, nartest.Tool(t, "mandoc"), file)
	for _, want := range append(append(p.about, p.examples...), p.summary, "-x, --ex A|b-c ..text") {
		if !strings.Contains(text, oneBlank(want)) {
			t.Errorf("the page does not have %q, but\n%s", want, text)
		}
	}
}

// manText is a page as it is shown on a very wide terminal, with each run of
// blanks and newlines as one blank.
func manText(t *testing.T, mandoc, file string) string {
	t.Helper()
	out, err := exec.Command(mandoc, "-Tutf8", "-O", "width=1000", file).Output()
	if err != nil {
		t.Fatalf("mandoc %s: %v", file, err)
	}
	var plain []byte // without what is struck over
	for _, b := range out {
		if b == '\b' {
			plain = plain[:len(plain)-1]
		} else {
			plain = append(plain, b)
		}
	}
	return oneBlank(string(plain))
}

func oneBlank(s string) string { return strings.Join(strings.Fields(s), " ") }
