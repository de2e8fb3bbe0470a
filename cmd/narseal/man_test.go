package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"narseal/nar/nartest"
)

func TestManPages(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("SOURCE_DATE_EPOCH", "86400")
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{program, "man", dir}, nil, &stdout, &stderr); code != 0 || stdout.Len()+stderr.Len() > 0 {
		t.Fatalf("status %d, %s%s", code, &stdout, &stderr)
	}
	app := testApp()
	want := map[string]*page{"narseal.1": appPage(app)}
	eachCommand(app.Commands, func(c *cli.Command) {
		want[strings.ReplaceAll(c.HelpName, " ", "-")+".1"] = commandPage(c)
	})
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(want) {
		t.Errorf("%d pages, want %d", len(files), len(want))
	}
	mandoc := nartest.Tool(t, "mandoc")
	for name, p := range want {
		file := filepath.Join(dir, name)
		if out, err := exec.Command(mandoc, "-Tlint", "-Wwarning", file).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("mandoc says of %s: %v\n%s", name, err, out)
		}
		// groff has an opinion of its own.
		if groff, err := exec.LookPath("groff"); err == nil {
			if out, err := exec.Command(groff, "-man", "-ww", "-z", file).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("groff says of %s: %v\n%s", name, err, out)
			}
		}
		text := manText(t, mandoc, file)
		for _, l := range p.lists {
			for _, i := range l.items {
				if !strings.Contains(text, oneBlank(i.text)) || !l.options && !strings.Contains(text, i.term) {
					t.Errorf("%s does not have %q with %q", name, i.term, i.text)
				}
				if l.options && !strings.Contains(text, oneBlank(i.term)) {
					t.Errorf("%s does not have the option %q", name, i.term)
				}
			}
		}
		for _, e := range append(p.examples, p.about...) {
			if !strings.Contains(text, oneBlank(e)) {
				t.Errorf("%s does not have %q", name, e)
			}
		}
		for _, i := range append(exitStatuses.items, environment.items...) {
			if name != "narseal-cache.1" && !strings.Contains(text, oneBlank(i.term+" "+i.text)) {
				t.Errorf("%s does not have %q with %q", name, i.term, i.text)
			}
		}
		if !strings.Contains(text, "1970-01-02") {
			t.Errorf("%s does not have the date of SOURCE_DATE_EPOCH", name)
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

// Nothing in a page's text is taken for a request or an escape.
func TestManText(t *testing.T) {
	p := &page{
		name: "narseal odd", usage: `.it's \fBodd\fR`, synopsis: "narseal odd [options]",
		about:    []string{`'quoted' .SH \e "x" – ü \(em --all, -v`, ".SH NO", "'in"},
		examples: []string{`.ls '~/x' ^ \` + "`", "a-b --c"},
		lists:    []list{{heading: "Options", items: []item{{"-x, --ex A|b-c", "..text"}}, options: true}},
	}
	file := filepath.Join(t.TempDir(), "odd.1")
	if err := os.WriteFile(file, p.man(`1.0-"x"`, time.Unix(0, 0)), 0o666); err != nil {
		t.Fatal(err)
	}
	text := manText(t, nartest.Tool(t, "mandoc"), file)
	for _, want := range append(append(p.about, p.examples...), p.usage, "-x, --ex A|b-c ..text") {
		if !strings.Contains(text, oneBlank(want)) {
			t.Errorf("the page does not have %q, but\n%s", want, text)
		}
	}
}

func TestManUsage(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	for _, test := range []struct {
		args   []string
		status int
		stderr string
	}{
		{nil, statusUsage, "narseal: error: man takes one DIR, got 0\n"},
		{[]string{"."}, statusError, "narseal: error: SOURCE_DATE_EPOCH \"yesterday\": want seconds\n"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), append([]string{program, "man"}, test.args...), nil, &stdout, &stderr); code != test.status || stderr.String() != test.stderr {
			t.Errorf("%q: status %d, %s", test.args, code, &stderr)
		}
	}
}
