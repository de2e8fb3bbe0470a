package filter_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"narseal/filter"
	"narseal/filter/rules"
	"narseal/filter/spill"
	"narseal/macho"
	"narseal/macho/machotest"
	"narseal/nar"
	"narseal/nar/nartest"
)

// memFile is a spill file in memory; spillFiles counts those that are
// open. The failAt-th call of all its methods fails.
type memFile struct {
	data  []byte
	owner *spillFiles
}

type spillFiles struct {
	mu            sync.Mutex // a spill file is used by several goroutines
	made, open    int
	calls, failAt int
}

var errSpill = errors.New("spill file: no space left, or the disk is broken")

func (s *spillFiles) fail() bool {
	s.calls++
	return s.calls == s.failAt
}

func (s *spillFiles) new() (spill.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail() {
		return nil, errSpill
	}
	s.made++
	s.open++
	return &memFile{owner: s}, nil
}

func (m *memFile) ReadAt(p []byte, off int64) (int, error) {
	m.owner.mu.Lock()
	defer m.owner.mu.Unlock()
	if m.owner.fail() {
		return 0, errSpill
	}
	return bytes.NewReader(m.data).ReadAt(p, off)
}

func (m *memFile) WriteAt(p []byte, off int64) (int, error) {
	m.owner.mu.Lock()
	defer m.owner.mu.Unlock()
	if m.owner.fail() {
		return 0, errSpill
	}
	if end := int(off) + len(p); end > len(m.data) {
		m.data = append(m.data, make([]byte, end-len(m.data))...)
	}
	return copy(m.data[off:], p), nil
}

func (m *memFile) Close() error {
	m.owner.mu.Lock()
	defer m.owner.mu.Unlock()
	m.owner.open--
	return nil
}

// replacer is the naive oracle of the rules: the standard library's, which
// knows nothing of hashes, over whole buffers. Rules must not share a From's
// beginning, as it takes the first that fits and not the longest.
func replacer(rules ...rules.Rule) *strings.Replacer {
	var pairs []string
	for _, r := range rules {
		pairs = append(pairs, r.From, r.To)
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			pairs = append(pairs, utf16Text(r.From, order), utf16Text(r.To, order), utf32Text(r.From, order), utf32Text(r.To, order))
		}
	}
	return strings.NewReplacer(pairs...)
}

func utf16Text(s string, order binary.AppendByteOrder) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}

func utf32Text(s string, order binary.AppendByteOrder) string {
	var b []byte
	for _, c := range s {
		b = order.AppendUint32(b, uint32(c))
	}
	return string(b)
}

// twin is a tree, and what it must become. It counts what a run must count.
type twin struct {
	in, out           nartest.Node
	regular, dir, sym int64
	changed           []string
	signed            int64 // slices that change
	refused           int64 // slices that the kernel refuses
}

// forest makes random trees for the rule that replaces from by to.
type forest struct {
	rng      *rand.Rand
	from, to string
	naive    *strings.Replacer
	in, out  []machotest.Case // images that differ in the hash, by number
}

func newForest(seed uint64, from, to string) *forest {
	f := &forest{rng: rand.New(rand.NewPCG(seed, 7)), from: from, to: to, naive: replacer(rules.Rule{From: from, To: to})}
	f.in, f.out = machotest.Matrix(from), machotest.Matrix(to)
	return f
}

// text is random and holds from now and then, in some encoding, at its very
// start or end too.
func (f *forest) text(size int) string {
	var b strings.Builder
	le, be := binary.AppendByteOrder(binary.LittleEndian), binary.AppendByteOrder(binary.BigEndian)
	for b.Len() < size {
		switch f.rng.IntN(8) {
		case 0:
			b.WriteString(f.from)
		case 1:
			b.WriteString(f.from[:f.rng.IntN(32)])
		case 2:
			b.WriteString([]string{utf16Text(f.from, le), utf16Text(f.from, be), utf32Text(f.from, le), utf32Text(f.from, be)}[f.rng.IntN(4)])
		default:
			// Bytes that no hash of the tests has, of a length up to one
			// that leaves the hash across a buffer's end.
			for range f.rng.IntN(min(size, 3000) + 1) {
				b.WriteByte([]byte("\x00\xff/- .xyz")[f.rng.IntN(9)])
			}
		}
	}
	return b.String()
}

