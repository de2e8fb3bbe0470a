package nar_test

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	nixnar "github.com/nix-community/go-nix/pkg/nar"

	"narseal/nar"
	"narseal/nar/nartest"
)

// goNixRead reads an archive to its end with go-nix's Reader. It does not close the Reader, as that would leave its
// goroutine running.
func goNixRead(data []byte) ([]item, error) {
	r, err := nixnar.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	var list []item
	for {
		h, err := r.Next()
		if err == io.EOF {
			return list, nil
		} else if err != nil {
			return list, err
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return list, err
		}
		list = append(list, item{*h, string(b)})
	}
}

// hangs reports whether f still runs after much more time than it needs. Its goroutine then stays, blocked on a
// channel.
func hangs(f func(), limit time.Duration) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
		return false
	case <-time.After(limit):
		return true
	}
}

// goNixCannot has the names of the archives that go-nix does not read or write, see TestGoNixDefects.
var goNixCannot = map[string]bool{"names like tokens": true, "names with dots": true, "very deep": true}

func TestReaderAsGoNix(t *testing.T) {
	for _, a := range archives {
		if goNixCannot[a.name] {
			continue
		}
		data := nartest.Tree(a.root)
		theirs, err := goNixRead(data)
		if err != nil {
			t.Fatalf("%s: go-nix: %v", a.name, err)
		}
		ours, err := readAll(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%s: %v", a.name, err)
		}
		if fmt.Sprint(ours) != fmt.Sprint(theirs) {
			t.Errorf("%s:\nours   %.1000v\ntheirs %.1000v", a.name, ours, theirs)
		}
	}
}

func TestWriterAsGoNix(t *testing.T) {
	for _, a := range archives {
		if goNixCannot[a.name] {
			continue
		}
		var ours, theirs bytes.Buffer
		w := nar.NewWriter(&ours)
		g, err := nixnar.NewWriter(&theirs)
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range items(a.root) {
			for _, w := range []interface {
				WriteHeader(*nixnar.Header) error
				io.Writer
			}{w, g} {
				if err := w.WriteHeader(&it.Header); err != nil {
					t.Fatalf("%s: %T: %v", a.name, w, err)
				}
				if _, err := io.WriteString(w, it.contents); err != nil {
					t.Fatalf("%s: %T: %v", a.name, w, err)
				}
			}
		}
		for _, c := range []io.Closer{w, g} {
			if err := c.Close(); err != nil {
				t.Fatalf("%s: %T: %v", a.name, c, err)
			}
		}
		if !bytes.Equal(ours.Bytes(), theirs.Bytes()) {
			t.Errorf("%s:\nours   %.1000q\ntheirs %.1000q", a.name, ours.Bytes(), theirs.Bytes())
		}
	}
}

