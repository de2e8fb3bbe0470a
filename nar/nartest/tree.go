package nartest

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
)

// A Node is the root of an archive or an entry of a directory: a [File], [Exec], [Symlink], [Dir], [Entries] or [Raw].
type Node interface {
	encode(*bytes.Buffer)
}

type (
	// File is a regular file with these contents.
	File string

	// Exec is an executable regular file with these contents.
	Exec string

	// Symlink is a symbolic link to this target.
	Symlink string

	// Dir is a directory. Its entries are sorted by name, compared as bytes, as Nix sorts them.
	Dir map[string]Node

	// Entries is a directory whose entries are written in this order. A test can so have them unsorted, repeated or with
	// an invalid name.
	Entries []Entry

	// Raw is the encoding of a whole node.
	Raw []byte
)

// Entry is one entry of [Entries].
type Entry struct {
	Name string
	Node Node
}

// Tree returns the archive of a tree, such as
//
//	nartest.Tree(nartest.Dir{
//		"bin": nartest.Dir{"hello": nartest.Exec("…")},
//		"lib": nartest.Symlink("bin"),
//	})
//
// It checks nothing: an invalid name gives an invalid archive.
func Tree(root Node) []byte {
	var b bytes.Buffer
	b.Write(Strings("nix-archive-1"))
	root.encode(&b)
	return b.Bytes()
}

// Strings returns the encoding of strings in an archive, one after the other: the length as a little-endian uint64, the
// bytes, and zeros up to a multiple of 8.
func Strings(ss ...string) []byte {
	var out []byte
	for _, s := range ss {
		out = binary.LittleEndian.AppendUint64(out, uint64(len(s)))
		out = append(out, s...)
		for len(out)%8 != 0 {
			out = append(out, 0)
		}
	}
	return out
}

func (f File) encode(b *bytes.Buffer) {
	b.Write(Strings("(", "type", "regular", "contents", string(f), ")"))
}

func (x Exec) encode(b *bytes.Buffer) {
	b.Write(Strings("(", "type", "regular", "executable", "", "contents", string(x), ")"))
}

func (l Symlink) encode(b *bytes.Buffer) {
	b.Write(Strings("(", "type", "symlink", "target", string(l), ")"))
}

func (d Dir) encode(b *bytes.Buffer) {
	var es Entries
	for _, name := range slices.Sorted(maps.Keys(d)) {
		es = append(es, Entry{name, d[name]})
	}
	es.encode(b)
}

func (es Entries) encode(b *bytes.Buffer) {
	b.Write(Strings("(", "type", "directory"))
	for _, e := range es {
		b.Write(Strings("entry", "(", "name", e.Name, "node"))
		e.Node.encode(b)
		b.Write(Strings(")"))
	}
	b.Write(Strings(")"))
}

func (r Raw) encode(b *bytes.Buffer) {
	b.Write(r)
}