func (f *forest) node(t *twin, path string, depth int) (in, out nartest.Node) {
	kind := f.rng.IntN(10)
	switch {
	case depth > 0 && (depth == 3 || kind < 3):
		t.dir++
		a, b := nartest.Dir{}, nartest.Dir{}
		for i := range f.rng.IntN(6) {
			name := fmt.Sprintf("%c%d", 'a'+rune(f.rng.IntN(26)), i)
			renamed := name
			if f.rng.IntN(4) == 0 {
				// One letter in front, so that the order stays.
				name, renamed = name+f.from, name+f.to
			}
			child := strings.TrimSuffix(path, "/") + "/" + name
			a[name], b[renamed] = f.node(t, child, depth-1)
			t.note(child, name != renamed)
		}
		return a, b
	case kind < 5:
		t.sym++
		target := "../" + f.text(f.rng.IntN(60))
		target = strings.ReplaceAll(target[:min(len(target), nar.MaxTarget)], "\x00", "_")
		after := f.naive.Replace(target)
		t.note(path, target != after)
		return nartest.Symlink(target), nartest.Symlink(after)
	case kind < 8:
		t.regular++
		i := f.rng.IntN(len(f.in))
		if f.in[i].CMS {
			i = 0
		}
		a, b := f.in[i].Data, f.out[i].Data
		t.note(path, !bytes.Equal(a, b))
		if f.in[i].Refused == "" {
			t.signed += int64(len(f.in[i].Layouts))
		} else {
			t.refused += int64(len(f.in[i].Layouts))
		}
		return nartest.Exec(a), nartest.Exec(b)
	default:
		t.regular++
		size := []int{0, 1, 31, 32, 33, 5000, 262144 - 40, 300_000}[f.rng.IntN(8)]
		text := f.text(size)
		after := f.naive.Replace(text)
		t.note(path, text != after)
		return nartest.File(text), nartest.File(after)
	}
}

func (t *twin) note(path string, changed bool) {
	if changed && !slices.Contains(t.changed, path) {
		t.changed = append(t.changed, path)
	}
}

// archiveOrder sorts paths as an archive lists them.
func archiveOrder(paths []string) []string {
	return slices.SortedFunc(slices.Values(paths), func(a, b string) int {
		return strings.Compare(strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00"))
	})
}

// Random trees with images of every form of signature against the naive
// oracle: whatever the reads and the memory for images, the same bytes.
func TestRunAgainstOracle(t *testing.T) {
	rounds := uint64(28)
	if testing.Short() {
		rounds = 12
	}
	rule := rules.Rule{From: hashOf('c'), To: hashOf('d')}
	forest := newForest(1, rule.From, rule.To)
	for round := range rounds {
		var tw twin
		tw.in, tw.out = forest.node(&tw, "/", int(round%4))
		in, want := nartest.Tree(tw.in), nartest.Tree(tw.out)
		for name, read := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r },
			"half":  iotest.HalfReader,
			"late":  iotest.DataErrReader,
			"one": func(r io.Reader) io.Reader {
				if len(in) > 200_000 {
					return r
				}
				return iotest.OneByteReader(r)
			},
		} {
			hold := []int64{1, 100, 5000, 20_000, 1 << 20}[forest.rng.IntN(5)]
			var all spillFiles
			var changed []string
			var statuses int64
			c := filter.Config{
				Rules:      compile(t, rule),
				Signatures: filter.SignatureOptions{Repair: filter.RepairMode(forest.rng.IntN(2))},
				Spill:      spill.Options{Memory: hold, Open: all.new},
				Observer: filter.Observer{Changed: func(c filter.Change) { changed = append(changed, c.Path.String()) }, Signature: func(s filter.Signature) {
					switch s.Status {
					case macho.StatusRepaired:
						statuses++
					case macho.StatusUnsigned: // beside signed ones
					case macho.StatusRefused: // of forms that no kernel accepts
					default:
						t.Errorf("round %d, %s: %s", round, s.Path, s.Status)
					}
				}},
			}
			var out bytes.Buffer
			res, err := c.Run(nar.NewWriter(&out), nar.NewReader(read(bytes.NewReader(in))))
			if err != nil {
				t.Fatalf("round %d, %s reads, hold %d: %v", round, name, hold, err)
			}
			if !bytes.Equal(out.Bytes(), want) {
				t.Fatalf("round %d, %s reads, hold %d: the output differs from the oracle's", round, name, hold)
			}
			if res.Regular != tw.regular || res.Directory != tw.dir || res.Symlink != tw.sym {
				t.Errorf("round %d: counted %d, %d, %d entries, want %d, %d, %d", round,
					res.Regular, res.Directory, res.Symlink, tw.regular, tw.dir, tw.sym)
			}
			if res.Repaired != tw.signed || statuses != tw.signed || res.Invalid != tw.refused {
				t.Errorf("round %d: %d repaired, %d reported, %d invalid, want %d repaired", round, res.Repaired, statuses, res.Invalid, tw.signed)
			}
			if want := archiveOrder(tw.changed); !slices.Equal(changed, want) {
				t.Errorf("round %d: changed %v, want %v", round, changed, want)
			}
			if all.open != 0 || hold == 1 && tw.signed+tw.refused > 0 && all.made == 0 {
				t.Errorf("round %d, hold %d: %d spill files made, %d left open", round, hold, all.made, all.open)
			}
		}
	}
}
