package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"narseal/cmd/narseal/internal/jsontext"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter"
	"narseal/filter/rules"
	"narseal/macho"
	"narseal/nar"
)

var (
	hashA = strings.Repeat("a", 32)
	hashB = strings.Repeat("b", 32)
)

// The fields of a report, in the form in which encoding/json writes them.
type (
	wholeReport struct {
		Schema  string `json:"schema"`
		Command string `json:"command"`
		*wholeInput
		Inputs []*wholeInput `json:"inputs,omitempty"`
	}
	wholeInput struct {
		Name   string  `json:"name,omitempty"`
		Input  *Stream `json:"input"`
		Output *Stream `json:"output,omitempty"`
		Error  string  `json:"error,omitempty"`
		*wholeArchive
		Archives []*wholeArchive `json:"archives,omitempty"`
		Totals   []Rule          `json:"totals,omitempty"`
	}
	wholeArchive struct {
		StorePath  string             `json:"storePath,omitempty"`
		Entries    Entries            `json:"entries"`
		Rules      []Rule             `json:"rules"`
		Changed    []filter.Change    `json:"changed"`
		Signatures []filter.Signature `json:"signatures"`
		Omitted    int64              `json:"omitted,omitempty"`
	}
)

func (r *Report) whole() *wholeReport {
	w := &wholeReport{Schema: r.Schema, Command: r.Command}
	if r.Input != nil {
		w.wholeInput = r.Input.whole()
	}
	for _, in := range r.Inputs {
		w.Inputs = append(w.Inputs, in.whole())
	}
	return w
}

func (in *Input) whole() *wholeInput {
	w := &wholeInput{Name: in.Name, Input: in.Input, Output: in.Output, Error: in.Error, Totals: in.Totals}
	if in.Archive != nil {
		w.wholeArchive = in.Archive.whole()
	}
	for _, a := range in.Archives {
		w.Archives = append(w.Archives, a.whole())
	}
	return w
}

func (a *Archive) whole() *wholeArchive {
	w := &wholeArchive{StorePath: a.StorePath, Entries: a.Entries, Omitted: a.Omitted,
		Rules: append([]Rule{}, a.Rules...), Changed: []filter.Change{}, Signatures: []filter.Signature{}}
	w.Changed, w.Signatures = append(w.Changed, a.Changed...), append(w.Signatures, a.Signatures...)
	return w
}

// A report that is written piece by piece is what encoding/json writes at once.
func TestReportIsJSON(t *testing.T) {
	slice := macho.Slice{Arch: "arm64", Offset: 16384, Status: macho.StatusStale, Signature: "adhoc", Reason: "<why> & \"what\"",
		CodeDirectories: []macho.CodeDirectory{{Slot: 0x1000, HashType: macho.SHA256, PageSize: 4096, Slots: 7, Stale: []int{1, 5}, StaleSpecial: []int{}}}}
	archive := func(store string, n int) *Archive {
		a := NewArchive(nil)
		a.StorePath, a.Entries = store, Entries{int64(n), 2, 3}
		for i := range n {
			a.Rules = append(a.Rules, Rule{hashA, hashB, int64(i)})
			a.AddChange(filter.Change{Path: nar.NewPath("/").Join(fmt.Sprint(i)), Contents: i == 1})
			a.AddSignature(filter.Signature{Path: nar.NewPath("/").Join("é").Join(fmt.Sprint(i)), Slice: slice})
		}
		a.Omitted = int64(n / 2)
		return a
	}
	stream := &Stream{"nar", "none", 123, "sha256-xyz="}
	for name, r := range map[string]*Report{
		"empty":    New("verify"),
		"archive":  {Schema: Schema, Command: "rewrite", Input: &Input{Input: stream, Output: stream, Archive: archive("", 3)}},
		"nothing":  {Schema: Schema, Command: "rewrite", Input: &Input{Input: stream, Archive: archive("", 0)}},
		"failed":   {Schema: Schema, Command: "rewrite", Input: &Input{Error: "input: cut", Archive: archive("", 1)}},
		"export":   {Schema: Schema, Command: "repair", Input: &Input{Input: stream, Archives: []*Archive{archive("/nix/store/x", 1), archive("/nix/store/y", 0)}, Totals: []Rule{{hashA, hashB, 1}}}},
		"inputs":   {Schema: Schema, Command: "verify", Inputs: []*Input{{Name: "a", Input: stream, Archive: archive("", 2)}, {Name: "b", Error: "absent"}}},
		"no input": {Schema: Schema, Command: "verify"},
	} {
		want, err := json.MarshalIndent(r.whole(), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := r.Write(&got); err != nil || got.String() != string(want)+"\n" {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, &got, want)
		}
	}
}

