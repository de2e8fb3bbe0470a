package ledger

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"narseal/cmd/narseal/internal/worklist"
	"narseal/nar/binarycache/cachetest"
)

// closures reads the closures of a ledger, and its paths.
func closures(t *testing.T, text string) (list []Closure, paths []string, err error) {
	t.Helper()
	_, err = Read(strings.NewReader(text), func(int, Work) error { return nil }, func(_ int, l *Line) error {
		paths = append(paths, l.StorePath)
		return nil
	}, func(_ int, c *Closure) error {
		c.At = c.At.UTC()
		list = append(list, *c)
		return nil
	})
	return list, paths, err
}

// A run that searches a closure writes so before it begins, and at its end what it knows of the closure. Later runs read the
// ledger as before.
func TestClosureLines(t *testing.T) {
	shard := worklist.Shard{Index: 1, Count: 2}
	if !shard.Has(mustHash(t, path1)) {
		shard.Index = 0
	}
	begun := Closure{Shard: shard.String(), Begun: true}
	part := Closure{Shard: shard.String(), Paths: 3, Digest: sri(1), Unknown: []string{hashOf(path1)}}
	whole := Closure{Paths: 3, Digest: sri(1)}
	check := func(text string, want ...Closure) {
		t.Helper()
		got, _, err := closures(t, text)
		for i := range got {
			if got[i].At.IsZero() {
				t.Errorf("line %d has no time", i)
			}
			got[i].At = time.Time{}
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	name := filepath.Join(t.TempDir(), "l")
	o := repairOf(t)
	closed(t, open(t, name, o))
	check(contents(t, name))

	o.Closure, o.Shard = true, shard
	l := open(t, name, o)
	check(contents(t, name), begun)
	add(t, l, Line{StorePath: path1, NarHash: sri(1), Status: "unchanged"})
	if err := l.AddClosure(part); err != nil {
		t.Fatal(err)
	}
	closed(t, l)
	if err := l.AddClosure(part); err == nil {
		t.Error("a ledger that is closed takes a line")
	}

	o.Shard = worklist.Shard{}
	l = open(t, name, o)
	if l.Find(hashOf(path1), sri(1)) != Unchanged {
		t.Error("the path is not found")
	}
	if err := l.AddClosure(whole); err != nil {
		t.Fatal(err)
	}
	closed(t, l)
	check(contents(t, name), begun, part, Closure{Begun: true}, whole)
	var none *Ledger
	if err := none.AddClosure(part); err != nil {
		t.Error(err)
	}

	s := cachetest.NewMemory(nil)
	o.Shard = shard
	for i := range 2 {
		l, err := OpenObject(t.Context(), s, "l", "l", tempFile(t), o)
		if err != nil {
			t.Fatal(err)
		}
		check(s.Objects()["l"], slices.Repeat([]Closure{begun}, i+1)...) // at once
		closed(t, l)
	}
}

func mustHash(t *testing.T, path string) worklist.Hash {
	t.Helper()
	h, err := worklist.ParseHash(hashOf(path))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A line that was cut off before a closure, or a closure that was, does not hide the next line.
func TestTornClosure(t *testing.T) {
	const header = `{"ledger":"narseal/1","command":"cache repair","options":""}` + "\n"
	path := `{"storePath":"` + path1 + `","status":"unchanged"}` + "\n"
	closure := `{"closure":{"shard":"0/2","paths":1,"digest":"x","unknown":[],"at":"2026-01-01T00:00:00Z"}}` + "\n"
	begun := `{"closure":{"shard":"0/2","begun":true,"at":"2026-01-01T00:00:00Z"}}` + "\n"
	for _, c := range []struct{ first, second string }{{path, closure}, {closure, path}, {path, begun}} {
		for n := range c.first {
			got, paths, err := closures(t, header+c.first[:n]+c.second)
			if isClosure := c.second != path; err != nil || (len(got) == 1) != isClosure || (len(paths) == 1) == isClosure {
				t.Errorf("%s: %v, %q, %v", c.first[:n]+c.second, got, paths, err)
			}
		}
	}
}

// What no run writes is refused, and what is read of a long line is bounded.
func TestClosureRefused(t *testing.T) {
	const header = `{"ledger":"narseal/1","command":"cache repair","options":""}` + "\n"
	for text, want := range map[string]string{
		`{"shard":"2/2","paths":1,"digest":"x"}`:                  `line 2: shard "2/2": there is no shard 2 of 2`,
		`{"shard":"auto/2","paths":1,"digest":"x"}`:               `line 2: shard "auto/2": `,
		`{"paths":-1,"digest":"x"}`:                               "line 2: closure: a value is out of range",
		`{"paths":4194305,"digest":"x"}`:                          "line 2: closure: a value is out of range",
		`{"paths":1,"digest":"` + strings.Repeat("x", 101) + `"}`: "line 2: closure: a value is out of range",
		`{"paths":1,"digest":"x","unknown":["/etc"]}`:             "line 2: closure: unknown: ",
		`{"paths":1,"digest":"x","unknown":7}`:                    "line 2: not a line of a ledger",
		`{"paths":1,"digest":"x","unknown":null}`:                 "",
		fmt.Sprintf(`{"paths":1,"unknown":[%q`, hashOf(path1)) + strings.Repeat(`,"`+hashOf(path1)+`"`, 2*maxUnknown) + "]}": "",
	} {
		got, _, err := closures(t, header+`{"closure":`+text+"}\n")
		if want == "" && (err != nil || len(got) != 1 || len(got[0].Unknown) > maxUnknown) || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%.200s: %v, want %q", text, err, want)
		}
	}
}
