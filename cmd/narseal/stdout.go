package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// checkedWriter is stdout for the CLI library and for help, which ignore write errors. It keeps the first error for run
// to return.
type checkedWriter struct {
	io.Writer
	err error
}

func (w *checkedWriter) Write(b []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.Writer.Write(b)
	w.err = err
	return n, err
}

// Unwrap returns the stream, for terminal.StyleOf.
func (w *checkedWriter) Unwrap() io.Writer { return w.Writer }

// finishStdout returns err, or else the first error of a write to stdout.
func (p *process) finishStdout(err error) error {
	if err == nil {
		err = p.checked.err
		if f, ok := p.stdout.(*os.File); ok && err == nil {
			err = closeFile(f)
		}
		if err != nil {
			err = fmt.Errorf("output: %w", err)
		}
	}
	return err
}

// closeFile closes f if it is a regular file that is still open: some file systems report a failed write only then.
func closeFile(f *os.File) error {
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
		return err
	}
	return nil
}
