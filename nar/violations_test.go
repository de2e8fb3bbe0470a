package nar_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"narseal/nar"
	"narseal/nar/nartest"
)

// u64 is a length field.
func u64(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }

func str(ss ...string) string { return string(nartest.Strings(ss...)) }

var (
	magic = str("nix-archive-1")
	// A root directory up to its first entry.
	inRoot = magic + str("(", "type", "directory")
	// An entry of it up to its node.
	inA = inRoot + str("entry", "(", "name", "a", "node")
	// The same, closed, so that another may follow.
	afterA = inA + str("(", "type", "regular", "contents", "1", ")", ")")
	// The end of an entry and of the root.
	end = str(")", ")")
)

// violations has an archive for each way to break the format. good is well-formed; the offset of the error is its
// length plus skip.
var violations = []struct {
	name string
	good string
	skip int
	bad  string
	path string // of the error
	want string // part of the error
}{
	// The archive's frame.
	{"wrong magic", "", 0, str("nix-archive-2", "(", "type"), "", `want the archive's magic "nix-archive-1", got "nix-archive-2"`},
	{"not an archive", "", 0, "#!/bin/sh\necho hello\n", "", `want the archive's magic "nix-archive-1", the input begins with "#!/bin/s"`},
	{"an archive in an export stream", "", 0, u64(1) + magic + str("(", "type"), "", `got`},
	{"magic with wrong padding", "", 8 + 14, u64(13) + "nix-archive-1\x00\x01\x00" + str("("), "", "padding"},
	{"magic of length 2^64-1", "", 0, u64(1<<64-1) + "nix-archive-1\x00\x00\x00", "", `the input begins with "\xff\xff`},
	{"trailing byte", magic + str("(", "type", "symlink", "target", "t", ")"), 0, "\x00", "", "got more bytes"},
	{"trailing token", magic + str("(", "type", "symlink", "target", "t", ")"), 0, str(")"), "", "got more bytes"},
	{"second root", magic + str("(", "type", "symlink", "target", "t", ")"), 0, str("(", "type", "symlink", "target", "t", ")"), "", "got more bytes"},

	// A node.
	{"no opening", magic, 0, str(")", "type"), "/", `want "(" "type", got ")"`},
	{"no type", magic + str("("), 0, str("Type", "regular"), "/", `got "Type"`},
	{"unknown type", magic + str("(", "type"), 0, str("fifo", ")"), "/", `want "regular", "symlink" or "directory", got "fifo"`},
	{"empty type", magic + str("(", "type"), 0, str("", ")", ")", ")"), "/", `got ""`},
	{"type of 33 bytes", magic + str("(", "type"), 0, str(strings.Repeat("x", 33)), "/", "got a string of 33 bytes"},
	{"type with wrong padding", magic + str("(", "type"), 8 + 7, u64(7) + "regular\x01" + str("contents"), "/", "padding"},
	{"two types", magic + str("(", "type", "regular"), 0, str("type", "regular", "contents", "", ")"), "/", `got "type"`},
	{"nothing in the node", magic + str("("), 0, str(")", ")"), "/", `got ")"`},
	{"no closing", magic + str("(", "type", "symlink", "target", "t"), 0, str("(", ")"), "/", `want ")", got "("`},
	{"closing with wrong padding", magic + str("(", "type", "symlink", "target", "t"), 8 + 3, u64(1) + ")\x00\x00\x01\x00\x00\x00\x00", "/", "padding"},
	{"closing of length 2^63", magic + str("(", "type", "symlink", "target", "t"), 0, u64(1<<63) + ")\x00\x00\x00\x00\x00\x00\x00", "/", "got a string of"},

	// Regular files.
	{"no contents", inA + str("(", "type", "regular"), 0, str(")", ")", ")"), "/a", `want "executable" or "contents", got ")"`},
	{"executable with a value", inA + str("(", "type", "regular", "executable"), 0, str("x", "contents", "", ")") + end, "/a", `want "" after "executable", got "x"`},
	{"executable with a long value", inA + str("(", "type", "regular", "executable"), 0, u64(1<<40) + str("contents"), "/a", `want "" after "executable", got a string of`},
	{"executable twice", inA + str("(", "type", "regular", "executable", ""), 0, str("executable", "", "contents", "", ")") + end, "/a", `got "executable"`},
	{"executable after contents", inA + str("(", "type", "regular", "contents", "1"), 0, str("executable", "", ")") + end, "/a", `want ")", got "executable"`},
	{"contents twice", inA + str("(", "type", "regular", "contents", "1"), 0, str("contents", "1", ")") + end, "/a", `got "contents"`},
	{"file with a target", inA + str("(", "type", "regular"), 0, str("target", "t", ")") + end, "/a", `got "target"`},
	{"contents of length 2^64-1", inA + str("(", "type", "regular", "contents"), 0, u64(1<<64-1) + "xxxxxxxx", "/a", "contents of 18446744073709551615 bytes"},
	{"contents of length 2^63", inA + str("(", "type", "regular", "contents"), 0, u64(1<<63) + "xxxxxxxx", "/a", "contents of 9223372036854775808 bytes"},
	{"contents of length 2^63-7", inA + str("(", "type", "regular", "contents"), 0, u64(1<<63-7) + "xxxxxxxx", "/a", "contents of 9223372036854775801 bytes"},
	{"contents with wrong padding", inA + str("(", "type", "regular", "contents") + u64(9) + "nine byte", 0, "\x01\x00\x00\x00\x00\x00\x00" + str(")") + end, "/a", "padding: want zeros, got byte 0x01"},
	{"contents with wrong last padding", inA + str("(", "type", "regular", "contents") + u64(9) + "nine byte", 6, "\x00\x00\x00\x00\x00\x00\xff" + str(")") + end, "/a", "padding: want zeros, got byte 0xff"},
	{"contents without padding", magic + str("(", "type", "regular", "contents") + u64(1) + "x", 0, str(")"), "/", "padding"},

	// Symlinks.
	{"no target", inA + str("(", "type", "symlink"), 0, str(")", ")"), "/a", `want "target", got ")"`},
	{"empty target", inA + str("(", "type", "symlink", "target"), 8, str("", ")") + end, "/a", "target is empty"},
	{"target with NUL", inA + str("(", "type", "symlink", "target"), 8, str("a\x00b", ")") + end, "/a", "target contains a NUL byte"},
	{"target of 4096 bytes", inA + str("(", "type", "symlink", "target"), 0, str(strings.Repeat("t", 4096), ")") + end, "/a", "target has 4096 bytes, at most 4095 are allowed"},
	{"target of length 2^64-1", inA + str("(", "type", "symlink", "target"), 0, u64(1<<64-1) + "t", "/a", "target has 18446744073709551615 bytes"},
	{"target with wrong padding", inA + str("(", "type", "symlink", "target"), 8 + 1, u64(1) + "t\x01\x00\x00\x00\x00\x00\x00" + str(")"), "/a", "padding"},
	{"executable symlink", inA + str("(", "type", "symlink"), 0, str("executable", "", "target", "t", ")") + end, "/a", `got "executable"`},
	{"symlink with contents", inA + str("(", "type", "symlink", "target", "t"), 0, str("contents", "", ")") + end, "/a", `got "contents"`},

	// Directories.
	{"unknown token in a directory", inRoot, 0, str("entries", ")"), "/", `want "entry" "(" "name", or ")", got "entries"`},
	{"token of 33 bytes in a directory", afterA, 0, str(strings.Repeat("x", 33)), "/", "got a string of 33 bytes"},
	{"directory with contents", inA + str("(", "type", "directory"), 0, str("contents", "x", ")") + end, "/a", `got "contents"`},
	{"entry not opened", inRoot + str("entry"), 0, str("name", "a", "node"), "/", `got "name"`},
	{"entry without name", inRoot + str("entry", "("), 0, str("node", "(", "type"), "/", `got "node"`},
	{"entry without node", inRoot + str("entry", "(", "name", "a"), 0, str(")", ")", ")"), "/a", `want "node", got ")"`},
	{"entry with two nodes", afterA[:len(afterA)-16], 0, str("node", "(", "type"), "/a", `want ")", got "node"`},
	{"entry not closed", afterA[:len(afterA)-16], 0, str("entry", "(", "name", "b"), "/a", `want ")", got "entry"`},
	{"node before name", inRoot + str("entry", "("), 0, str("node", "(", "type", "symlink", "target", "t", ")", "name", "a", ")"), "/", `got "node"`},
	{"root closed twice by its entry", inA + str("(", "type", "directory", ")"), 0, str("(", ")"), "/a", `want ")", got "("`},

	// Names.
	{"empty name", inRoot + str("entry", "(", "name"), 8, str("", "node"), "/", `name is empty: ""`},
	{"name .", inRoot + str("entry", "(", "name"), 8, str(".", "node"), "/", `name is "." or "..": "."`},
	{"name ..", inRoot + str("entry", "(", "name"), 8, str("..", "node"), "/", `name is "." or "..": ".."`},
	{"name with a slash", inRoot + str("entry", "(", "name"), 8, str("a/b", "node"), "/", `name contains a slash: "a/b"`},
	{"name of a slash", inA + str("(", "type", "directory", "entry", "(", "name"), 8, str("/", "node"), "/a", `name contains a slash: "/"`},
	{"name with NUL", inRoot + str("entry", "(", "name"), 8, str("a\x00", "node"), "/", `name contains a NUL byte: "a\x00"`},
	{"name of 256 bytes", inRoot + str("entry", "(", "name"), 0, str(strings.Repeat("n", 256), "node"), "/", "name has 256 bytes, at most 255 are allowed"},
	{"name of length 2^64-1", inRoot + str("entry", "(", "name"), 0, u64(1<<64-1) + "n", "/", "name has 18446744073709551615 bytes"},
	{"name with wrong padding", inRoot + str("entry", "(", "name"), 8 + 7, u64(1) + "n\x00\x00\x00\x00\x00\x00\x80" + str("node"), "/", "padding after name"},

	// Their order.
	{"name twice", afterA + str("entry", "(", "name"), 8, str("a", "node"), "/a", `name given twice: "a"`},
	{"name before the last", afterA + str("entry", "(", "name"), 8, str("A", "node"), "/A", `names out of order: "A" after "a"`},
	{"prefix after the longer name", strings.Replace(afterA, str("a"), str("ab"), 1) + str("entry", "(", "name"), 8, str("a", "node"), "/a", `names out of order: "a" after "ab"`},
	{"bytes compared as signed", strings.Replace(afterA, str("a"), str("\xff"), 1) + str("entry", "(", "name"), 8, str("a", "node"), "/a", "names out of order"},
	{"order below a directory", inA + str("(", "type", "directory", "entry", "(", "name", "y", "node", "(", "type", "directory", ")", ")", "entry", "(", "name"), 8, str("x", "node"), "/a/x", `names out of order: "x" after "y"`},
	{"order after a directory", inA + str("(", "type", "directory", "entry", "(", "name", "y", "node", "(", "type", "directory", ")", ")", ")", ")", "entry", "(", "name"), 8, str("a", "node"), "/a", "name given twice"},
}

