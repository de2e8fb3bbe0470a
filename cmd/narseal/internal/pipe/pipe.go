// Package pipe does what the system allows with the pipes and sockets that the program reads and writes: it enlarges
// their buffers and notices when a reader goes away.
package pipe

import (
	"io/fs"
	"os"
)

// hasReader reports whether f is something whose reader can go away.
func hasReader(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&(fs.ModeNamedPipe|fs.ModeSocket) != 0
}
