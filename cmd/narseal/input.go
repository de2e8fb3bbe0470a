package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	ospipe "narseal/cmd/narseal/internal/pipe"
)

// input is an archive, or a stream of them, that a command reads.
type input struct {
	io.Reader
	name string // as the user gave it, "-" for stdin
	info fs.FileInfo
	file *os.File
	// progress counts what is read of the input.
	progress *progress
}

// inputArg is the one INPUT of a command, "-" where none is given.
func inputArg(c *cli.Context) (string, error) {
	switch c.NArg() {
	case 0:
		return "-", nil
	case 1:
		return c.Args().First(), nil
	}
	return "", badUsage(helpHint(c.Command, "options"), "%s takes one INPUT, got %d", c.Command.Name, c.NArg())
}

// openInput opens the file with this name, or stdin.
func openInput(name string, stdin io.Reader, p *progress) (*input, error) {
	in := &input{name: name, Reader: stdin, progress: p}
	if name == "-" {
		if isTerminal(stdin) {
			return nil, badUsage("name a file, or pipe an archive in: nix-store --dump PATH | narseal …",
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
	info, err := in.file.Stat()
	if err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	if info.IsDir() {
		return nil, &hintedError{fmt.Errorf("input: %s is a directory, want a NAR", name),
			"nix-store --dump " + name + " | narseal …; repair --in-place, verify and refs take directories"}
	}
	in.info = info
	ospipe.Enlarge(in.file)
	return in, nil
}

// left is the number of bytes that a regular file has from where it will be
// read. It is 0 for all else.
func (in *input) left() int64 {
	if in.info == nil || !in.info.Mode().IsRegular() {
		return 0
	}
	at, err := in.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0 // reading will tell
	}
	return max(in.info.Size()-at, 0)
}

func (in *input) Close() error {
	if in.file == nil || in.name == "-" {
		return nil
	}
	return in.file.Close()
}
