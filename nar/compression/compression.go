// Package compression reads and writes the compression formats of NARs, in pure Go: zstd, xz, gzip and,
// only for reading, bzip2.
//
// The format of input is recognized by its magic number. Output depends only on the input, the format and the level,
// not on the number of cores.
package compression

import "fmt"

// A Type is a compression format. Its value is the name in narinfo files.
type Type string

const (
	None  Type = "none"
	Zstd  Type = "zstd"
	Xz    Type = "xz"
	Gzip  Type = "gzip"
	Bzip2 Type = "bzip2" // only for reading
)

// Parse returns the Type with this name in a narinfo. The empty name means bzip2, as in the narinfo format.
func Parse(name string) (Type, error) {
	switch t := Type(name); t {
	case None, Zstd, Xz, Gzip, Bzip2:
		return t, nil
	case "":
		return Bzip2, nil
	}
	return "", fmt.Errorf("unsupported compression %q", name)
}

// ReadOnly reports whether there is no compressor for t.
func (t Type) ReadOnly() bool { return t == Bzip2 }

// Extension returns the file name extension of t: ".zst", ".xz", ".gz", ".bz2", or "" for None.
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

// magicSize is the number of bytes that Detect needs: the length of the longest magic number, that of xz.
const magicSize = 6

// Detect returns the format of a stream that begins with head, or None if it recognizes no format. An uncompressed NAR
// begins with the length 13 and an export stream with the number 1; neither is the magic number of a format.
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
