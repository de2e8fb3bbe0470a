package nar_test

import (
	"bytes"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	nixnar "github.com/nix-community/go-nix/pkg/nar"

	"narseal/nar"
	"narseal/nar/nartest"
)

// seeds returns the files of testdata that match, and fails if there are none.
func seeds(f *testing.F, pattern string) [][]byte {
	f.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(paths) == 0 {
		f.Fatalf("no seeds %s in testdata: %v", pattern, err)
	}
	var all [][]byte
	for _, p := range paths {
		all = append(all, fixture(f, filepath.Base(p)))
	}
	return all
}

// Reader accepts exactly the archives of the grammar, however the bytes arrive, and Writer writes the same bytes.
func FuzzReader(f *testing.F) {
	for _, s := range seeds(f, "*.nar") {
		f.Add(s)
	}
	for _, v := range violations {
		f.Add([]byte(v.good + v.bad))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var out bytes.Buffer
		err := rewriteSmall(&out, bytes.NewReader(data))
		if _, ok := decode(data); (err == nil) != ok {
			t.Fatalf("%v, the oracle says %t", err, ok)
		}
		if err == nil && !bytes.Equal(out.Bytes(), data) {
			t.Fatal("the archive changed")
		}
		if !bytes.HasPrefix(data, out.Bytes()) {
			t.Fatal("what was written is not what was read")
		}
		// What is passed through is what would be encoded, up to an error.
		var passed bytes.Buffer
		w, rr := nar.NewWriterSize(&passed, smallBuffer), nar.NewReaderSize(bytes.NewReader(data), smallBuffer)
		w.PassThrough(rr)
		if perr := pass(rr, w); (perr == nil) != (err == nil) || err != nil && perr.Error() != err.Error() {
			t.Fatalf("passed: %v, encoded: %v", perr, err)
		}
		if _, ok := decode(passed.Bytes()); ok != (err == nil) || !bytes.HasPrefix(data, passed.Bytes()) {
			t.Fatalf("passed: %q", &passed)
		}
		// Again in small pieces, and with the contents skipped.
		r := nar.NewReaderSize(iotest.HalfReader(bytes.NewReader(data)), smallBuffer)
		var again error
		for again == nil {
			_, again = r.Next()
		}
		if again == io.EOF {
			again = nil
		}
		if (again == nil) != (err == nil) || err != nil && again.Error() != err.Error() {
			t.Fatalf("in pieces: %v, at once: %v", again, err)
		}
	})
}

var nodeTypes = []nixnar.NodeType{nixnar.TypeRegular, nixnar.TypeDirectory, nixnar.TypeSymlink, "", "fifo"}

// encodeCalls and decodeCalls convert calls of a Writer to bytes and back, so that the fuzzer can invent any.
func encodeCalls(calls []call) []byte {
	var b []byte
	str := func(s string) { b = append(append(b, byte(len(s))), s...) }
	entry := func(typ nixnar.NodeType, exec bool, size int64, target string) {
		for i, t := range nodeTypes {
			if t == typ {
				b = append(b, byte(i))
			}
		}
		x := byte(0)
		if exec {
			x = 1
		}
		b = append(b, x, byte(size))
		str(target)
	}
	for _, c := range calls {
		switch c := c.(type) {
		case *nar.Entry:
			b = append(b, 0, byte(c.Depth))
			str(string(c.Name))
			entry(c.Type, c.Executable, c.Size, string(c.Target))
		case deferredCall:
			b = append(b, 4, byte(c.Depth))
			str(string(c.Name))
			entry(c.Type, c.Executable, c.Size, string(c.Target))
		case *nixnar.Header:
			b = append(b, 1)
			str(c.Path)
			entry(c.Type, c.Executable, c.Size, c.LinkTarget)
		case string:
			b = append(b, 2)
			str(c)
		case closeCall:
			b = append(b, 3)
		}
	}
	return b
}

func decodeCalls(b []byte) []call {
	num := func() byte {
		if len(b) == 0 {
			return 0
		}
		n := b[0]
		b = b[1:]
		return n
	}
	str := func() string {
		n := min(int(num()), len(b))
		s := string(b[:n])
		b = b[n:]
		return s
	}
	entry := func() (nixnar.NodeType, bool, int64, string) {
		return nodeTypes[int(num())%len(nodeTypes)], num()%2 == 1, int64(int8(num())), str()
	}
	var calls []call
	for len(b) > 0 {
		switch op := num() % 5; op {
		case 0, 4:
			e := &nar.Entry{Depth: int(int8(num())), Name: []byte(str())}
			var target string
			e.Type, e.Executable, e.Size, target = entry()
			e.Target = []byte(target)
			if op == 4 {
				calls = append(calls, deferredCall{e})
			} else {
				calls = append(calls, e)
			}
		case 1:
			h := &nixnar.Header{Path: str()}
			h.Type, h.Executable, h.Size, h.LinkTarget = entry()
			calls = append(calls, h)
		case 2:
			calls = append(calls, str())
		case 3:
			calls = append(calls, closeCall{})
		}
	}
	return calls
}

