package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"narseal/nar/binarycache"
)

// A partial backend does one kind of request well and fails with the others.
type partial struct {
	Backend
	fails func(kind, name string) bool
	sent  map[string]int
	size  int64 // of what goes well
	cut   bool  // bodies of NARs that break off at once
}

func (p *partial) URL(name string) string { return name }

func (p *partial) ask(kind, name string) error {
	if strings.Contains(name, "nar/") {
		kind += " NAR"
	}
	p.sent[kind]++
	if p.fails(kind, name) {
		return &Error{Status: 500}
	}
	return nil
}

func (p *partial) Get(_ context.Context, name string, from int64, _ *Answer) (*Answer, error) {
	if err := p.ask("GET", name); err != nil {
		return nil, err
	}
	body := io.Reader(strings.NewReader(strings.Repeat("x", int(p.size-from))))
	if p.cut && strings.Contains(name, "nar/") {
		body = io.MultiReader(strings.NewReader("x"), iotest.ErrReader(errors.New("reset")))
	}
	return &Answer{Object: binarycache.Object{Name: name, Size: p.size}, From: from, Body: io.NopCloser(body)}, nil
}

func (p *partial) Head(_ context.Context, name string) (binarycache.Object, error) {
	return binarycache.Object{Name: name, Size: p.size}, p.ask("HEAD", name)
}

func (p *partial) Put(_ context.Context, o binarycache.Object, _ *Content, _ binarycache.Condition) (binarycache.Version, error) {
	return "v", p.ask("PUT", o.Name)
}

func (p *partial) Delete(_ context.Context, name string, _ binarycache.Condition) error {
	return p.ask("DELETE", name)
}

// A run ends when one kind of requests fails all the time, however well others go between them.
func TestRetryKinds(t *testing.T) {
	const n = 2000
	get := func(t *testing.T, s *Store, name string) error {
		r, _, err := s.Open(t.Context(), name)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(io.Discard, r)
		return err
	}
	put := func(t *testing.T, s *Store, name string) error {
		_, err := s.Put(t.Context(), binarycache.Object{Name: name, Size: 1}, strings.NewReader("x"), binarycache.Condition{})
		return err
	}
	for _, c := range []struct {
		kind string // that fails
		size int64
		cut  bool
		work func(t *testing.T, s *Store, name string) error
	}{
		{kind: "GET NAR", size: 10, work: get},
		{kind: "GET NAR", size: maxWhole + 1, work: get},
		{kind: "bodies", size: 10, cut: true, work: get},
		{kind: "bodies", size: maxWhole + 1, cut: true, work: get},
		{kind: "PUT NAR", size: 1, work: put},
		{kind: "HEAD NAR", size: 1, work: func(t *testing.T, s *Store, name string) error { _, err := s.Stat(t.Context(), name); return err }},
		{kind: "DELETE NAR", size: 1, work: func(t *testing.T, s *Store, name string) error {
			return s.Delete(t.Context(), name, binarycache.Condition{})
		}},
		{kind: "PUT", size: 1, work: func(t *testing.T, s *Store, name string) error { return put(t, s, strings.TrimPrefix(name, "nar/")) }},
	} {
		t.Run(fmt.Sprint(c.kind, " ", c.size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &partial{fails: func(kind, _ string) bool { return kind == c.kind }, sent: map[string]int{}, size: c.size, cut: c.cut}
				tr := &Transport{}
				tr.answered.Store(true)
				s := NewStore(p, tr)
				start := time.Now()
				var last error
				for i := range n {
					if err := get(t, s, fmt.Sprintf("%d.narinfo", i)); err != nil {
						t.Fatal(err)
					}
					if last = c.work(t, s, fmt.Sprintf("nar/%d.nar", i)); last == nil {
						t.Fatal("it goes well")
					}
				}
				failing := p.sent[c.kind]
				if c.cut {
					failing = p.sent["GET NAR"]
				}
				if strings.HasPrefix(c.kind, "PUT") {
					failing -= tooMany // the small objects by which a store finds out whether an error is of one object
				}
				if most := manyFailed*maxTries + (tooMany-manyFailed)*firstTries; failing > most || time.Since(start) > time.Hour {
					t.Errorf("%v requests in %s, want at most %d that fail", p.sent, time.Since(start), most)
				}
				if !strings.Contains(last.Error(), "not tried: the last 32 requests have failed") {
					t.Error(last)
				}
			})
		})
	}
}

// One object in 32 that goes well is enough to go on.
func TestRetryKindsGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &Transport{}
		tr.answered.Store(true)
		for i := range 10 * tooMany {
			var want error = &Error{Status: 500}
			if i%(tooMany-1) == tooMany-2 {
				want = nil
			}
			if err := tr.retry(t.Context(), getting.of("nar/x.nar"), func() error { return want }); err != want {
				t.Fatalf("request %d: %v", i, err)
			}
		}
	})
}
