package nar_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	nixnar "github.com/nix-community/go-nix/pkg/nar"

	"narseal/nar"
	"narseal/nar/nartest"
)

// archives are the well-formed archives of most tests. nartest, which shares no code with this package, encodes them.
var archives = []struct {
	name string
	root nartest.Node
}{
	{"empty file", nartest.File("")},
	{"file of 1 byte", nartest.File("x")},
	{"file of 7 bytes", nartest.File("seven b")},
	{"file of 8 bytes", nartest.File("eight by")},
	{"file of 9 bytes", nartest.File("nine byte")},
	{"zeros", nartest.File(make([]byte, 100))},
	{"executable", nartest.Exec("#!/bin/sh\n")},
	{"empty executable", nartest.Exec("")},
	{"symlink", nartest.Symlink("/nix/store")},
	{"symlink of 8 bytes", nartest.Symlink("../../..")},
	{"longest target", nartest.Symlink(strings.Repeat("t", nar.MaxTarget))},
	{"empty directory", nartest.Dir{}},
	{"one entry", nartest.Dir{"a": nartest.File("1")}},
	{"tree", nartest.Dir{
		"bin": nartest.Dir{
			"hello": nartest.Exec("#!/bin/sh\necho hello\n"),
			"hi":    nartest.Symlink("hello"),
		},
		"empty": nartest.Dir{},
		"lib":   nartest.Dir{"a": nartest.Dir{"b": nartest.Dir{"c": nartest.Dir{}}}},
		"share": nartest.Dir{"doc": nartest.File("words"), "nothing": nartest.File("")},
		"to":    nartest.Symlink("lib/a/b"),
	}},
	// Sorted by name, not by path: "/" sorts after "-" and ".".
	{"names that sort around a slash", nartest.Dir{
		"a":   nartest.Dir{"z": nartest.File("1")},
		"a-b": nartest.File("2"),
		"a.b": nartest.Dir{"z": nartest.File("3")},
		"a0":  nartest.File("4"),
		"aa":  nartest.File("5"),
	}},
	{"names like tokens", nartest.Dir{
		"(": nartest.File("1"), ")": nartest.Dir{")": nartest.Symlink(")")}, "contents": nartest.File(")"),
		"entry": nartest.Dir{}, "name": nartest.File("2"), "node": nartest.Symlink("target"), "type": nartest.Exec("3"),
	}},
	{"names with dots", nartest.Dir{
		"...": nartest.File("1"), "..data": nartest.Dir{"..x": nartest.File("2")}, ".hidden": nartest.File("3"), "x..": nartest.File("4"),
	}},
	{"names of every byte", namesOfEveryByte()},
	{"longest name", nartest.Dir{strings.Repeat("n", nar.MaxName): nartest.File("1")}},
	{"contents like an archive", nartest.File(nartest.Tree(nartest.Dir{"a": nartest.File("b")}))},
	{"deep", nested(40)},
	{"over a small buffer", nartest.Dir{"a": nartest.File(pattern(2*smallBuffer + 3)), "b": nartest.Symlink("a")}},
}

// large is for tests that do not try every byte: contents about as large as the buffers, and more entries than fit into
// them.
var large = []struct {
	name string
	root nartest.Node
}{
	{"file under the buffer", nartest.File(pattern(256<<10 - 120))},
	{"file as long as the buffer", nartest.File(pattern(256 << 10))},
	{"file over the buffer", nartest.File(pattern(256<<10 + 1))},
	{"three buffers", nartest.Exec(pattern(768<<10 + 5))},
	{"files around a direct write", nartest.Dir{
		"a": nartest.File(pattern(64<<10 - 1)), "b": nartest.File(pattern(64 << 10)), "c": nartest.File(pattern(64<<10 + 1)),
	}},
	{"many entries", manyEntries(5000)},
	{"very deep", nested(5000)},
}

func namesOfEveryByte() nartest.Dir {
	var all []byte
	for b := 255; b > 0; b-- {
		if b != '/' {
			all = append(all, byte(b))
		}
	}
	d := nartest.Dir{string(all): nartest.File("all")}
	for _, name := range []string{"\x01", "\n", "\x7f", "\x80", "\xc3", "\xff", "\xff\xff"} {
		d[name] = nartest.Symlink(name)
	}
	return d
}

func nested(levels int) nartest.Node {
	var n nartest.Node = nartest.File("at the bottom")
	for range levels {
		n = nartest.Dir{"d": n}
	}
	return n
}

