// Package input opens the input of a command as a stream of archives: a file or stdin, compressed or not.
package input

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"narseal/cmd/narseal/internal/pipe"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter/spill"
)

// Stdin is the name of the input that means stdin.
const Stdin = "-"

// Shown returns the name of an input for messages.
func Shown(name string) string {
	if name == Stdin {
		return "stdin"
	}
	return name
}

// An Input is a file or stdin.
type Input struct {
	io.Reader
	Name string
	// Info describes the file. It is nil if the input is not an *os.File.
	Info fs.FileInfo
	// MaxContents is the maximum size of the decompressed contents in bytes; 0: unlimited. Larger contents may be an
	// error.
	MaxContents int64
	// Memory limits the memory of a decoder that needs more than usual.
	Memory spill.Budget

	file     *os.File // nil if Info is nil
	size     int64    // of an input that is not a file, for progress; 0 if unknown
	progress *terminal.Progress
}

// Open opens the file with this name, or stdin. Bytes that are read from it count as progress in p, which may be nil.
func Open(name string, stdin io.Reader, p *terminal.Progress) (*Input, error) {
	in := &Input{Name: name, Reader: stdin, progress: p}
	if name == Stdin {
		if terminal.IsTerminal(stdin) {
			return nil, terminal.Usage("name a file, or pipe an archive in: nix-store --dump PATH | narseal …",
				"input: refusing to read an archive from a terminal")
		}
		in.file, _ = stdin.(*os.File)
	} else {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("input: %w", err)
		}
		in.file, in.Reader = f, f
	}
	if in.file == nil {
		return in, nil
	}
	if err := in.inspect(); err != nil {
		in.Close()
		return nil, err
	}
	pipe.Enlarge(in.file)
	return in, nil
}

// Wrap returns an input that reads from r. size is the number of bytes, or -1 if unknown. Closing the input does not
// close r.
func Wrap(name string, r io.Reader, size int64, p *terminal.Progress) *Input {
	return &Input{Name: name, Reader: r, progress: p, size: max(size, 0)}
}

func (in *Input) inspect() error {
	info, err := in.file.Stat()
	if err != nil {
		return fmt.Errorf("input: %w", err)
	}
	if info.IsDir() {
		return terminal.Hint(fmt.Errorf("input: %s is a directory, want a NAR", in.Name),
			"nix-store --dump "+in.Name+" | narseal …; repair --in-place, verify and refs take directories")
	}
	in.Info = info
	return nil
}

// left returns the number of bytes from the current position to the end, or 0 if that is unknown.
func (in *Input) left() int64 {
	if in.Info == nil || !in.Info.Mode().IsRegular() {
		return in.size
	}
	at, err := in.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0 // reading fails, too
	}
	return max(in.Info.Size()-at, 0)
}

// File returns the file, or nil if there is none.
func (in *Input) File() *os.File { return in.file }

// Rewind returns a reader of the whole file from its start, without decompression.
func (in *Input) Rewind() (io.Reader, error) {
	if in.file == nil {
		return nil, fmt.Errorf("input: %s cannot be read again", in.Name)
	}
	if _, err := in.file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	in.progress.Begin(in.left())
	return in.progress.Count(in.file), nil
}

// Unchanged returns an error if the input is a regular file that changed since it was opened: what was read may be a
// mixture of its old and its new contents.
func (in *Input) Unchanged() error {
	if in.Info == nil || !in.Info.Mode().IsRegular() {
		return nil
	}
	now, err := in.file.Stat()
	if err == nil && (now.Size() != in.Info.Size() || !now.ModTime().Equal(in.Info.ModTime())) {
		err = errors.New("the file changed while it was read")
	}
	if err != nil {
		return fmt.Errorf("input: %w", err)
	}
	return nil
}

// Close closes the file. It leaves stdin open.
func (in *Input) Close() error {
	if in.file == nil || in.Name == Stdin {
		return nil
	}
	return in.file.Close()
}
