package sweepsummary

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"unicode"

	"github.com/klauspost/compress/zstd"

	"narseal/cmd/narseal/internal/ledger"
	"narseal/cmd/narseal/internal/report"
	"narseal/nar/compression"
)

const header = `{"ledger":"narseal/1","command":"cache repair","options":""}` + "\n"

func TestPackageName(t *testing.T) {
	for path, want := range map[string]string{
		"/nix/store/11111111111111111111111111111111-hello-2.12":          "hello",
		"/nix/store/11111111111111111111111111111111-python3.12-six-1.16": "python3.12-six",
		"/nix/store/11111111111111111111111111111111-gcc-wrapper":         "gcc-wrapper",
		"/nix/store/11111111111111111111111111111111-a-1-b-2":             "a",
		"/nix/store/11111111111111111111111111111111-x":                   "x",
		"/nix/store/11111111111111111111111111111111--":                   "-",
		"11111111111111111111111111111111":                                "11111111111111111111111111111111",
	} {
		if got := packageName(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// The sums are those of a naive count over the last line of each path.
func TestSums(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	type path struct {
		status            string
		repaired, invalid int64
	}
	last := map[int]path{}
	var text strings.Builder
	text.WriteString(header)
	for range 2000 {
		if r.IntN(10) == 0 {
			text.WriteString(header)
		}
		n := r.IntN(300)
		p := path{status: []string{"changed", "unchanged", "failed", "missing"}[r.IntN(4)]}
		var list []string
		if p.status == "changed" || p.status == "unchanged" {
			for range r.IntN(4) {
				status := "repaired"
				if r.IntN(2) == 0 {
					status = "stale"
					p.invalid++
				} else {
					p.repaired++
				}
				list = append(list, fmt.Sprintf(`{"path":"/x","arch":"arm64","status":%q,"signature":"adhoc","codeDirectories":[],"reason":""}`, status))
			}
		}
		last[n] = p
		fmt.Fprintf(&text, `{"storePath":"/nix/store/%032d-p%d-1.0","narHash":"x","status":%q,"signatures":[%s],"at":"2026-01-01T00:00:00Z"}`+"\n", n, n%7, p.status, strings.Join(list, ","))
	}
	reader := NewReader(report.NewBudget(report.DefaultBudget))
	if err := reader.Read(strings.NewReader(text.String())); err != nil {
		t.Fatal(err)
	}
	s := reader.Summary(nil)
	var repaired, invalid, affected int64
	paths := map[string]int64{}
	for _, p := range last {
		repaired, invalid = repaired+p.repaired, invalid+p.invalid
		paths[p.status]++
		if p.repaired+p.invalid > 0 {
			affected++
		}
	}
	var inPackages, inCauses int64
	for _, p := range s.Packages {
		inPackages += p.Repaired + p.Invalid
	}
	for _, c := range s.Causes {
		inCauses += c.Repaired + c.Invalid
	}
	if s.Repaired != repaired || s.Invalid != invalid || s.affected != affected || inPackages != repaired+invalid || inCauses != repaired+invalid || fmt.Sprint(s.Paths) != fmt.Sprint(paths) {
		t.Errorf("%d, %d, %d, %d, %d, %v, want %d, %d, %d, %v", s.Repaired, s.Invalid, s.affected, inPackages, inCauses, s.Paths, repaired, invalid, affected, paths)
	}
	var b bytes.Buffer
	if err := s.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Paths      map[string]int64
		Unrepaired []Problem
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || fmt.Sprint(got.Paths) != fmt.Sprint(paths) || int64(len(got.Unrepaired)) != invalid {
		t.Errorf("JSON: %v, %v, %d unrepaired", err, got.Paths, len(got.Unrepaired))
	}
	b.Reset()
	if err := s.WriteHTML(&b, "x"); err != nil || !strings.Contains(b.String(), "<td>p3</td>") {
		t.Errorf("HTML: %v\n%s", err, b.String())
	}
}

// What does not fit into the budget is counted as omitted, and a path that is replaced gives back what it took.
func TestBudget(t *testing.T) {
	line := func(n int) string {
		return fmt.Sprintf(`{"storePath":"/nix/store/%032d-x","status":"unchanged","signatures":[{"path":"/x","status":"stale","reason":%q}]}`+"\n", n, strings.Repeat("r", 1000))
	}
	reader := NewReader(report.NewBudget(10_000))
	text := header
	for range 100 {
		text += line(1)
	}
	if err := reader.Read(strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	if s := reader.Summary(nil); s.Omitted != 0 || s.Invalid != 1 {
		t.Errorf("one path: %+v", s)
	}
	text = header
	for n := range 100 {
		text += line(n)
	}
	if err := reader.Read(strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	if s := reader.Summary(nil); s.Omitted == 0 || s.Omitted+int64(len(s.Unrepaired)) != 100 {
		t.Errorf("100 paths: %d omitted, %d listed", s.Omitted, len(s.Unrepaired))
	}
}

// The reasons of failed paths count for the budget, too. Those that are not listed are counted.
func TestFailuresBudget(t *testing.T) {
	const paths, size = 100, 4000
	for _, c := range []struct{ budget, most int64 }{{paths * (size + 1000), paths}, {30_000, 30_000 / size}, {100, 0}} {
		reader := NewReader(report.NewBudget(c.budget))
		text := header
		for n := range paths {
			text += fmt.Sprintf(`{"storePath":"/nix/store/%032d-x","status":"failed","error":%q}`+"\n", n, strings.Repeat("e", size))
		}
		if err := reader.Read(strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		s := reader.Summary(nil)
		listed := int64(0)
		for _, p := range s.Unrepaired {
			listed += int64(len(p.Reason) / size)
		}
		if listed > c.most || listed == 0 && c.most > 0 || s.Unlisted != paths-listed {
			t.Errorf("budget %d: %d listed, want at most %d, and %d not", c.budget, listed, c.most, s.Unlisted)
		}
		var b, page, object bytes.Buffer
		if err := errors.Join(s.WriteText(&b), s.WriteHTML(&page, "1"), s.WriteJSON(&object)); err != nil {
			t.Fatal(err)
		}
		for _, form := range []struct{ text, want string }{
			{b.String(), fmt.Sprintf("%d failed paths are not listed", paths-listed)},
			{page.String(), fmt.Sprintf("%d further paths that failed are not listed", paths-listed)},
			{object.String(), fmt.Sprintf(`"unlisted": %d`, paths-listed)},
		} {
			if strings.Contains(form.text, form.want) != (listed < paths) {
				t.Errorf("budget %d: want %q only if some are not listed:\n%.300s", c.budget, form.want, form.text)
			}
		}
	}
}

// A compressed ledger does not decide how much memory it takes: a window of 64 MiB is read, a larger one is refused.
func TestLedgerWindow(t *testing.T) {
	for window, want := range map[int]error{64 << 20: nil, 128 << 20: compression.ErrMemory} {
		var b bytes.Buffer
		z, err := zstd.NewWriter(&b, zstd.WithWindowSize(window), zstd.WithSingleSegment(false), zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		text := header + fmt.Sprintf(`{"storePath":"/nix/store/%032d-x","status":"unchanged","signatures":[{"reason":%q}]}`+"\n", 1, strings.Repeat("e", 6<<20))
		for range 20 { // fewer would not need the window
			if _, err := io.WriteString(z, text); err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		r := NewReader(report.NewBudget(report.DefaultBudget))
		if err := r.Read(&b); !errors.Is(err, want) {
			t.Errorf("%d MiB: %v, want %v", window>>20, err, want)
		}
	}
}

// No string of a ledger controls the terminal, or begins a line of its own.
func TestTextIsPrintable(t *testing.T) {
	const evil = `\u001b[2J\u009b31m\u202e\r\n::error::x`
	for _, compared := range []bool{false, true} {
		reader := NewReader(report.NewBudget(report.DefaultBudget))
		ledger := `{"ledger":"narseal/1","command":"cache repair` + evil + `","options":"` + evil + `"}` + "\n"
		for i, status := range []string{"unchanged", "failed", evil} {
			ledger += fmt.Sprintf(`{"storePath":"/nix%s/%032d-p","narHash":"x","status":"%s","signatures":[{"path":"/%s","arch":"%s","status":"stale","signature":"%s","codeDirectories":[],"reason":"%s"}],"error":"%s","at":"2026-01-01T00:00:00Z"}`+"\n",
				evil, i, status, evil, evil, evil, evil, evil)
		}
		if err := reader.Read(strings.NewReader(ledger)); err != nil {
			t.Fatal(err)
		}
		var before *Reader
		if compared {
			before = NewReader(report.NewBudget(report.DefaultBudget))
		}
		var b bytes.Buffer
		if err := reader.Summary(before).WriteText(&b); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if text := strings.TrimSuffix(line, "\n"); strings.HasPrefix(text, "::") || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q", line)
			}
		}
		b.Reset()
		if err := reader.Summary(before).WriteHTML(&b, "1"); err != nil {
			t.Fatal(err)
		}
		if i := strings.IndexFunc(b.String(), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("in the HTML: %q", b.String()[i:min(i+40, b.Len())])
		}
	}
}

// A path takes what SECURITY.md says in the ledgers that are added up, and nothing in those of an earlier sweep.
func TestSummaryMemory(t *testing.T) {
	const n = 1 << 18 * 4 / 5 // where the set is as large as it gets for its paths, and one more path makes it larger
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for name, most := range map[string]uint64{"now": 40, "earlier": 1} {
		r := NewReader(report.NewBudget(1 << 20))
		if name == "earlier" {
			r = NewReader(report.NewBudget(1 << 20)).OnlyBroken()
		}
		line := ledger.Line{StorePath: strings.Repeat("0", 32), Status: "verified"}
		before := heap()
		for i := range n + 2 {
			line.StorePath = fmt.Sprintf("%08d", i) + strings.Repeat("0", 24)
			if err := r.add(i, &line); err != nil {
				t.Fatal(err)
			}
		}
		if after := heap(); after > before && (after-before)/n > most {
			t.Errorf("%s: %d bytes for each path", name, (after-before)/n)
		}
		want := map[string]int64{"verified": n + 2}
		if name == "earlier" {
			want = map[string]int64{}
		}
		if got := r.Summary(nil).Paths; !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	old := maxPaths
	defer func() { maxPaths = old }()
	maxPaths = 2
	r := NewReader(report.NewBudget(1 << 20))
	for i, digit := range []string{"1", "2", "1", "3"} {
		err := r.add(i, &ledger.Line{StorePath: strings.Repeat(digit, 32), Status: "verified"})
		if (err == nil) != (digit != "3") || err != nil && err.Error() != "more than 2 paths" {
			t.Errorf("%s: %v", digit, err)
		}
	}
}