// callsOf returns the calls that write an archive, with entries or with headers.
func callsOf(t testing.TB, data []byte, headers bool) []call {
	r := nar.NewReader(bytes.NewReader(data))
	var calls []call
	for {
		e, err := r.Next()
		if err == io.EOF {
			return append(calls, closeCall{})
		} else if err != nil {
			t.Fatal(err)
		}
		if headers {
			calls = append(calls, r.Header())
		} else {
			c := *e
			c.Name, c.Target = bytes.Clone(c.Name), bytes.Clone(c.Target)
			calls = append(calls, &c)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 0 {
			calls = append(calls, string(b[:len(b)/2]), string(b[len(b)/2:]))
		}
	}
}

// Whatever the calls, a Writer whose Close succeeds has written an archive, and any other has not.
func FuzzWriter(f *testing.F) {
	for _, s := range seeds(f, "*.nar") {
		for _, headers := range []bool{false, true} {
			f.Add(encodeCalls(callsOf(f, s, headers)))
		}
		// The same with every other entry deferred.
		calls := callsOf(f, s, false)
		for i, c := range calls {
			if e, ok := c.(*nar.Entry); ok && i%2 == 1 {
				calls[i] = deferredCall{e}
			}
		}
		f.Add(encodeCalls(calls))
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		var out bytes.Buffer
		w := nar.NewWriterSize(&out, smallBuffer)
		var failed error
		done := false
		for _, c := range decodeCalls(program) {
			err := do(w, c)
			if failed != nil && err != failed {
				t.Fatalf("%T gives %v after %v", c, err, failed)
			}
			failed = err
			if _, isClose := c.(closeCall); isClose && err == nil {
				done = true
			}
		}
		root, ok := decode(out.Bytes())
		if ok != done {
			t.Fatalf("closed: %t, the oracle says %t of %q", done, ok, out.Bytes())
		}
		if !done {
			return
		}
		var again bytes.Buffer
		if err := rewriteSmall(&again, bytes.NewReader(out.Bytes())); err != nil || !bytes.Equal(again.Bytes(), out.Bytes()) {
			t.Fatalf("reading it back: %v, or another archive", err)
		}
		list := items(root)
		for _, it := range list {
			if strings.HasSuffix(it.Path, "/)") {
				return // go-nix drops what follows
			}
		}
		if theirs, err := goNixRead(out.Bytes()); err != nil || len(theirs) != len(list) {
			t.Fatalf("go-nix reads %d of %d entries, %v", len(theirs), len(list), err)
		}
	})
}

// ExportReader accepts exactly the streams of the grammar, and ExportWriter writes the same bytes.
func FuzzExport(f *testing.F) {
	for _, s := range seeds(f, "*.export") {
		f.Add(s)
	}
	for _, e := range exports {
		f.Add(exportStream(e.paths))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var out bytes.Buffer
		err := copyExport(&out, bytes.NewReader(data), true)
		if _, ok := decodeExport(data); (err == nil) != ok {
			t.Fatalf("%v, the oracle says %t", err, ok)
		}
		if err == nil && !bytes.Equal(out.Bytes(), data) {
			t.Fatal("the stream changed")
		}
		if err == nil && nar.Sniff(data[:min(len(data), 16)]) != nar.FormatExport {
			t.Fatal("Sniff does not recognise an export stream")
		}
	})
}

// decodeCalls is the inverse of encodeCalls. Without this the seeds would be worth nothing.
func TestCalls(t *testing.T) {
	data := nartest.Tree(nartest.Dir{"a": nartest.Exec("abc"), "d": nartest.Dir{"l": nartest.Symlink("../a")}})
	for _, headers := range []bool{false, true} {
		var out bytes.Buffer
		w := nar.NewWriter(&out)
		for _, c := range decodeCalls(encodeCalls(callsOf(t, data, headers))) {
			if err := do(w, c); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(out.Bytes(), data) {
			t.Errorf("got  %q\nwant %q", out.Bytes(), data)
		}
	}
}
