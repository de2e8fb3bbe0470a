// Package nar reads and writes Nix archives (NARs) as streams. It is strict, and allocates nothing per entry.
//
// # Format
//
// Every string of a NAR is a length (u64, little-endian, in bytes), the bytes, and zeros up to the next multiple of 8.
// With str(x) for such a string, an archive is
//
//	archive   = str("nix-archive-1") node
//	node      = str("(") str("type") body str(")")
//	body      = str("regular") [str("executable") str("")] str("contents") str(bytes)
//	          | str("symlink") str("target") str(target)
//	          | str("directory") { str("entry") str("(") str("name") str(name) str("node") node str(")") }
//
// Names have 1 to 255 bytes without "/" and NUL, are neither "." nor "..", and increase strictly, compared as bytes,
// within a directory. Targets have 1 to 4095 bytes without NUL. Nothing follows the last ")". These are the rules of Nix
// 2.35 (src/libutil/archive.cc), except for its limit of 64 levels: see [MaxDepth]. [Reader] refuses everything else, so
// an archive that is read and written again is the same byte for byte. [Writer] writes nothing else: calls that break
// the rules fail.
//
// [ExportReader] and [ExportWriter] do the same for the streams of several archives that nix-store --export writes, and
// [Sniff] distinguishes the two kinds of stream.
//
// The types of nodes, and the header of [Reader.Header] and [Writer.WriteHeader], are those of
// github.com/nix-community/go-nix.
package nar
