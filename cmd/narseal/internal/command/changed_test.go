package command

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter/refs"
	"narseal/filter/rules"
	"narseal/macho/machotest"
	"narseal/nar/nartest"
)

// touch changes the modification time of a file, as a write does.
func touch(t *testing.T, name string) {
	t.Helper()
	if err := os.Chtimes(name, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
}

// A file that changes while refs reads it is an error.
func TestRefsChanged(t *testing.T) {
	text := []byte("/nix/store/" + strings.Repeat("p", 32) + "-x")
	for _, input := range []string{"dir", "dir/file", "nar"} {
		for _, changes := range []bool{false, true} {
			t.Chdir(t.TempDir())
			changed := "dir/file"
			if input == "nar" {
				changed = "nar"
			}
			for name, data := range map[string][]byte{"dir/file": text, "nar": nartest.Tree(nartest.File(text))} {
				if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, data, 0o666); err != nil {
					t.Fatal(err)
				}
			}
			var stdout, stderr bytes.Buffer
			e := &Env{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Terminal: terminal.New(&stderr)}
			r, err := newRefsRun(e, &RefsOptions{StoreDir: "/nix/store", Encodings: rules.UTF8})
			if err != nil {
				t.Fatal(err)
			}
			found := false
			r.scanner.Found = func(ref *refs.Reference) error {
				if found = true; changes {
					touch(t, changed)
				}
				return r.set.add(ref)
			}
			err = r.run(t.Context(), []refsInput{{name: input}})
			failed := err != nil && strings.Contains(err.Error(), "the file changed while it was read")
			if !found || failed != changes || !changes && err != nil {
				t.Errorf("%s, changes %v: found %v, error %v", input, changes, found, err)
			}
		}
	}
}

// touching is a list that changes a file when a slice is added.
type touching struct {
	report.List
	add func()
}

func (l *touching) Add(item *report.Item) { l.add(); l.List.Add(item) }

// An archive that changes while verify reads it is an error.
func TestVerifyChanged(t *testing.T) {
	_, good := machotest.Stale(20000)
	name := filepath.Join(t.TempDir(), "nar")
	if err := os.WriteFile(name, nartest.Tree(nartest.Exec(good)), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, changes := range []bool{false, true} {
		var stdout, stderr bytes.Buffer
		e := &Env{Stdout: &stdout, Stderr: &stderr, Terminal: terminal.New(&stderr)}
		v, err := newVerifyRun(e, &VerifyOptions{Jobs: 1})
		if err != nil {
			t.Fatal(err)
		}
		added := 0
		v.list = &touching{v.list, func() {
			if added++; changes {
				touch(t, name)
			}
		}}
		v.input(t.Context(), name)
		want := ""
		if changes {
			want = fmt.Sprintf("narseal: error: %s: input: the file changed while it was read\n", name)
		}
		if added != 1 || v.total.Failed != int64(strings.Count(want, "\n")) || stderr.String() != want {
			t.Errorf("changes %v: %d slices, %d failures, stderr %q, want %q", changes, added, v.total.Failed, stderr.String(), want)
		}
	}
}
