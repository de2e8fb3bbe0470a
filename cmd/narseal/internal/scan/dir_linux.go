package scan

import (
	"fmt"

	"golang.org/x/sys/unix"

	"narseal/nar"
)

// openSearch is the flag that opens a directory for searching only.
const openSearch = unix.O_PATH

// handleName returns the name of a directory's handle. Package os uses it to look up the types of files that the
// directory does not list.
func handleName(fd int, _ nar.Path) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
