//go:build !linux

package scan

import "narseal/nar"

// openSearch is the flag that opens a directory for searching only: O_EXEC of macOS' sys/fcntl.h.
const openSearch = 0x40000000

// handleName returns the name of a directory's handle. Package os uses it to look up the types of files that the
// directory does not list. Directories of macOS always list them.
func handleName(_ int, path nar.Path) string { return path.Short() }