func TestReaderViolations(t *testing.T) {
	for _, v := range violations {
		t.Run(v.name, func(t *testing.T) {
			data := v.good + v.bad
			if _, ok := decode([]byte(data)); ok {
				t.Fatal("the oracle takes it")
			}
			var first error
			for _, r := range readers {
				_, err := readAll(r.wrap(strings.NewReader(data)))
				var bad *nar.FormatError
				if !errors.As(err, &bad) {
					t.Fatalf("%s: got %v", r.name, err)
				}
				if want := int64(len(v.good) + v.skip); bad.Offset != want {
					t.Errorf("%s: %v: want offset %d", r.name, err, want)
				}
				if bad.Path != v.path {
					t.Errorf("%s: %v: want path %q", r.name, err, v.path)
				}
				if !strings.Contains(err.Error(), v.want) {
					t.Errorf("%s: %v: want %q", r.name, err, v.want)
				}
				if errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("%s: %v: that is not why", r.name, err)
				}
				if first == nil {
					first = err
				} else if err.Error() != first.Error() {
					t.Errorf("%s: %v, but at once: %v", r.name, err, first)
				}
			}
			// What precedes it is well-formed: only its end is missing.
			_, err := readAll(strings.NewReader(v.good))
			if _, whole := decode([]byte(v.good)); !whole && !errors.Is(err, io.ErrUnexpectedEOF) || whole && err != nil {
				t.Errorf("cut before it: %v", err)
			}
		})
	}
}

func TestOrderError(t *testing.T) {
	_, err := readAll(bytes.NewReader(nartest.Tree(nartest.Entries{
		{Name: "b", Node: nartest.File("")}, {Name: "a", Node: nartest.File("")},
	})))
	var order *nar.OrderError
	if !errors.As(err, &order) || *order != (nar.OrderError{Name: "a", Last: "b"}) {
		t.Errorf("got %v", err)
	}
}

// A token that differs in one bit or in length is refused, at every place of an archive that has all tokens.
func TestReaderEveryBit(t *testing.T) {
	data := nartest.Tree(nartest.Dir{
		"d": nartest.Dir{"f": nartest.File("abc"), "x": nartest.Exec("")},
		"l": nartest.Symlink("target"),
	})
	for i := range data {
		for bit := range 8 {
			b := bytes.Clone(data)
			b[i] ^= 1 << bit
			err := rewriteSmall(io.Discard, bytes.NewReader(b))
			if _, ok := decode(b); (err == nil) != ok {
				t.Errorf("byte %d, bit %d: %v, the oracle says %t", i, bit, err, ok)
			}
		}
	}
}
