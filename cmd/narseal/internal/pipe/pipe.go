// Package pipe enlarges the buffers of the pipes that the program reads and writes, and notices when a reader goes
// away, as far as the system supports it.
package pipe

import (
	"io/fs"
	"os"
)

// hasReader reports whether f is a pipe or socket, whose reader can go away.
func hasReader(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&(fs.ModeNamedPipe|fs.ModeSocket) != 0
}