type failingWriter struct{ left int }

func (w *failingWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(b), nil
}

func TestReportWriteFails(t *testing.T) {
	a := NewArchive(nil)
	for range 1000 {
		a.AddChange(filter.Change{Path: nar.NewPath("/x")})
	}
	r := Report{Schema: Schema, Input: &Input{Archive: a}}
	for _, n := range []int{0, 5000, 20_000} {
		if err := r.Write(&failingWriter{n}); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("after %d bytes: error %v", n, err)
		}
	}
	if err := Write(io.Discard, func(o *Object) { o.Field("x", func() {}) }); err == nil {
		t.Error("a function became JSON")
	}
}

// What a terminal acts on is escaped in JSON, which says the same; and names that are no text stay different.
func TestJSONIsSafe(t *testing.T) {
	for _, path := range []string{"/a", "/é漢😀", "/\u0085\u009b31m", "/\u202egnp.exe", "/\u2066\u200f\u061c", "/\x7f\x1b[2J", "/\U000e0041", "/\xff", "/\xfe", "/a\xc2"} {
		var line bytes.Buffer
		list := NewJSON(&line, nil)
		list.Add(&Item{Input: path, StorePath: path, Signature: filter.Signature{Path: nar.NewPath(path)}})
		if err := list.End(&Tally{}); err != nil {
			t.Fatal(err)
		}
		a := NewArchive(nil)
		a.AddSignature(filter.Signature{Path: nar.NewPath(path)})
		var rep bytes.Buffer
		if err := Write(&rep, a.Fields); err != nil {
			t.Fatal(err)
		}
		for what, text := range map[string]string{"line": line.String(), "report": rep.String()} {
			if !terminal.IsHarmless(strings.ReplaceAll(text, "\n", "")) {
				t.Errorf("%s of %q: %q", what, path, text)
			}
		}
		var got struct{ Input, StorePath, Path string }
		if err := json.Unmarshal(line.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		want := jsontext.String(path)
		if got.Input != want || got.StorePath != want || got.Path != want {
			t.Errorf("%q became %s", path, &line)
		}
	}
}

// Rules that did not match are listed if asked for.
func TestRules(t *testing.T) {
	set, err := rules.Compile([]rules.Rule{{From: hashA, To: hashB}, {From: hashB, To: hashA}}, rules.UTF8)
	if err != nil {
		t.Fatal(err)
	}
	var a Archive
	a.Count(set, &filter.Result{Counts: []int64{0, 3}}, false)
	if want := []Rule{{hashB, hashA, 3}}; !slices.Equal(a.Rules, want) {
		t.Errorf("rules are %v, want %v", a.Rules, want)
	}
	a.Count(set, &filter.Result{Counts: []int64{0, 3}}, true)
	if want := []Rule{{hashA, hashB, 0}, {hashB, hashA, 3}}; !slices.Equal(a.Rules, want) {
		t.Errorf("all rules are %v, want %v", a.Rules, want)
	}
}

func TestBudget(t *testing.T) {
	b := NewBudget(5)
	for i, want := range []bool{true, true, false, true, false} {
		if got := b.Take(2 - i/3); got != want {
			t.Errorf("call %d: %v, want %v", i, got, want)
		}
	}
	b.Give(4)
	if b.Take(5) || !b.Take(4) {
		t.Error("what is given back is not there, or more is")
	}
	if unlimited := (*Budget)(nil); !unlimited.Take(1 << 40) {
		t.Error("no budget is a limit")
	}
}

// Archives of an export stream count, too, and those that do not fit are counted as left out.
func TestArchivesBudget(t *testing.T) {
	path := "/nix/store/" + strings.Repeat("1", 32) + "-x"
	b := NewBudget(int64(10*(archiveMemory+len(path)) + archiveMemory + 1))
	in := NewInputs("verify", true, b).Begin("x")
	for range 100 {
		in.AddArchive(path, &Waiting{}, &filter.Result{})
	}
	in.End(&Tally{}, nil)
	if len(in.Archives) != 10 || in.OmittedArchives != 90 {
		t.Errorf("%d archives, %d left out; want 10, 90", len(in.Archives), in.OmittedArchives)
	}
	var text bytes.Buffer
	if err := Write(&text, in.fields); err != nil || strings.Count(text.String(), path) != 10 || !strings.Contains(text.String(), "\n  \"omitted\": 90\n") {
		t.Errorf("%v, %s", err, &text)
	}
}

// A report lists what the budget has room for, and says how much it leaves out.
func TestArchiveBudget(t *testing.T) {
	left := NewBudget(changeMemory*2 + sliceMemory + 10)
	first, second := NewArchive(left), NewArchive(left)
	var cfg filter.Config
	first.Record(&cfg)
	long := "/" + strings.Repeat("x", 599)
	cfg.Observer.Changed(filter.Change{Path: nar.NewPath(long)})
	cfg.Observer.Changed(filter.Change{Path: nar.NewPath(long)})
	cfg.Observer.Signature(filter.Signature{Path: nar.NewPath("/y")})
	if len(first.Changed) != 2 || len(first.Signatures) != 1 || first.Omitted != 0 {
		t.Errorf("%d changes, %d signatures, %d left out; want 2, 1, 0", len(first.Changed), len(first.Signatures), first.Omitted)
	}
	second.Record(&cfg)
	cfg.Observer.Signature(filter.Signature{Path: nar.NewPath("/y")})
	if len(second.Signatures) != 0 || second.Omitted != 1 {
		t.Errorf("another archive: %d signatures, %d left out; want 0, 1", len(second.Signatures), second.Omitted)
	}
	// Paths count when they are written.
	var text bytes.Buffer
	if err := Write(&text, first.Fields); err != nil || !strings.Contains(text.String(), `"changed": [],`) ||
		!strings.Contains(text.String(), `"path": "/y"`) || !strings.Contains(text.String(), "\n  \"omitted\": 2\n") {
		t.Errorf("%v, %s", err, &text)
	}
	text.Reset()
	if err := Write(&text, second.Fields); err != nil || !strings.Contains(text.String(), "\n  \"omitted\": 1\n") {
		t.Errorf("%v, %s", err, &text)
	}
	first.Release()
	cfg.Observer.Signature(filter.Signature{Path: nar.NewPath("/y")})
	if len(second.Signatures) != 1 || len(first.Changed) != 0 {
		t.Errorf("after a release: %d signatures, want 1", len(second.Signatures))
	}
}

// The slices of an archive that waits for its store path count while they wait, and every list says what it lacks.
func TestWaitingBudget(t *testing.T) {
	stale := filter.Signature{Path: nar.NewPath("/x"), Slice: macho.Slice{Status: macho.StatusStale, Reason: strings.Repeat("r", 100)}}
	var jsonOut, textOut, githubOut bytes.Buffer
	lists := Lists{NewJSON(&jsonOut, nil), NewTable(&textOut, TableOptions{}), NewGitHub(&githubOut, "")}
	left := NewBudget(int64(2*Memory(&stale.Slice) + 10))
	w := NewWaiting(left)
	for range 2 {
		for range 5 {
			w.Add(stale)
		}
		w.Flush(lists, "in", "/nix/store/p")
	}
	if err := lists.End(&Tally{Slices: 10, Invalid: 10}); err != nil {
		t.Fatal(err)
	}
	if got := jsonOut.String(); strings.Count(got, `"storePath":"/nix/store/p"`) != 4 || !strings.HasSuffix(got, "\n{\"omitted\":6}\n") {
		t.Errorf("JSON: %s", got)
	}
	const omitted = "\n6 slices left out: they would take more than 64 MiB of memory\n"
	if got := textOut.String(); strings.Count(got, "/nix/store/p/x") != 4 || !strings.Contains(got, omitted) {
		t.Errorf("text: %s", got)
	}
	if got := githubOut.String(); strings.Count(got, "::error ") != 4 || !strings.Contains(got, omitted) {
		t.Errorf("GitHub: %s", got)
	}
}

// Paths that no system can open are listed in JSON until the budget ends, and shown to people by their end.
func TestLongPaths(t *testing.T) {
	path := nar.NewPath("/")
	for range 40 {
		path = path.Join(strings.Repeat("d", 250))
	}
	left := NewBudget(int64(2*path.Len() + 300))
	var jsonOut, textOut, githubOut bytes.Buffer
	lists := Lists{NewJSON(&jsonOut, left), NewTable(&textOut, TableOptions{}), NewGitHub(&githubOut, "")}
	for i := range 5 {
		lists.Add(&Item{Input: "in", Signature: filter.Signature{Path: path.Join(fmt.Sprint("end", i)), Slice: macho.Slice{Status: macho.StatusStale}}})
	}
	lists.Add(&Item{Input: "in", Signature: filter.Signature{Path: nar.NewPath("/x"), Slice: macho.Slice{Status: macho.StatusStale}}})
	if err := lists.End(&Tally{}); err != nil {
		t.Fatal(err)
	}
	got := strings.Split(jsonOut.String(), "\n")
	if len(got) != 5 || !strings.Contains(got[1], path.String()+`/end1"`) || !strings.Contains(got[2], `"/x"`) || got[3] != `{"omitted":3}` {
		t.Errorf("%d lines of JSON, the last ones %.100q", len(got), got[2:])
	}
	for what, text := range map[string]string{"text": textOut.String(), "GitHub": githubOut.String()} {
		if strings.Count(text, "…/ddd") != 5 || strings.Count(text, "/end") != 5 || len(text) > 6*5000 {
			t.Errorf("%s has %d bytes", what, len(text))
		}
	}
}

// A path of any length is the same text in all forms of JSON, also where it is written in pieces.
func TestLongPathsInJSON(t *testing.T) {
	p := nar.NewPath("/")
	for p.Len() < 3*maxText/2 {
		for _, s := range []string{"x", "\xff", "b", "<\u202e\ufffd\"\\>"} {
			p = p.Join(s)
			if n := p.Len() - maxText; n < -50 || n > 50 && n < maxText/2-10 {
				continue
			}
			want := jsontext.String(p.String())
			item := &Item{Input: "in", Signature: filter.Signature{Path: p, Slice: macho.Slice{Reason: jsontext.Long}}}
			var lines, whole bytes.Buffer
			list := NewJSON(&lines, nil)
			list.Add(item)
			in := NewInputs("verify", true, nil)
			in.Begin("x").Add(item.Signature)
			if err := errors.Join(list.End(&Tally{}), in.Report().Write(&whole)); err != nil {
				t.Fatal(err)
			}
			var line signatureFields
			var rep struct{ Signatures []signatureFields }
			if err := errors.Join(json.Unmarshal(lines.Bytes(), &line), json.Unmarshal(whole.Bytes(), &rep)); err != nil {
				t.Fatal(err)
			}
			if len(rep.Signatures) != 1 || line.Path != want || rep.Signatures[0].Path != want || line.Reason != jsontext.Long {
				t.Fatalf("a path of %d bytes is not what it was", p.Len())
			}
		}
	}
}

// Paths that are printed are in proportion to what was read, at their length in JSON.
func TestPathBudget(t *testing.T) {
	path := nar.NewPath("/" + strings.Repeat("x", 99_999))
	invalid := nar.NewPath("/" + strings.Repeat("\xff", 99_999))
	fits := func(b *Budget, p nar.Path) (n int) {
		for n < 1000 && b.TakePath(p) {
			n++
		}
		return n
	}
	if n := fits(NewBudget(50e6), path); n != 500 {
		t.Errorf("without a limit: %d, want 500", n)
	}
	if n := fits(nil, path); n != 1000 {
		t.Errorf("no budget: %d", n)
	}
	b := NewBudget(50e6)
	if _, err := io.Copy(io.Discard, b.Reader(strings.NewReader(strings.Repeat("y", 2_000_000)))); err != nil {
		t.Fatal(err)
	}
	want := (freePaths + 2_000_000*pathRatio) / 100_000
	if n := fits(b, path); n != want {
		t.Errorf("after 2 MB: %d, want %d", n, want)
	}
	b.Entry(3_000_000)
	if n := fits(b, invalid); n != 6 {
		t.Errorf("not UTF-8, after 3 MB: %d, want 6", n)
	}
}
