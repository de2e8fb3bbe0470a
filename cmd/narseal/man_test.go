package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"narseal/cmd/narseal/internal/manual"
	"narseal/nar/nartest"
)

func TestManPages(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("SOURCE_DATE_EPOCH", "86400")
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{program, "man", dir}, nil, &stdout, &stderr); code != 0 || stdout.Len()+stderr.Len() > 0 {
		t.Fatalf("status %d, %s%s", code, &stdout, &stderr)
	}
	want := map[string]*manual.Command{}
	for _, c := range programManual(testApp()).All() {
		want[strings.ReplaceAll(c.Name, " ", "-")+".1"] = c
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(want) {
		t.Errorf("%d pages, want %d", len(files), len(want))
	}
	mandoc := nartest.Tool(t, "mandoc")
	for name, c := range want {
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
		for _, sub := range c.Commands {
			if !strings.Contains(text, oneBlank(sub.Summary)) || !strings.Contains(text, sub.Word()) {
				t.Errorf("%s does not have %q with %q", name, sub.Word(), sub.Summary)
			}
		}
		for _, o := range c.Options {
			term := strings.TrimSpace("--" + o.Long + " " + o.Value)
			if o.Short != "" {
				term = "-" + o.Short + ", " + term
			}
			if o.Default != "" {
				o.Text += " (default: " + o.Default + ")"
			}
			if !strings.Contains(text, oneBlank(o.Text)) {
				t.Errorf("%s does not have %q with %q", name, term, o.Text)
			}
			if !strings.Contains(text, oneBlank(term)) {
				t.Errorf("%s does not have the option %q", name, term)
			}
		}
		about, examples := manual.Describe(c.Description)
		for _, e := range append(examples, about...) {
			if !strings.Contains(text, oneBlank(e)) {
				t.Errorf("%s does not have %q", name, e)
			}
		}
		for _, i := range append(exitStatuses.Items, environment.Items...) {
			if (len(c.Commands) == 0 || name == "narseal.1") && !strings.Contains(text, oneBlank(i.Term+" "+i.Text)) {
				t.Errorf("%s does not have %q with %q", name, i.Term, i.Text)
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
