// Package compression reads and writes the compressions in which NARs are
// stored, in Go alone: zstd, xz, gzip and, for reading, bzip2.
//
// Input is recognised by its magic number. Output is a function of the input,
// the format and the level: it does not depend on how many cores worked on it.
package compression

import "fmt"

// A Type names a compression, by the word that narinfo files use for it.
type Type string

const (
	None  Type = "none"
	Zstd  Type = "zstd"
	Xz    Type = "xz"
	Gzip  Type = "gzip"
	Bzip2 Type = "bzip2" // read, never written
)

// Parse returns the Type that is called name in a narinfo. The empty name is
// bzip2, as the narinfo format has it.
func Parse(name string) (Type, error) {
	switch t := Type(name); t {
	case None, Zstd, Xz, Gzip, Bzip2:
		return t, nil
	case "":
		return Bzip2, nil
	}
	return "", fmt.Errorf("unsupported compression %q", name)
}

// Extension is what t adds to a file's name: ".zst", ".xz", ".gz", ".bz2", or
// nothing for None.
func (t Type) Extension() string {
	switch t {
	case Zstd:
		return ".zst"
	case Xz:
		return ".xz"
	case Gzip:
		return ".gz"
	case Bzip2:
		return ".bz2"
	}
	return ""
}

// magicSize is how many bytes Detect looks at: xz has the longest magic.
const magicSize = 6

// Detect tells the compression of a stream by its first bytes. What starts like
// none of them is None: a NAR, raw, starts with the length 13, and an export
// stream with the number 1, neither of which is a magic number here.
func Detect(head []byte) Type {
	has := func(magic string) bool {
		return len(head) >= len(magic) && string(head[:len(magic)]) == magic
	}
	switch {
	case has("\x28\xb5\x2f\xfd"):
		return Zstd
	case len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18":
		return Zstd // a skippable frame, which pzstd writes first
	case has("\xfd7zXZ\x00"):
		return Xz
	case has("\x1f\x8b"):
		return Gzip
	case has("BZh"):
		return Bzip2
	}
	return None
}
