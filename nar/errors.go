package nar

import "fmt"

// A FormatError says where an archive, or a caller of a Writer, breaks the format, or where the input ended or failed.
type FormatError struct {
	Op string // "read" or "write"
	// Path is the path of the entry, or of its directory if the name is unknown or not allowed. "/" is the root, and ""
	// is outside the archive's tree.
	Path   string
	Offset int64 // bytes from the start of the stream
	Err    error
}

func (e *FormatError) Error() string {
	path := ""
	if n := len(e.Path); n > maxPrinted {
		path = fmt.Sprintf(" %q… (a path of %d bytes)", e.Path[:maxPrinted], n)
	} else if n > 0 {
		path = fmt.Sprintf(" %q", e.Path)
	}
	return fmt.Sprintf("nar: %s%s: offset %d: %v", e.Op, path, e.Offset, e.Err)
}

// maxPrinted is how many bytes of a path are printed. A path in an archive may have four megabytes.
const maxPrinted = 512

func (e *FormatError) Unwrap() error { return e.Err }

// An OrderError reports an entry whose name does not sort after the one before it in its directory.
type OrderError struct{ Name, Last string }

func (e *OrderError) Error() string {
	if e.Name == e.Last {
		return fmt.Sprintf("name given twice: %q", e.Name)
	}
	return fmt.Sprintf("names out of order: %q after %q", e.Name, e.Last)
}
