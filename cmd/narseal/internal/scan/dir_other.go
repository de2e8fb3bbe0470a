//go:build !linux

package scan

import "narseal/nar"

// openSearch opens a directory that may be searched, not read: O_EXEC of macOS' sys/fcntl.h.
const openSearch = 0x40000000

// handleName is by what package os looks up the kind of a file in a directory that does not say it, as those of macOS
// always do.
func handleName(_ int, path nar.Path) string { return path.Short() }
