package worklist

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"narseal/nar/nartest"
	"narseal/nar/storepath"
)

// randomHash makes a hash part of any characters.
func randomHash(r *rand.Rand) string {
	b := make([]byte, storepath.HashLen)
	for i := range b {
		b[i] = storepath.HashAlphabet[r.IntN(len(storepath.HashAlphabet))]
	}
	return string(b)
}

func mustParse(t *testing.T, s string) Hash {
	t.Helper()
	h, err := ParseHash(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHash(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var texts []string
	for range 1000 {
		texts = append(texts, randomHash(r))
	}
	texts = append(texts, strings.Repeat("0", 32), strings.Repeat("z", 32))
	for _, s := range texts {
		h := mustParse(t, s)
		if h.String() != s {
			t.Errorf("%s comes back as %s", s, h)
		}
	}
	slices.Sort(texts)
	for i := 1; i < len(texts); i++ {
		a, b := mustParse(t, texts[i-1]), mustParse(t, texts[i])
		if bytes.Compare(a[:], b[:]) > 0 {
			t.Errorf("%s comes before %s", b, a)
		}
	}
	for _, s := range []string{"", "0", strings.Repeat("e", 32), strings.Repeat("0", 33), strings.Repeat("0", 31) + "E"} {
		if _, err := ParseHash(s); err == nil {
			t.Errorf("%q is taken for a hash part", s)
		}
	}
}

// value is the number that a hash part stands for, by arithmetic.
func value(s string) *big.Int {
	v := new(big.Int)
	for _, c := range s {
		v.Mul(v, big.NewInt(32)).Add(v, big.NewInt(int64(strings.IndexRune(storepath.HashAlphabet, c))))
	}
	return v
}

// Every path is in one shard, the shards are ranges in the order of the text, and they are of equal size.
func TestShards(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	whole := new(big.Int).Lsh(big.NewInt(1), 160)
	for _, n := range []int{1, 2, 3, 7, 16, 100, 65521, MaxShards} {
		texts := []string{strings.Repeat("0", 32), strings.Repeat("z", 32)}
		for range 300 {
			texts = append(texts, randomHash(r))
		}
		slices.Sort(texts)
		last := 0
		for _, s := range texts {
			h := mustParse(t, s)
			want := new(big.Int).Mul(value(s), big.NewInt(int64(n)))
			want.Div(want, whole)
			in := int(want.Int64())
			if in < last {
				t.Fatalf("%d shards: %s is in %d, after %d", n, s, in, last)
			}
			last = in
			for _, i := range []int{0, in - 1, in, in + 1, n - 1} {
				if got := (Shard{i, n}).Has(h); got != (i == in) && i >= 0 && i < n {
					t.Errorf("%d shards: %s in %d: %v, want it in %d", n, s, i, got, in)
				}
			}
		}
	}
	if !(Shard{}).Has(mustParse(t, strings.Repeat("z", 32))) {
		t.Error("the zero shard is not the whole")
	}
}

func TestParseShard(t *testing.T) {
	type vars = map[string]string
	for _, c := range []struct {
		s    string
		vars vars
		want Shard
		err  string
	}{
		{s: "0/1", want: Shard{0, 1}},
		{s: "15/16", want: Shard{15, 16}},
		{s: "007/16", want: Shard{7, 16}},
		{s: "16/16", err: "no shard 16 of 16"},
		{s: "-1/16", err: `the shard is "-1"`},
		{s: "+1/16", err: `the shard is "+1"`},
		{s: "1", err: "want I/N"},
		{s: "", err: "want I/N"},
		{s: "1/", err: "number of shards"},
		{s: "1/0", err: "number of shards"},
		{s: "1/2/3", err: "number of shards"},
		{s: "0/1048577", err: "number of shards"},
		{s: "0/99999999999999999999", err: "number of shards"},
		{s: "auto/4", err: "no scheduler has set JOB_COMPLETION_INDEX, AWS_BATCH_JOB_ARRAY_INDEX, SLURM_ARRAY_TASK_ID"},
		{s: "auto/4", vars: vars{"JOB_COMPLETION_INDEX": "3"}, want: Shard{3, 4}},
		{s: "auto/4", vars: vars{"AWS_BATCH_JOB_ARRAY_INDEX": "0"}, want: Shard{0, 4}},
		{s: "auto/4", vars: vars{"SLURM_ARRAY_TASK_ID": "2"}, want: Shard{2, 4}},
		{s: "auto/4", vars: vars{"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_MIN": "1"}, want: Shard{3, 4}},
		{s: "auto/4", vars: vars{"SLURM_ARRAY_TASK_ID": "4"}, err: "no shard 4 of 4: the first is 0, the last 3 (from SLURM_ARRAY_TASK_ID)"},
		{s: "auto/4", vars: vars{"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_MIN": "2"}, err: "SLURM_ARRAY_TASK_MIN"},
		{s: "auto/4", vars: vars{"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_MIN": "x"}, err: "SLURM_ARRAY_TASK_MIN"},
		{s: "auto/4", vars: vars{"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_COUNT": "4"}, want: Shard{3, 4}},
		{s: "auto/4", vars: vars{"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_COUNT": "1"}, // started again alone
			err: "SLURM_ARRAY_TASK_COUNT is 1, want 4"},
		{s: "3/4", vars: vars{"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_COUNT": "1"}, want: Shard{3, 4}},
		{s: "auto/4", vars: vars{"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "x"}, err: `SLURM_ARRAY_TASK_COUNT is "x"`},
		{s: "auto/4", vars: vars{"AWS_BATCH_JOB_ARRAY_INDEX": "1", "AWS_BATCH_JOB_ARRAY_SIZE": "4"}, want: Shard{1, 4}},
		{s: "auto/4", vars: vars{"AWS_BATCH_JOB_ARRAY_INDEX": "1", "AWS_BATCH_JOB_ARRAY_SIZE": "2"}, err: "AWS_BATCH_JOB_ARRAY_SIZE is 2, want 4"},
		{s: "auto/4", vars: vars{"AWS_BATCH_JOB_ARRAY_INDEX": "1", "AWS_BATCH_JOB_ARRAY_SIZE": "8"}, err: "AWS_BATCH_JOB_ARRAY_SIZE is 8, want 4"},
		{s: "auto/4", vars: vars{"JOB_COMPLETION_INDEX": "x"}, err: `JOB_COMPLETION_INDEX is "x"`},
		{s: "auto/4", vars: vars{"JOB_COMPLETION_INDEX": ""}, err: "no scheduler"},
		{s: "auto/4", vars: vars{"JOB_COMPLETION_INDEX": "1", "SLURM_ARRAY_TASK_ID": "1"}, want: Shard{1, 4}},
		{s: "auto/4", vars: vars{"JOB_COMPLETION_INDEX": "1", "SLURM_ARRAY_TASK_ID": "2"},
			err: "JOB_COMPLETION_INDEX and SLURM_ARRAY_TASK_ID say different shards, 1 and 2"},
		{s: "2/4", vars: vars{"JOB_COMPLETION_INDEX": "1"}, want: Shard{2, 4}},
	} {
		got, err := ParseShard(c.s, func(name string) (string, bool) { v, ok := c.vars[name]; return v, ok })
		if c.err == "" && (err != nil || got != c.want) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%q, %v: got %v, %v, want %v, %q", c.s, c.vars, got, err, c.want, c.err)
		}
	}
}

const (
	hash1 = "11111111111111111111111111111111"
	hash2 = "22222222222222222222222222222222"
	hash3 = "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"
)

var sampleList = "# a list\n/nix/store/" + hash3 + "-c-1.0\r\n\n  " + hash1 + "  # a\n" + hash2 + "-b\n/gnu/store/" + hash1 + "-a"

func hashes(l *List) []string {
	var s []string
	for h := range l.All() {
		s = append(s, h.String())
	}
	return s
}

func TestListRead(t *testing.T) {
	packed := map[string][]byte{"plain": []byte(sampleList), "empty": nil}
	var b bytes.Buffer
	g := gzip.NewWriter(&b)
	g.Write([]byte(sampleList))
	g.Close()
	packed["gzip"] = bytes.Clone(b.Bytes())
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed["zstd"] = z.EncodeAll([]byte(sampleList), nil)
	for _, tool := range []string{"xz", "bzip2"} {
		cmd := exec.Command(nartest.Tool(t, tool), "-c")
		cmd.Stdin = strings.NewReader(sampleList)
		if packed[tool], err = cmd.Output(); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range packed {
		var l List
		if err := l.Read(iotest.OneByteReader(bytes.NewReader(data)), name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		want := []string{hash1, hash2, hash3}
		if name == "empty" {
			want = nil
		}
		if got := hashes(&l); !slices.Equal(got, want) {
			t.Errorf("%s: %q", name, got)
		}
		if name == "plain" || name == "empty" {
			continue
		}
		for n := 1; n < len(data); n++ {
			if err := new(List).Read(bytes.NewReader(data[:n]), name); err == nil {
				t.Errorf("%s cut after %d of %d bytes: no error", name, n, len(data))
			}
		}
	}
}

func TestListErrors(t *testing.T) {
	for text, want := range map[string]string{
		hash1 + "\nnonsense\n":                      "x:2: \"nonsense\": ",
		hash1 + " " + hash2:                         "x:1: ",
		"/nix/store/" + hash1:                       "x:1: ",
		"/nix/store/" + hash1 + "-a/bin":            "x:1: ",
		strings.Repeat("#\n", 9) + "\x00":           "x:10: ",
		hash1 + "-" + strings.Repeat("a", 212):      "x:1: ",
		"\n\n" + strings.Repeat("a", maxLine+1):     "x:3: the line has more than 65536 bytes",
		"#\n" + strings.Repeat("#", 2*maxLine) + "": "x:2: the line has more than 65536 bytes",
	} {
		err := new(List).Read(strings.NewReader(text), "x")
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
	broken := errors.New("broken")
	err := new(List).Read(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(sampleList))), "x")
	if !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("got %v, want the error of the reader", err)
	}
	if err := new(List).Read(iotest.ErrReader(broken), "x"); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

// A list that repeats itself takes no more memory than its paths.
func TestListRepeated(t *testing.T) {
	var l List
	r := rand.New(rand.NewPCG(5, 6))
	want := map[string]bool{}
	for range 1000 {
		want[randomHash(r)] = true
	}
	for range 300 {
		for s := range want {
			if err := l.Add(mustParse(t, s)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := len(slices.Collect(l.All())); n != len(want) || cap(l.hashes) > 4*len(want) {
		t.Errorf("%d paths in the memory for %d, want %d", n, cap(l.hashes), len(want))
	}
	for h := range l.All() {
		if !want[h.String()] {
			t.Errorf("%s is not from the list", h)
		}
	}
}

// The shards of a list are the whole list, each path once.
func TestListShards(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	var text strings.Builder
	want := map[string]bool{}
	for range 2000 {
		s := randomHash(r)
		want[s] = true
		fmt.Fprintf(&text, "/nix/store/%s-x\n", s)
	}
	got := map[string]int{}
	for i := range 16 {
		l := List{Shard: Shard{i, 16}}
		if err := l.Read(strings.NewReader(text.String()), "x"); err != nil {
			t.Fatal(err)
		}
		for h := range l.All() {
			got[h.String()]++
		}
	}
	for s := range want {
		if got[s] != 1 {
			t.Errorf("%s is in %d shards", s, got[s])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d paths, want %d", len(got), len(want))
	}
}

func TestSet(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	s, want := NewSet(), map[Hash]bool{}
	for range 20_000 {
		var h Hash
		h[r.IntN(hashSize)] = byte(r.IntN(256)) // many twice, and all zeros
		h[r.IntN(hashSize)] = byte(r.IntN(4))
		if i, added := s.Add(h); added == want[h] || s.at(i) != h {
			t.Fatalf("%x: new: %v", h, !want[h])
		}
		want[h] = true
	}
	if s.Len() != len(want) {
		t.Errorf("%d, want %d", s.Len(), len(want))
	}
	if len(s.slots) > 4*len(want)+minSlots {
		t.Errorf("%d slots for %d", len(s.slots), len(want))
	}
}

// A closure, taken in shards, has each path that can be reached once, as a naive search finds them.
func TestClosure(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for round := range 20 {
		n := 1 + r.IntN(200)
		names := make([]string, n)
		for i := range names {
			names[i] = randomHash(r) + "-x"
		}
		refs := map[string][]string{}
		for _, name := range names {
			for range r.IntN(4) {
				refs[name[:32]] = append(refs[name[:32]], names[r.IntN(n)]) // also to itself
			}
		}
		var roots List
		reach := map[string]bool{}
		var visit func(string)
		visit = func(name string) {
			if !reach[name[:32]] {
				reach[name[:32]] = true
				for _, ref := range refs[name[:32]] {
					visit(ref)
				}
			}
		}
		for range 1 + r.IntN(5) {
			name := names[r.IntN(n)]
			roots.Add(mustParse(t, name[:32]))
			visit(name)
		}
		got := map[string]int{}
		for i := range 3 {
			for hash, err := range Closure(t.Context(), &roots, Shard{i, 3}, 4, func(_ context.Context, h Hash) ([]string, error) { return refs[h.String()], nil }, NewMembers()) {
				if err != nil {
					t.Fatal(err)
				}
				got[hash]++
			}
		}
		for hash := range reach {
			if got[hash] != 1 {
				t.Errorf("round %d: %s comes %d times", round, hash, got[hash])
			}
		}
		if len(got) != len(reach) {
			t.Errorf("round %d: %d paths, want %d", round, len(got), len(reach))
		}
	}
}

// A narinfo that cannot be read is an error at the end. What the others lead to comes before it.
func TestClosureFails(t *testing.T) {
	var roots List
	roots.Add(mustParse(t, hash1))
	roots.Add(mustParse(t, hash2))
	broken := errors.New("broken")
	references := func(_ context.Context, h Hash) ([]string, error) {
		if h.String() == hash1 {
			return nil, broken
		}
		return []string{hash3 + "-x", "nonsense"}, nil
	}
	var got []string
	var last error
	for hash, err := range Closure(t.Context(), &roots, Shard{}, 1, references, NewMembers()) {
		if last != nil {
			t.Error("it goes on after the error")
		}
		if last = err; err == nil {
			got = append(got, hash)
		}
	}
	if !slices.Equal(got, []string{hash1, hash2, hash3}) || !errors.Is(last, broken) {
		t.Errorf("%q, %v", got, last)
	}
	for range Closure(t.Context(), &roots, Shard{}, 1, references, NewMembers()) {
		break // and nothing is called any more
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range Closure(ctx, &roots, Shard{}, 1, references, NewMembers()) {
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("canceled: %v", last)
	}
}

// A closure takes what MaxClosure says: the set is all that grows with it.
func TestSetMemory(t *testing.T) {
	const n = 1 << 18 * 4 / 5 // where the table of slots is as large as it gets for its paths, and one more makes it larger
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	m := NewMembers()
	for i := range n + 2 {
		m.add(Hash{1, 17: byte(i >> 16), 18: byte(i >> 8), 19: byte(i)})
	}
	if each := (heap() - before) / n; each > 40 {
		t.Errorf("%d bytes for each path", each)
	}
	if m.paths.Len() != n+2 {
		t.Errorf("%d paths", m.paths.Len())
	}
}

// While a closure is searched, no more results are in memory than calls run at the same time, and a caller that ends early
// leaves no call behind.
func TestClosureInFlight(t *testing.T) {
	const jobs = 3
	var running, most atomic.Int32
	references := func(ctx context.Context, h Hash) ([]string, error) {
		n := running.Add(1)
		for {
			old := most.Load()
			if n <= old || most.CompareAndSwap(old, n) {
				break
			}
		}
		runtime.Gosched()
		running.Add(-1)
		var names []string
		for i := range 20 {
			next := h
			next[i] = h[i]/2 + 1
			names = append(names, next.String()+"-x")
		}
		return names, nil
	}
	for _, stop := range []int{1, 100, 5000} {
		var roots List
		roots.Add(Hash{1})
		n := 0
		for _, err := range Closure(t.Context(), &roots, Shard{}, jobs, references, NewMembers()) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == stop {
				break
			}
		}
		if running.Load() != 0 || n != stop {
			t.Errorf("%d calls still run after %d paths", running.Load(), n)
		}
	}
	if most.Load() > jobs {
		t.Errorf("%d calls at the same time", most.Load())
	}
}

// What a cache refers to is bounded, however much of it there is.
func TestClosureLimit(t *testing.T) {
	c := &closure{members: NewMembers(), yield: func(string, error) bool { return true }}
	c.members.paths.used = MaxClosure
	c.members.paths.slots = make([]uint32, 2*MaxClosure)
	var got error
	c.yield = func(_ string, err error) bool { got = err; return true }
	if c.add(mustParse(t, hash1)) || got == nil || !strings.Contains(got.Error(), "more than 4194304 paths") {
		t.Errorf("past the limit: %v", got)
	}
	c.members.paths.used = MaxClosure - 1
	if err := c.members.Require([]string{hash2 + "-x"}); err != nil {
		t.Error(err)
	}
	if err := c.members.Require([]string{hash3 + "-x"}); err == nil || !strings.Contains(err.Error(), "more than 4194304 paths") {
		t.Errorf("past the limit, outside: %v", err)
	}
}

// repeated is a line without end.
type repeated struct {
	line string
	at   int
}

func (r *repeated) Read(b []byte) (int, error) {
	n := copy(b, r.line[r.at:])
	r.at = (r.at + n) % len(r.line)
	return n, nil
}

// A list without end is an error, although no line of it is wrong.
func TestEndlessList(t *testing.T) {
	old := maxText
	defer func() { maxText = old }()
	maxText = 1 << 20
	for _, line := range []string{"\n", "#\n", hash1 + "\n"} {
		if err := new(List).Read(&repeated{line: line}, "x"); err == nil || !strings.Contains(err.Error(), "the list has more than 1048576 bytes") {
			t.Errorf("%q for ever: %v", line, err)
		}
	}
	long := strings.Repeat(hash1+"\n", 1000)
	if err := new(List).Read(strings.NewReader(long), "x"); err != nil {
		t.Error(err)
	}
}

// What a path refers to when it is worked on must be in the closure, whether that is found before or after.
func TestMembers(t *testing.T) {
	m := NewMembers()
	m.add(mustParse(t, hash1))
	name := func(h string) string { return h + "-x" }
	for _, refs := range [][]string{{name(hash1)}, {name(hash2), name(hash1)}} {
		if err := m.Require(refs); err != nil {
			t.Error(err)
		}
	}
	if err := m.Err(); err == nil || !strings.Contains(err.Error(), "1 paths, such as "+hash2+",") {
		t.Errorf("a path is missing: %v", err)
	}
	m.add(mustParse(t, hash2))
	if err := m.Err(); err != nil {
		t.Errorf("found later: %v", err)
	}
	zero := strings.Repeat("0", 32)
	if err := m.Require([]string{name(zero)}); err != nil || m.Err() == nil {
		t.Errorf("zeros are missing: %v, %v", err, m.Err())
	}
	if m.add(mustParse(t, zero)); m.Err() != nil {
		t.Error(m.Err())
	}
	var none *Members
	if err := errors.Join(none.Require([]string{name(hash1)}), none.Err()); err != nil {
		t.Error(err)
	}
}

// However paths are found and required in turn, Members know what a naive set knows.
func TestMembersRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for range 50 {
		m := NewMembers()
		found, all := map[Hash]bool{}, map[Hash]bool{}
		var order []Hash
		for range 500 {
			h := Hash{1: byte(r.IntN(200)), 7: byte(r.IntN(2))}
			all[h] = true
			if r.IntN(2) == 0 {
				if err := m.Require([]string{h.String() + "-x"}); err != nil {
					t.Fatal(err)
				}
				continue
			}
			n, added := m.add(h)
			if added == found[h] || n != len(all) {
				t.Fatalf("added %v, %d paths, want %d", added, n, len(all))
			}
			if found[h] = true; added {
				order = append(order, h)
			}
		}
		for i, want := range order {
			if got, ok := m.at(i); !ok || got != want {
				t.Fatalf("%d: got %v, want %v", i, got, want)
			}
		}
		if _, ok := m.at(len(order)); ok {
			t.Error("one too many")
		}
		err := m.Err()
		if missing := len(all) - len(found); missing == 0 && err != nil || missing > 0 && (err == nil || !strings.Contains(err.Error(), fmt.Sprintf("closure: %d paths", missing))) {
			t.Errorf("%d are missing: %v", missing, err)
		}
	}
}

// A path is doubted until the work on it has ended, whatever comes first.
func TestDoubts(t *testing.T) {
	m := NewMembers()
	var want []Doubt
	n := maxDoubts + 300
	for i := range 3 * n {
		h := Hash{1: byte(i >> 8), 19: byte(i)}
		m.add(h)
		reason := strings.Repeat(fmt.Sprint(i), 1000)
		if i%3 == 0 {
			m.Settle(h)
		}
		m.Doubt(h, reason)
		m.Doubt(h, "again")
		if i%3 == 1 {
			m.Settle(h)
		}
		if i%3 == 2 {
			want = append(want, Doubt{h, clip(reason)})
		}
	}
	list, got := m.Doubts()
	if got != n || len(list) != maxDoubts/3 || !slices.Equal(list, want[:len(list)]) {
		t.Errorf("%d doubts, %d are listed, want %d", got, len(list), n)
	}
	m.Settle(Hash{7}) // which is none of them
	for _, d := range want {
		m.Settle(d.Hash)
	}
	if list, got := m.Doubts(); got != 0 || len(list) != 0 {
		t.Errorf("all are settled: %d, %v", got, list)
	}
	var none *Members
	none.Settle(Hash{})
	if list, n := none.Doubts(); n != 0 || len(list) != 0 {
		t.Error(list, n)
	}
}

func FuzzList(f *testing.F) {
	f.Add([]byte(sampleList))
	f.Fuzz(func(t *testing.T, b []byte) {
		var l List
		if l.Read(bytes.NewReader(b), "x") != nil {
			return
		}
		var again List
		text := strings.Join(hashes(&l), "\n")
		if err := again.Read(strings.NewReader(text), "x"); err != nil || !slices.Equal(hashes(&again), hashes(&l)) {
			t.Errorf("%q becomes %q: %v", text, hashes(&again), err)
		}
	})
}

// The digest of a closure depends on its paths alone, however they were found.
func TestDigest(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	for range 20 {
		paths := make([]Hash, r.IntN(300))
		for i := range paths {
			paths[i] = mustParse(t, randomHash(r))
		}
		m := NewMembers()
		for _, h := range paths {
			if r.IntN(3) == 0 {
				m.Doubt(h, "x")
			}
			m.add(h)
		}
		_ = m.Require([]string{hash1 + "-x"}) // which was not found
		order := fmt.Sprint(m.found)
		n, got := m.Digest()
		var all []byte
		slices.SortFunc(paths, func(a, b Hash) int { return strings.Compare(a.String(), b.String()) })
		for _, h := range paths {
			all = append(all, h[:]...)
		}
		if n != len(paths) || got != sha256.Sum256(all) || fmt.Sprint(m.found) != order {
			t.Errorf("%d paths: got %d, %x", len(paths), n, got)
		}
	}
}
