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

// edit passes an archive from r to w with changes that rnd makes: bytes of
// contents, targets and names, contents that are withheld and written in
// another way, and entries that are deferred. It makes the same ones whether w
// relays or not.
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
			// Behind its siblings, most of the time.
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
	// change is the same wherever the contents are cut.
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

// What a Writer relays is what it would encode, whatever the reads and the
// buffer's size.
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

// An output that fails makes the Writer's own error, though a Reader meets it,
// and not an archive that is complete.
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

// An archive that is cut, or at fault, or followed by more, is not passed on as
// a complete one, and comes as far as a Writer would have it.
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
	// Wherever the end falls in the buffer.
	for size := 0; size < 2*smallBuffer; size += 8 {
		data := nartest.Tree(nartest.File(pattern(size)))
		check(data, append(bytes.Clone(data), 'x'))
	}
}

// A Writer that relays refuses calls that do not fit what is read.
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

// An entry that does not fit is told of with the same offset, passed or not.
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
