package remote

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"

	"narseal/nar/binarycache"
)

// A picky backend takes only objects whose names end in one of its suffixes.
type picky struct {
	Backend
	suffixes []string
	err      error
	puts     map[string]int
}

func (p *picky) URL(name string) string { return "x://" + name }

func (p *picky) Put(_ context.Context, o binarycache.Object, _ *Content, _ binarycache.Condition) (binarycache.Version, error) {
	p.puts[o.Name]++
	for _, suffix := range p.suffixes {
		if strings.HasSuffix(o.Name, suffix) || suffix == "probe" && strings.HasPrefix(o.Name, "nar/"+ProbePrefix) {
			return "1", nil
		}
	}
	return "", p.err
}

func (p *picky) Delete(_ context.Context, name string, _ binarycache.Condition) error {
	delete(p.puts, name)
	return nil
}

// An object on which a server breaks or the connection ends, every time, is not taken for a server that is down.
func TestObjectThatBreaksServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			err   error
			takes string
			want  bool
		}{
			"500":                 {&Error{Status: 500}, "probe", true},
			"504":                 {&Error{Status: 504}, "probe", true},
			"reset":               {Network(io.ErrUnexpectedEOF), "probe", true},
			"413":                 {&Error{Status: 413}, "probe", true},
			"500 for all":         {&Error{Status: 500}, "none", false},
			"403 for all":         {&Error{Status: 403, Denied: true}, "none", false},
			"reset for all":       {Network(io.ErrUnexpectedEOF), "none", false},
			"it was not stored":   {&Error{Text: "the server accepted the object but does not have it"}, "probe", false},
			"another directory":   {&Error{Status: 403}, ".narinfo", false},
			"not of the server":   {io.ErrClosedPipe, "probe", false},
			"the run has ended":   {context.Canceled, "probe", false},
			"it has changed":      {&Error{Status: 412}, "probe", false},
			"no credentials left": {&Error{Status: 401, Denied: true}, "none", false},
		} {
			b := &picky{suffixes: []string{c.takes}, err: c.err, puts: map[string]int{}}
			s := NewStore(b, &Transport{})
			_, err := s.Put(t.Context(), binarycache.Object{Name: "nar/x.nar", Size: 1}, strings.NewReader("x"), binarycache.Condition{})
			if err == nil || errors.Is(err, fs.ErrInvalid) != c.want {
				t.Errorf("%s: got %v, of the object: want %v", name, err, c.want)
			}
			for name := range b.puts {
				if c.want && name != "nar/x.nar" {
					t.Errorf("%s is left over", name)
				}
			}
		}
	})
}