func manyEntries(n int) nartest.Dir {
	d := nartest.Dir{}
	for i := range n {
		switch name := fmt.Sprintf("%06d", i); i % 3 {
		case 0:
			d[name] = nartest.File(pattern(i % 200))
		case 1:
			d[name] = nartest.Symlink(name)
		default:
			d[name] = nartest.Dir{"x": nartest.Exec(name)}
		}
	}
	return d
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

// each runs f on every archive of the table.
func each(t *testing.T, f func(t *testing.T, root nartest.Node, data []byte)) {
	for _, a := range archives {
		t.Run(a.name, func(t *testing.T) { f(t, a.root, nartest.Tree(a.root)) })
	}
}

// eachLarge runs f on every archive of both tables.
func eachLarge(t *testing.T, f func(t *testing.T, root nartest.Node, data []byte)) {
	each(t, f)
	for _, a := range large {
		t.Run(a.name, func(t *testing.T) { f(t, a.root, nartest.Tree(a.root)) })
	}
}

// An item is an entry with its contents.
type item struct {
	nixnar.Header
	contents string
}

// items lists the entries of a tree in the order of an archive.
func items(root nartest.Node) []item {
	var list []item
	var walk func(path string, n nartest.Node)
	walk = func(path string, n nartest.Node) {
		it := item{Header: nixnar.Header{Path: path}}
		if path == "" {
			it.Path = "/"
		}
		var es nartest.Entries
		switch n := n.(type) {
		case nartest.File:
			it.Type, it.Size, it.contents = nixnar.TypeRegular, int64(len(n)), string(n)
		case nartest.Exec:
			it.Type, it.Size, it.contents, it.Executable = nixnar.TypeRegular, int64(len(n)), string(n), true
		case nartest.Symlink:
			it.Type, it.LinkTarget = nixnar.TypeSymlink, string(n)
		case nartest.Dir:
			it.Type = nixnar.TypeDirectory
			for _, name := range slices.Sorted(maps.Keys(n)) {
				es = append(es, nartest.Entry{Name: name, Node: n[name]})
			}
		case nartest.Entries:
			it.Type, es = nixnar.TypeDirectory, n
		default:
			panic(fmt.Sprintf("no such node: %T", n))
		}
		list = append(list, it)
		for _, e := range es {
			walk(path+"/"+e.Name, e.Node)
		}
	}
	walk("", root)
	return list
}

// readAll reads an archive to its end.
func readAll(r io.Reader) ([]item, error) {
	nr := nar.NewReader(r)
	var list []item
	for {
		if _, err := nr.Next(); err == io.EOF {
			return list, nil
		} else if err != nil {
			return list, err
		}
		it := item{Header: *nr.Header()}
		b, err := io.ReadAll(nr)
		if err != nil {
			return list, err
		}
		it.contents = string(b)
		list = append(list, it)
	}
}

// rewrite reads an archive and writes it.
func rewrite(w io.Writer, r io.Reader) error {
	return pass(nar.NewReader(r), nar.NewWriter(w))
}

// smallBuffer is little more than the length of the longest entry without its contents, so the edges of buffers fall
// everywhere. It also makes reading many small archives fast.
const smallBuffer = 5000

// rewriteSmall is rewrite with small buffers.
func rewriteSmall(w io.Writer, r io.Reader) error {
	return pass(nar.NewReaderSize(r, smallBuffer), nar.NewWriterSize(w, smallBuffer))
}

func pass(nr *nar.Reader, nw *nar.Writer) error {
	for {
		e, err := nr.Next()
		if err == io.EOF {
			return nw.Close()
		} else if err != nil {
			return err
		}
		if err := nw.WriteEntry(e); err != nil {
			return err
		}
		for nr.Remaining() > 0 {
			b, err := nr.Peek(1)
			if err != nil {
				return err
			}
			if _, err := nw.Write(b); err != nil {
				return err
			}
			nr.Discard(len(b))
		}
	}
}

// decode is a direct transcription of the format's grammar. It parses an archive in memory by recursive descent, and
// returns only whether it is one.
func decode(b []byte) (root nartest.Node, ok bool) {
	d := decoder{b}
	defer func() {
		if e := recover(); e != nil {
			if e != errGrammar {
				panic(e)
			}
			ok = false
		}
	}()
	d.want("nix-archive-1")
	root = d.node(0)
	return root, len(d.b) == 0
}

var errGrammar = errors.New("not in the grammar")

type decoder struct{ b []byte }

func (d *decoder) must(ok bool) {
	if !ok {
		panic(errGrammar)
	}
}

func (d *decoder) str() string {
	d.must(len(d.b) >= 8)
	n := binary.LittleEndian.Uint64(d.b)
	d.must(n <= uint64(len(d.b)-8))
	s := string(d.b[8 : 8+n])
	padded := (n + 7) / 8 * 8
	d.must(padded <= uint64(len(d.b)-8))
	d.must(strings.Trim(string(d.b[8+n:8+padded]), "\x00") == "")
	d.b = d.b[8+padded:]
	return s
}

func (d *decoder) want(s string) { d.must(d.str() == s) }

func (d *decoder) node(depth int) nartest.Node {
	d.want("(")
	d.want("type")
	var n nartest.Node
	switch d.str() {
	case "regular":
		s, exec := d.str(), false
		if s == "executable" {
			exec = true
			d.want("")
			s = d.str()
		}
		d.must(s == "contents")
		n = nartest.File(d.str())
		if exec {
			n = nartest.Exec(n.(nartest.File))
		}
	case "symlink":
		d.want("target")
		t := d.str()
		d.must(len(t) >= 1 && len(t) <= 4095 && !strings.Contains(t, "\x00"))
		n = nartest.Symlink(t)
	case "directory":
		d.must(depth < nar.MaxDepth)
		es := nartest.Entries{}
		for s := d.str(); s != ")"; s = d.str() {
			d.must(s == "entry")
			d.want("(")
			d.want("name")
			name := d.str()
			d.must(name != "" && name != "." && name != ".." && len(name) <= 255 && !strings.ContainsAny(name, "/\x00"))
			d.must(len(es) == 0 || es[len(es)-1].Name < name)
			d.want("node")
			es = append(es, nartest.Entry{Name: name, Node: d.node(depth + 1)})
			d.want(")")
		}
		return es
	default:
		d.must(false)
	}
	d.want(")")
	return n
}

// A test of the oracle: it accepts every archive of the table, and neither a shorter nor a longer one.
func TestDecode(t *testing.T) {
	eachLarge(t, func(t *testing.T, root nartest.Node, data []byte) {
		got, ok := decode(data)
		if !ok || !bytes.Equal(nartest.Tree(got), data) {
			t.Fatal("not decoded, or to something else")
		}
		if _, ok := decode(data[:len(data)-1]); ok {
			t.Error("decoded without its last byte")
		}
		if _, ok := decode(append(data[:len(data):len(data)], 0)); ok {
			t.Error("decoded with a byte more")
		}
	})
}
