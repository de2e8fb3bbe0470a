// Package filter rewrites the store paths that an archive mentions while it
// streams through, and reseals the Mach-O code signatures that this breaks.
//
// A Config with compiled Rules reads entries from a nar.Reader and writes them
// to a nar.Writer, for one archive by Config.Run and for all of an export
// stream by Config.RunExport. Rules apply to the contents of regular files, to
// the targets of symlinks and to the names of entries; see Rules for what
// counts as an occurrence. Everything keeps its length, and an archive in
// which nothing matches comes out byte for byte the same.
//
// Memory does not grow with the archive. What has to wait is held, in memory
// or in what Config.Scratch gives: an image with a code signature, until its
// slots are recomputed, and a renamed entry that belongs further back. One
// that belongs further ahead is a RenameError, unless Order has looked at the
// names before.
//
// The package opens no files and prints nothing. Errors are those of package
// nar for what the archives hold, SealError for a signature that cannot be
// resealed, RenameError, and errors of reading and writing; after any of them
// what was written is no complete archive.
//
// References looks for store paths instead of replacing them.
package filter
