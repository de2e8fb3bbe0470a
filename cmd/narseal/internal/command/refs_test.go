package command

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter/refs"
	"narseal/filter/rules"
	"narseal/nar"
)

// The number of different store paths is bounded.
func TestRefsBound(t *testing.T) {
	s := newRefSet("x", &refs.Scanner{}, nil, nil)
	s.limit = 100
	base := []byte(strings.Repeat("p", 32) + "-0000000")
	r := &refs.Reference{Base: base, Encoding: rules.UTF8}
	for i := range s.limit {
		copy(base[33:], fmt.Sprintf("%07d", i))
		if err := s.add(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.add(r); err != nil {
		t.Errorf("a path that is known already: %v", err)
	}
	copy(base, "q")
	if err := s.add(r); err == nil || !strings.Contains(err.Error(), "more than 100 ") {
		t.Errorf("got error %v", err)
	}
}

// Places count against the budget. Of those that do not fit, the number is shown, and a denied hash is reported all the
// same.
func TestRefsBudget(t *testing.T) {
	hash := strings.Repeat("p", 32)
	set, err := rules.Compile([]rules.Rule{{From: hash, To: hash}}, rules.UTF8)
	if err != nil {
		t.Fatal(err)
	}
	deep := nar.NewPath("/")
	for range 100 {
		deep = deep.Join(strings.Repeat("d", 250))
	}
	budget := report.NewBudget(int64(2*(deep.Len()+placeMemory) + 300))
	s := newRefSet("in", &refs.Scanner{StoreDir: "/nix/store", Hashes: set}, map[string]bool{}, budget)
	for i := range 5 {
		path := deep.Join(fmt.Sprint(i))
		for range 3 {
			if err := s.add(&refs.Reference{Path: path, Part: refs.InContents, Encoding: rules.UTF8}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 3 {
		r := refs.Reference{Path: deep, Part: refs.InContents, Encoding: rules.UTF8, Base: []byte(hash + "-x")}
		if err := s.add(&r); err != nil {
			t.Fatal(err)
		}
	}
	denied, paths := s.list()
	if len(denied) != 1 || len(denied[0].places) != 2 || denied[0].omitted == 0 || denied[0].count != 15 {
		t.Fatalf("denied: %+v", denied)
	}
	if len(paths) != 1 || len(paths[0].places) != 0 || paths[0].omitted != 1 || paths[0].count != 3 {
		t.Fatalf("paths: %+v", paths)
	}
	var stderr, text, json bytes.Buffer
	if !s.report(terminal.New(&stderr), denied, paths) {
		t.Error("nothing is reported")
	}
	for _, want := range []string{": denied hash " + hash + ": 15 references in all\n", "in: …: /nix/store/" + hash + "-x is not allowed, utf8, 3 references\n"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("stderr lacks %q: %.500s", want, &stderr)
		}
	}
	if err := newRefsText(&text, terminal.Style{}).write(s, denied, paths); err != nil || !strings.Contains(text.String(), "-x  3      utf8       in: …\n") {
		t.Errorf("%v, %s", err, &text)
	}
	if err := newRefsJSON(&json).write(s, denied, paths); err != nil || !strings.Contains(json.String(), `"places":[],"omitted":1,`) {
		t.Errorf("%v, %.500s", err, &json)
	}
	if most := 4 * deep.Len(); stderr.Len() > most || json.Len() > most {
		t.Errorf("%d bytes on stderr, %d of JSON", stderr.Len(), json.Len())
	}
	s.release()
	if !budget.Take(2 * deep.Len()) {
		t.Error("the places are still charged")
	}
}
