package filter_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"narseal/filter"
	"narseal/filter/rules"
	"narseal/filter/spill"
	"narseal/nar"
	"narseal/nar/nartest"
)

// exported makes an export stream of archives.
func exported(t *testing.T, archives ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := nar.NewExportWriter(&b)
	for i, data := range archives {
		aw, err := w.Next()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (&filter.Config{}).Run(aw, nar.NewReader(bytes.NewReader(data))); err != nil {
			t.Fatal(err)
		}
		path := "/nix/store/" + hashOf(byte('0'+i)) + "-x"
		if err := w.WriteTrailer(&nar.Trailer{Path: path, References: []string{"/nix/store/" + hashOf('b') + "-r"}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// RunAt takes archives and export streams alike, says whether entries move, and reads what follow returns.
func TestRunAt(t *testing.T) {
	moving := nartest.Tree(nartest.Dir{hashOf('b'): nartest.File("x"), "z": nartest.File("y")})
	still := nartest.Tree(nartest.Dir{"a": nartest.File(hashOf('b')), "c": nartest.File("y")})
	list := []rules.Rule{{From: hashOf('b'), To: hashOf('d')}}
	for name, in := range map[string]struct {
		data  []byte
		moves bool
	}{
		"moving":           {moving, false}, // "d…" still sorts before "z"
		"ahead":            {nartest.Tree(nartest.Dir{hashOf('b'): nartest.File("x"), "c": nartest.File("y")}), true},
		"still":            {still, false},
		"export":           {exported(t, still, nartest.Tree(nartest.Dir{hashOf('b'): nartest.File("x"), "c": nartest.File("y")})), true},
		"export, in order": {exported(t, still, moving), false},
	} {
		c := filter.Config{Rules: compile(t, list...)}
		begun, ended := 0, 0
		c.Observer.BeginArchive = func() { begun++ }
		c.Observer.EndArchive = func(tr *nar.Trailer, _ *filter.Result) {
			ended++
			if want := "/nix/store/" + hashOf('d') + "-r"; tr.References[0] != want {
				t.Errorf("%s: trailer %+v, want the reference %s", name, tr, want)
			}
		}
		var out bytes.Buffer
		var n int64
		res, err := c.RunAt(&out, bytes.NewReader(in.data), int64(len(in.data)), func(r io.Reader, at int64) (io.Reader, error) {
			if (at >= 0) != in.moves || at >= int64(len(in.data)) {
				t.Errorf("%s: the first list that moves is at %d, want one: %t", name, at, in.moves)
			}
			return io.TeeReader(r, countWriter{&n}), nil
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if n != int64(len(in.data)) || out.Len() != len(in.data) {
			t.Errorf("%s: read %d bytes and wrote %d, want %d", name, n, out.Len(), len(in.data))
		}
		if archives := strings.Count(name, "export") * 2; begun != archives || ended != archives {
			t.Errorf("%s: %d archives began and %d ended, want %d", name, begun, ended, archives)
		}
		if res.Replacements() == 0 || bytes.Contains(out.Bytes(), []byte(hashOf('b'))) {
			t.Errorf("%s: %d replacements", name, res.Replacements())
		}
		// Without an output it only counts.
		again, err := c.RunAt(nil, bytes.NewReader(in.data), int64(len(in.data)), nil)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(res) {
			t.Errorf("%s: without an output %+v, %v, want %+v", name, again, err, res)
		}
	}
}

type countWriter struct{ n *int64 }

func (c countWriter) Write(p []byte) (int, error) {
	*c.n += int64(len(p))
	return len(p), nil
}

// An error of follow ends the run before anything is written.
func TestRunAtFollowFails(t *testing.T) {
	broken := errors.New("broken")
	in := nartest.Tree(nartest.File("x"))
	var out bytes.Buffer
	_, err := (&filter.Config{}).RunAt(&out, bytes.NewReader(in), int64(len(in)), func(io.Reader, int64) (io.Reader, error) { return nil, broken })
	if !errors.Is(err, broken) || out.Len() > 0 {
		t.Errorf("got error %v and %d bytes", err, out.Len())
	}
}

// Names of a large directory are forgotten as long as none is renamed, and a renamed one then is an error.
func TestRunAtDropsNames(t *testing.T) {
	for _, last := range []string{"b", hashOf('z')} {
		var in bytes.Buffer
		w := nar.NewWriter(&in)
		w.WriteEntry(&nar.Entry{Type: nar.TypeDirectory})
		for i := range 400_000 {
			w.WriteEntry(&nar.Entry{Depth: 1, Name: fmt.Appendf(nil, "a-long-name-%020d", i), Type: nar.TypeSymlink, Target: []byte("t")})
		}
		w.WriteEntry(&nar.Entry{Depth: 1, Name: []byte(last), Type: nar.TypeDirectory})
		w.WriteEntry(&nar.Entry{Depth: 2, Name: []byte(hashOf('z')), Type: nar.TypeDirectory}) // of a directory that is not large
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		c := filter.Config{Rules: compile(t, rules.Rule{From: hashOf('z'), To: hashOf('y')}), Spill: spill.Options{Memory: 1}}
		_, err := c.RunAt(io.Discard, bytes.NewReader(in.Bytes()), int64(in.Len()), nil)
		if full := last != "b"; errors.Is(err, spill.ErrFull) != full || err != nil && !full {
			t.Errorf("%s: got error %v", last, err)
		}
		// With a spill file, the entries are read in their old order. One that moves to the front is an error that says why.
		c.Spill.Open = tempFile(t)
		_, err = c.RunAt(io.Discard, bytes.NewReader(in.Bytes()), int64(in.Len()), nil)
		if err != nil {
			t.Errorf("%s: got error %v", last, err)
		}
		c.Rules = compile(t, rules.Rule{From: hashOf('z'), To: hashOf('0')})
		var rename *filter.RenameError
		_, err = c.RunAt(io.Discard, bytes.NewReader(in.Bytes()), int64(in.Len()), nil)
		if full := last != "b"; errors.Is(err, spill.ErrFull) != full || errors.As(err, &rename) != full || err != nil && !full {
			t.Errorf("%s to the front: got error %v", last, err)
		}
	}
}
