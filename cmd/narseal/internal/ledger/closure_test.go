package ledger

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
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

// A run writes down what it knows of its closure, and later runs read the ledger as before.
func TestClosureLines(t *testing.T) {
	name := filepath.Join(t.TempDir(), "l")
	whole := Closure{Paths: 3, Digest: sri(1)}
	l := open(t, name, repairOf(t))
	if err := l.AddClosure(whole, true); err != nil {
		t.Fatal(err)
	}
	add(t, l, Line{StorePath: path1, NarHash: sri(1), Status: "unchanged"})
	if got := contents(t, name); strings.Contains(got, "closure") {
		t.Errorf("a whole closure needs no line:\n%s", got)
	}
	part := Closure{Shard: "1/2", Paths: 3, Digest: sri(1), Unknown: []string{hashOf(path1)}}
	if err := l.AddClosure(part, false); err != nil {
		t.Fatal(err)
	}
	closed(t, l)
	if err := l.AddClosure(part, false); err == nil {
		t.Error("a ledger that is closed takes a line")
	}
	l = open(t, name, repairOf(t))
	if l.Find(hashOf(path1), sri(1)) != Unchanged {
		t.Error("the path is not found")
	}
	if err := l.AddClosure(whole, true); err != nil { // it takes the place of the earlier one
		t.Fatal(err)
	}
	closed(t, l)
	got, paths, err := closures(t, contents(t, name))
	if err != nil || len(got) != 2 || len(paths) != 1 || got[0].At.IsZero() {
		t.Fatalf("%v, %q, %v", got, paths, err)
	}
	part.At, whole.At = got[0].At, got[1].At
	if !reflect.DeepEqual(got, []Closure{part, whole}) {
		t.Errorf("got %+v, want %+v, %+v", got, part, whole)
	}
	var none *Ledger
	if err := none.AddClosure(part, false); err != nil {
		t.Error(err)
	}
}

// A line that was cut off before a closure, or a closure that was, does not hide the next line.
func TestTornClosure(t *testing.T) {
	const header = `{"ledger":"narseal/1","command":"cache repair","options":""}` + "\n"
	path := `{"storePath":"` + path1 + `","status":"unchanged"}` + "\n"
	closure := `{"closure":{"shard":"0/2","paths":1,"digest":"x","unknown":[],"at":"2026-01-01T00:00:00Z"}}` + "\n"
	for _, c := range []struct{ first, second string }{{path, closure}, {closure, path}} {
		for n := range c.first {
			got, paths, err := closures(t, header+c.first[:n]+c.second)
			if isClosure := c.second == closure; err != nil || (len(got) == 1) != isClosure || (len(paths) == 1) == isClosure {
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
