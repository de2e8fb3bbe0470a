package nar_test

import (
	"bytes"
	"io"
	"testing"

	"narseal/nar"
	"narseal/nar/nartest"
)

// A diverted Writer writes the same bytes, in several outputs, and Mark says where contents lie, also where entries
// waited for their place and where the Reader's buffer is passed on.
func TestDivert(t *testing.T) {
	big := nartest.File(bytes.Repeat([]byte("big"), 200_000))
	archive := nartest.Tree(nartest.Dir{
		"a": nartest.File("contents of a"), "b": nartest.Dir{"c": nartest.File("contents of c"), "d": nartest.Dir{"e": nartest.File("contents of e")}, "big": big},
		"f": nartest.File("contents of f"), "g": nartest.File("contents of g"),
	})
	for _, test := range []struct {
		name        string
		passthrough bool
		deferred    map[string]bool // these are written as deferred entries
	}{
		{"encoded", false, nil}, {"passed on", true, nil},
		{"deferred", false, map[string]bool{"a": true, "b": true, "d": true}},
		{"deferred in a passthrough", true, map[string]bool{"d": true, "e": true}},
	} {
		r := nar.NewReader(bytes.NewReader(archive))
		outs := []*bytes.Buffer{{}}
		w := nar.NewWriter(outs[0])
		if test.passthrough {
			w.PassThrough(r)
		}
		places := map[string]*nar.Place{}
		for {
			e, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			name := string(e.Name)
			if test.deferred[name] {
				err = w.WriteEntryDeferred(e, &spillBuffer{})
			} else {
				err = w.WriteEntry(e)
			}
			if err != nil {
				t.Fatal(err)
			}
			if e.Type == nar.TypeRegular {
				places[name] = w.Mark()
			}
			for r.Remaining() > 0 {
				b, err := r.Peek(1)
				if err != nil && err != io.EOF {
					t.Fatal(err)
				}
				if _, err := w.Write(b); err != nil {
					t.Fatal(err)
				}
				r.Discard(len(b))
			}
			next := &bytes.Buffer{}
			from, size, err := w.Divert(next)
			total := int64(0)
			for _, o := range outs {
				total += int64(o.Len())
			}
			if err != nil || from != io.Writer(outs[len(outs)-1]) || size != total {
				t.Fatalf("%s: %v, the output has %d bytes, want %d", test.name, err, size, total)
			}
			outs = append(outs, next)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		var all []byte
		for _, o := range outs {
			all = append(all, o.Bytes()...)
		}
		if !bytes.Equal(all, archive) {
			t.Errorf("%s: other bytes", test.name)
		}
		for name, p := range places {
			if name == "big" {
				continue
			}
			if want := "contents of " + name; p.Spill != nil || !bytes.HasPrefix(all[p.Offset:], []byte(want)) {
				t.Errorf("%s: the place of %s: %+v", test.name, name, p)
			}
		}
	}
}

// spillBuffer is a Spill in memory.
type spillBuffer struct{ bytes.Buffer }

func (s *spillBuffer) WriteTo(w io.Writer) (int64, error) { return s.Buffer.WriteTo(w) }
