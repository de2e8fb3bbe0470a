// Package filter rewrites the store paths in archives while they stream through, and repairs the Mach-O code signatures
// that this breaks.
//
// A Config describes a run. Config.Run copies one archive from a nar.Reader to a nar.Writer, Config.RunExport the
// archives of an export stream. Config.RunAt processes either kind from an input that can be read twice. Rules apply to
// the contents of regular files, to the targets of symlinks and to the names of entries; see rules.Set for what counts
// as an occurrence. Lengths do not change, and an archive in which nothing matches comes out byte for byte identical.
//
// Memory does not grow with the archive. Three things are kept, in memory or in a file that Config.Spill opens: an image
// with a code signature, until its slots are recomputed; a deferred entry, whose new name sorts after names that
// follow; and the output from the executable of a sealed bundle on, until the bundle is complete and its seal can be
// repaired. An entry whose new name sorts before names that are already written is a *RenameError, except in RunAt,
// which reads the names first.
//
// The package opens no files and prints nothing. Errors are those of package nar for malformed archives,
// *SignatureError for a signature that cannot be repaired, *RenameError, and errors of reading and writing. After any
// error the output is not a complete archive.
//
// The packages below this one find rules (rules) and references (refs), keep data that is too large for memory (spill),
// and compute content addresses (address).
package filter
