package nar_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"narseal/nar"
	"narseal/nar/nartest"
)

// edit copies an archive from r to w with random changes: to bytes of contents, targets and names, with contents that
// are withheld and written differently, and with deferred entries. The changes are the same with a passthrough and
// without.
func edit(w *nar.Writer, r *nar.Reader, rnd *rand.Rand) error {
	for {
		e, err := r.Next()
		if err == io.EOF {
			return w.Close()
		}
		if err != nil {
			return err
		}
		if len(e.Target) > 0 && rnd.IntN(3) == 0 {
			e.Target[0] = 'T'
		}
		switch n := len(e.Name); {
		case n > 0 && rnd.IntN(8) == 0:
			// After its siblings, most of the time.
			e.Name[n-1] = '~'
			err = w.WriteEntryDeferred(e, new(bytes.Buffer))
		default:
			err = w.WriteEntry(e)
		}
		if err != nil {
			return err
		}
		if e.Type != nar.TypeRegular {
			continue
		}
		if err := editContents(w, r, rnd); err != nil {
			return err
		}
	}
}

func editContents(w *nar.Writer, r *nar.Reader, rnd *rand.Rand) error {
	withhold, chunk, stride := rnd.IntN(3) == 0, 1+rnd.IntN(100_000), 1+rnd.IntN(50)
	at := 0
	// change does the same however the contents are split.
	change := func(b []byte) {
		for i := range b {
			if at%stride == 0 {
				b[i]++
			}
			at++
		}
	}
	if !withhold {
		for r.Remaining() > 0 {
			b, err := r.Peek(min(chunk, 100))
			if err != nil && err != io.EOF {
				return err
			}
			b = b[:min(len(b), chunk)]
			change(b)
			if _, err := w.Write(b); err != nil {
				return err
			}
			r.Discard(len(b))
		}
		return nil
	}
	if err := w.Withhold(); err != nil {
		return err
	}
	var all []byte
	buf := make([]byte, chunk)
	for early := stride; ; {
		n, err := r.Read(buf)
		change(buf[:n])
		if all = append(all, buf[:n]...); len(all) > early {
			if _, err := w.Write(all); err != nil {
				return err
			}
			all = all[:0]
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if _, err := w.Write(all); err != nil {
		return err
	}
	return w.Resume()
}

// A passthrough writes what the Writer would encode, whatever the reads and the buffer's size.
func TestPassThrough(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	run := func(data []byte, seed uint64, wrap func(io.Reader) io.Reader, size int, passThrough bool) ([]byte, error) {
		var out bytes.Buffer
		w := nar.NewWriterSize(&out, size)
		r := nar.NewReaderSize(wrap(bytes.NewReader(data)), size)
		if passThrough {
			w.PassThrough(r)
		}
		err := edit(w, r, rand.New(rand.NewPCG(seed, 0)))
		if err == nil && w.Offset() != int64(out.Len()) {
			t.Errorf("offset %d of %d", w.Offset(), out.Len())
		}
		return out.Bytes(), err
	}
	whole := func(r io.Reader) io.Reader { return r }
	check := func(t *testing.T, data []byte) {
		seed := rnd.Uint64()
		want, wantErr := run(data, seed, whole, smallBuffer, false)
		for _, size := range []int{smallBuffer, 256 << 10} {
			for _, wrap := range []func(io.Reader) io.Reader{whole, iotest.HalfReader, iotest.DataErrReader, iotest.OneByteReader} {
				got, err := run(data, seed, wrap, size, true)
				if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
					t.Fatalf("size %d: error %v, want %v\ngot  %.1000q\nwant %.1000q", size, err, wantErr, got, want)
				}
				if err != nil {
					if err.Error() != wantErr.Error() {
						t.Fatalf("size %d: error %q, want %q", size, err, wantErr)
					}
					if _, ok := decode(got); ok {
						t.Fatal("what was written is a complete archive")
					}
				}
			}
		}
	}
	each(t, func(t *testing.T, root nartest.Node, data []byte) {
		for range 20 {
			check(t, data)
		}
	})
	for range 300 {
		check(t, nartest.Tree(randomTree(rnd, 4)))
	}
	check(t, nartest.Tree(nartest.Dir{"a": nartest.File(pattern(300 << 10)), "b": nartest.Exec(pattern(700 << 10)), "c": nartest.File(pattern(70 << 10))}))
}

// A failure of the output is the Writer's error even if the Reader runs into it, and leaves no complete archive.
func TestPassThroughOutputFails(t *testing.T) {
	full := errors.New("disk full")
	data := nartest.Tree(nartest.Dir{"a": nartest.File(pattern(300 << 10)), "b": nartest.Exec("x"), "c": nartest.File(pattern(70 << 10))})
	for _, limit := range []int{0, 1, 1000, 128 << 10, 256<<10 - 1, 256 << 10, 300 << 10, len(data) - 1} {
		out := &limited{left: limit, err: full}
		r, w := nar.NewReader(bytes.NewReader(data)), nar.NewWriter(out)
		w.PassThrough(r)
		err := pass(r, w)
		if !errors.Is(err, full) || !strings.HasPrefix(err.Error(), "nar: write: offset ") {
			t.Errorf("output of %d bytes: %v", limit, err)
		}
		if again := w.Close(); again == nil {
			t.Errorf("output of %d bytes: Close gives no error", limit)
		}
		if !bytes.Equal(out.got, data[:limit]) {
			t.Errorf("output of %d bytes: got other bytes", limit)
		}
	}
}

// An archive that is truncated, malformed or followed by more bytes is not passed on as a complete one. As much of it
// is passed on as a Writer would write.
func TestPassThroughKeepsTheEnd(t *testing.T) {
	check := func(data, in []byte) {
		t.Helper()
		for _, wrap := range []func(io.Reader) io.Reader{iotest.OneByteReader, func(r io.Reader) io.Reader { return r }} {
			var out bytes.Buffer
			r, w := nar.NewReaderSize(wrap(bytes.NewReader(in)), smallBuffer), nar.NewWriterSize(&out, smallBuffer)
			w.PassThrough(r)
			var bad *nar.FormatError
			if err := pass(r, w); !errors.As(err, &bad) || bad.Op != "read" {
				t.Fatalf("%d bytes of %d: %v", len(in), len(data), err)
			}
			if err := w.Close(); err == nil {
				t.Fatalf("%d bytes of %d: Close gives no error", len(in), len(data))
			}
			if _, ok := decode(out.Bytes()); ok || !bytes.HasPrefix(data, out.Bytes()) {
				t.Fatalf("%d bytes of %d: %q came out", len(in), len(data), &out)
			}
		}
	}
	for _, root := range []nartest.Node{
		nartest.File("x"), nartest.Symlink("x"), nartest.Dir{}, nartest.Dir{"a": nartest.Dir{"b": nartest.File(pattern(smallBuffer))}},
	} {
		data := nartest.Tree(root)
		for n := range data {
			check(data, data[:n])
		}
	}
	// Let the end fall anywhere in the buffer.
	for size := 0; size < 2*smallBuffer; size += 8 {
		data := nartest.Tree(nartest.File(pattern(size)))
		check(data, append(bytes.Clone(data), 'x'))
	}
}

// A Writer with a passthrough refuses calls that do not match what is read.
func TestPassThroughRefuses(t *testing.T) {
	data := nartest.Tree(nartest.Dir{"a": nartest.File("abc"), "b": nartest.File("")})
	for name, use := range map[string]func(w *nar.Writer, r *nar.Reader) error{
		"closed early":  func(w *nar.Writer, r *nar.Reader) error { return w.Close() },
		"contents left": func(w *nar.Writer, r *nar.Reader) error { return errors.Join(next(w, r), next(w, r), next(w, r)) },
		"contents too long": func(w *nar.Writer, r *nar.Reader) error {
			_, err := w.Write([]byte("abcd"))
			return errors.Join(next(w, r), err)
		},
		"other contents": func(w *nar.Writer, r *nar.Reader) error {
			_, err := w.Write([]byte("abc"))
			return errors.Join(next(w, r), next(w, r), err)
		},
		"entry left out":    func(w *nar.Writer, r *nar.Reader) error { _, err := r.Next(); return errors.Join(err, next(w, r)) },
		"closed before end": func(w *nar.Writer, r *nar.Reader) error { return errors.Join(w.WriteEntry(dir(0, "")), w.Close()) },
		"names out of order": func(w *nar.Writer, r *nar.Reader) error {
			return errors.Join(next(w, r), w.WriteEntry(file(1, "b", 0)), w.WriteEntry(file(1, "a", 0)))
		},
	} {
		var out bytes.Buffer
		r, w := nar.NewReader(bytes.NewReader(data)), nar.NewWriter(&out)
		w.PassThrough(r)
		err := use(w, r)
		var bad *nar.FormatError
		if !errors.As(err, &bad) || bad.Op != "write" {
			t.Errorf("%s: %v", name, err)
		}
		if again := w.Close(); again == nil || out.Len() > 0 {
			t.Errorf("%s: then Close gives %v, and %q came out", name, again, &out)
		}
	}
}

func next(w *nar.Writer, r *nar.Reader) error {
	e, err := r.Next()
	if err != nil {
		return err
	}
	return w.WriteEntry(e)
}

// The error for an entry out of place has the same offset with a passthrough and without.
func TestPassThroughOffsets(t *testing.T) {
	data := nartest.Tree(nartest.Dir{"a": nartest.File("abc"), "b": nartest.File("")})
	for _, deferred := range []bool{false, true} {
		for _, name := range []string{"a", "/"} {
			var errs []string
			for _, passThrough := range []bool{false, true} {
				r, w := nar.NewReader(bytes.NewReader(data)), nar.NewWriter(io.Discard)
				if passThrough {
					w.PassThrough(r)
				}
				var err error
				for err == nil {
					var e *nar.Entry
					if e, err = r.Next(); err != nil {
						t.Fatal(err)
					}
					write := w.WriteEntry
					if string(e.Name) == "b" {
						copy(e.Name, name)
						if deferred {
							write = func(e *nar.Entry) error { return w.WriteEntryDeferred(e, new(bytes.Buffer)) }
						}
					}
					if err = write(e); err != nil {
						break
					}
					b, _ := r.Peek(3)
					if _, err := w.Write(b); err != nil {
						t.Fatal(err)
					}
					r.Discard(len(b))
				}
				errs = append(errs, err.Error())
			}
			if errs[0] != errs[1] {
				t.Errorf("deferred %t, name %q: encoded: %s; passed: %s", deferred, name, errs[0], errs[1])
			}
		}
	}
}
