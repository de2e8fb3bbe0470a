package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"narseal/macho"
	"narseal/nar"
	"narseal/nar/compression"
)

var (
	compressionFlag = choice("compression", "same", "same|none|zstd|xz|gzip", "compress the output, or not, or in the same way as the input")
	levelFlag       = &cli.IntFlag{Name: "level", DefaultText: "the format's own",
		Usage: "compress at level `N`: 1 (fast) to 9 (small), zstd to 22"}
	spoolFlag = &cli.BoolFlag{Name: "spool",
		Usage: "copy the input to a temporary file first, so that renamed entries can move ahead of others"}
)

// stream is an input as it is without compression.
type stream struct {
	io.Reader
	format      nar.Format
	compression compression.Type
	image       bool // begins as a Mach-O file does
	// at is the stream where it can be read again from its start.
	at    *nar.SectionReader
	close []func() error

	progress *progress
}

// sniffSize is what nar.Sniff wants to see.
const sniffSize = 16

// openStream tells what an input holds, and decompresses it. Closing the
// stream does not close the input.
func openStream(in *input) (*stream, error) {
	in.progress.begin(in.left())
	raw := in.progress.count(in)
	head := make([]byte, sniffSize)
	n, err := io.ReadFull(raw, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, fmt.Errorf("input: %w", err)
	}
	head = head[:n]
	whole := io.MultiReader(&prefix{head}, raw)
	if f := nar.Sniff(head); f != nar.FormatUnknown {
		s := &stream{Reader: whole, format: f, compression: compression.None, progress: in.progress}
		if in.info != nil && in.info.Mode().IsRegular() {
			start, err := in.file.Seek(int64(-n), io.SeekCurrent)
			if err != nil {
				return nil, fmt.Errorf("input: %w", err)
			}
			at := nar.NewSectionReader(in.file, start, in.info.Size()-start)
			s.at = &at
			s.Reader = s.count(in.file, s.at.Size())
		}
		return s, nil
	}
	r, c, err := compression.Decompress(whole)
	if err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	s := &stream{Reader: r, compression: c, close: []func() error{r.Close}, progress: in.progress}
	head = make([]byte, sniffSize)
	n, err = io.ReadFull(r, head)
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errors.Join(fmt.Errorf("input: %w", err), s.Close())
	}
	s.format, s.image = nar.Sniff(head[:n]), macho.IsMachO(head[:n])
	s.Reader = io.MultiReader(&prefix{head[:n]}, r)
	return s, nil
}

// prefix reads bytes that were read before. Unlike bytes.Reader it has no
// WriteTo, which would keep MultiReader from passing large reads on.
type prefix struct{ b []byte }

func (p *prefix) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.b)
	p.b = p.b[n:]
	return n, nil
}

// spool copies the stream to a temporary file, unless it can be read again
// as it is.
func (s *stream) spool(x *exits) error {
	if s.at != nil {
		return nil
	}
	scratch, err := newScratch(x)()
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	f := scratch.(*os.File)
	s.close = append(s.close, f.Close)
	n, err := io.Copy(f, s.Reader)
	if err != nil {
		return fmt.Errorf("spool: offset %d: %w", n, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	at := nar.NewSectionReader(f, 0, n)
	s.at, s.Reader = &at, s.count(f, n)
	return nil
}

// count tells of r, with so many bytes, as what is read from now on.
func (s *stream) count(r io.Reader, size int64) io.Reader {
	s.progress.begin(size)
	return s.progress.count(r)
}

// explain adds to an error about a stream that is no archive what is wanted.
func (s *stream) explain(err error) error {
	var bad *nar.FormatError
	if s.format != nar.FormatUnknown || !errors.As(err, &bad) || bad.Op != "read" {
		return err
	}
	if s.image {
		return &hintedError{err, "narseal verify, and narseal repair --in-place, take Mach-O files as they are"}
	}
	return &hintedError{err, "an archive is what nix-store --dump or nix-store --export makes, raw or compressed"}
}

func (s *stream) Close() error {
	var errs []error
	for _, c := range s.close {
		errs = append(errs, c())
	}
	s.close = nil
	return errors.Join(errs...)
}

// formatName is the stream's format in reports.
func (s *stream) formatName() string {
	switch s.format {
	case nar.FormatNAR:
		return "nar"
	case nar.FormatExport:
		return "export"
	}
	return "unknown"
}

// outputCompression is how --compression and --level want the output.
func (s *stream) outputCompression(c *cli.Context) (compression.Type, error) {
	name := c.String("compression")
	t := s.compression
	if name != "same" {
		var err error
		if t, err = compression.Parse(name); err != nil {
			return "", badUsage("", "--compression: %w", err)
		}
	}
	if t == compression.Bzip2 {
		return "", badUsage("say --compression xz, or another one", "--compression %s: bzip2 can be read, not written", name)
	}
	return t, nil
}
