// Package nar reads and writes Nix archives (NARs) as streams, strictly and
// without allocating per entry.
//
// # Format
//
// Every string of a NAR is a length (u64, little-endian, in bytes), the
// bytes, and zeros up to the next multiple of 8. With str(x) for such a
// string, an archive is
//
//	archive   = str("nix-archive-1") node
//	node      = str("(") str("type") body str(")")
//	body      = str("regular") [str("executable") str("")] str("contents") str(bytes)
//	          | str("symlink") str("target") str(target)
//	          | str("directory") { str("entry") str("(") str("name") str(name) str("node") node str(")") }
//
// Names are 1 to 255 bytes without "/" and NUL, neither "." nor "..", and
// strictly increasing as bytes within a directory; targets are 1 to 4095
// bytes without NUL; nothing follows the last ")". These are the rules of
// Nix 2.35 (src/libutil/archive.cc), but for its limit of 64 levels: see
// [MaxDepth]. [Reader] refuses whatever breaks them, so that an archive that
// is read and written again is the same byte for byte, and [Writer] cannot
// be made to produce anything else.
//
// [ExportReader] and [ExportWriter] do the same for the streams of many
// archives that nix-store --export writes, and [Sniff] tells the two apart.
//
// The types of nodes and the header that [Reader.Header] and
// [Writer.WriteHeader] speak are those of github.com/nix-community/go-nix.
package nar