// TestGoNixDefects pins the reasons why this package does not use go-nix's Reader and Writer. A subtest fails when
// go-nix has changed: check whether its Reader or Writer can be used then, and remove the defect.
func TestGoNixDefects(t *testing.T) {
	one := nartest.File("1")
	// accepts fails unless go-nix reads data to a clean end, with this many entries. This package refuses data.
	accepts := func(data string, entries int) func(*testing.T) {
		return func(t *testing.T) {
			if _, err := readAll(strings.NewReader(data)); err == nil {
				t.Fatal("this package takes it too")
			}
			if list, err := goNixRead([]byte(data)); err != nil || len(list) != entries {
				t.Errorf("fixed? go-nix reads %d entries, %v", len(list), err)
			}
		}
	}
	twice := func(name string) string {
		return string(nartest.Tree(nartest.Entries{{Name: name, Node: one}, {Name: name, Node: one}}))
	}
	named := func(name string) string { return string(nartest.Tree(nartest.Entries{{Name: name, Node: one}})) }
	file := string(nartest.Tree(one))

	t.Run("reader ends a truncated archive cleanly", func(t *testing.T) {
		data := nartest.Tree(nartest.Dir{"a": one, "b": nartest.Exec("2"), "c": nartest.Symlink("a")})
		clean := 0
		for cut := range data {
			if _, err := goNixRead(data[:cut]); err == nil {
				clean++
			}
		}
		if clean == 0 {
			t.Error("fixed? go-nix refuses every cut")
		}
	})
	t.Run("reader drops what follows an entry named )", func(t *testing.T) {
		data := nartest.Tree(nartest.Dir{")": nartest.Dir{}, "a": one, "b": one})
		if ours, err := readAll(bytes.NewReader(data)); err != nil || len(ours) != 4 {
			t.Fatalf("this package reads %d entries, %v", len(ours), err)
		}
		if list, err := goNixRead(data); err != nil || len(list) != 2 {
			t.Errorf("fixed? go-nix reads %d entries, %v", len(list), err)
		}
	})
	t.Run("reader skips unknown tokens in a directory", accepts(afterA+str("what", "is", "this", ")"), 2))
	t.Run("reader takes a name twice", accepts(twice("a"), 3))
	t.Run("reader takes the name ..", accepts(named(".."), 2))
	t.Run("reader takes the name .", accepts(named("."), 2))
	t.Run("reader takes an empty name", accepts(named(""), 2))
	t.Run("reader takes an empty target", accepts(string(nartest.Tree(nartest.Symlink(""))), 1))
	t.Run("reader takes a target with NUL", accepts(string(nartest.Tree(nartest.Symlink("a\x00b"))), 1))
	t.Run("reader ignores what follows the archive", accepts(file+"more", 1))
	t.Run("reader takes wrong padding after a token", accepts(strings.Replace(file, str("type"), u64(4)+"typexxxx", 1), 1))

	t.Run("reader that is closed leaves its goroutine", func(t *testing.T) {
		running := func() int {
			stacks := make([]byte, 1<<20)
			return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("go-nix/pkg/nar.NewReader.func1("))
		}
		const readers = 10
		for range readers {
			r, err := nixnar.NewReader(bytes.NewReader(nartest.Tree(nartest.Dir{"a": one})))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
		for deadline := time.Now().Add(300 * time.Millisecond); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if running() < readers {
				t.Error("fixed? the goroutines have ended")
				return
			}
		}
	})
	t.Run("reader that is closed twice panics", func(t *testing.T) {
		r, err := nixnar.NewReader(strings.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if recover() == nil {
				t.Error("fixed? it does not")
			}
		}()
		_ = r.Close()
		_ = r.Close()
	})

	// write passes headers of directories to go-nix's Writer and closes it.
	write := func(paths ...string) (out []byte, header, closed error) {
		var b bytes.Buffer
		w, err := nixnar.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			if header = w.WriteHeader(&nixnar.Header{Path: p, Type: nixnar.TypeDirectory}); header != nil {
				break
			}
		}
		return b.Bytes(), header, w.Close()
	}
	t.Run("writer refuses a name that starts with .. and closes cleanly", func(t *testing.T) {
		out, header, closed := write("/", "/..data")
		if header == nil || closed != nil {
			t.Errorf("fixed? header: %v, close: %v", header, closed)
		}
		if _, ok := decode(out); ok && header == nil {
			t.Error("fixed? it writes an archive")
		}
	})
	t.Run("writer blocks for ever after an error", func(t *testing.T) {
		w, err := nixnar.NewWriter(io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		h := &nixnar.Header{Path: "/not-the-root", Type: nixnar.TypeDirectory}
		if err := w.WriteHeader(h); err == nil {
			t.Fatal("it takes any root")
		}
		if !hangs(func() {
			_ = w.WriteHeader(h) // nil from a closed channel
			_ = w.WriteHeader(h)
		}, 300*time.Millisecond) {
			t.Error("fixed? it does not")
		}
	})
	for name, paths := range map[string][]string{
		"writer takes a directory twice":    {"/", "/a", "/a"},
		"writer takes the name .":           {"/", "/."},
		"writer takes a root twice":         {"/", "/"},
		"writer takes a name over NAME_MAX": {"/", "/" + strings.Repeat("n", 256)},
	} {
		t.Run(name, func(t *testing.T) {
			out, header, closed := write(paths...)
			if header != nil || closed != nil {
				t.Errorf("fixed? header: %v, close: %v", header, closed)
			}
			if _, ok := decode(out); ok {
				t.Error("fixed? what it writes is an archive")
			}
		})
	}
}
