package input

import (
	"errors"
	"fmt"
	"io"

	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/cleanup"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter/spill"
	"narseal/macho"
	"narseal/nar"
	"narseal/nar/compression"
)

// A Stream is the decompressed contents of an input.
type Stream struct {
	io.Reader
	Format      nar.Format
	Compression compression.Type
	// Seekable is the stream if it can be read again from its start, else nil.
	Seekable *nar.SectionReader

	image    bool // it begins like a Mach-O file
	progress *terminal.Progress
	closers  []io.Closer
}

// sniffSize is the number of bytes that nar.Sniff needs.
const sniffSize = 16

// Stream determines the format of the input, and decompresses it. Closing the stream does not close the input.
func (in *Input) Stream() (*Stream, error) {
	in.progress.Begin(in.left())
	raw := in.progress.Count(in)
	head, err := readHead(raw)
	if err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	if f := nar.Sniff(head); f != nar.FormatUnknown {
		s := &Stream{Reader: Prefixed(head, raw), Format: f, Compression: compression.None, progress: in.progress}
		if in.Info != nil && in.Info.Mode().IsRegular() {
			start, err := in.file.Seek(int64(-len(head)), io.SeekCurrent)
			if err != nil {
				return nil, fmt.Errorf("input: %w", err)
			}
			at := nar.NewSectionReader(in.file, start, in.Info.Size()-start)
			s.Seekable = &at
			s.Reader = s.Count(in.file, s.Seekable.Size())
		}
		return s, nil
	}
	size := in.MaxContents
	if size == 0 {
		size = -1
	}
	var memory taken
	r, c, err := compression.DecompressWith(Prefixed(head, raw), size, func(n int64) (err error) {
		memory, err = in.take(n)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	s := &Stream{Reader: r, Compression: c, closers: []io.Closer{r, memory}, progress: in.progress}
	if head, err = readHead(r); err != nil {
		return nil, errors.Join(fmt.Errorf("input: %w", err), s.Close())
	}
	s.Format, s.image = nar.Sniff(head), macho.IsMachO(head)
	s.Reader = Prefixed(head, r)
	return s, nil
}

// taken is memory that was taken from a budget.
type taken struct {
	budget spill.Budget // nil: none was taken
	bytes  int64
}

// take takes the memory of a decoder, unless it needs no more than usual.
func (in *Input) take(n int64) (taken, error) {
	if in.Memory == nil || n <= compression.UsualMemory {
		return taken{}, nil
	}
	if !in.Memory.TryAcquire(n) {
		return taken{}, terminal.Hint(fmt.Errorf("%w: its decoder needs %d bytes of memory, more than --hold-memory leaves", compression.ErrMemory, n),
			fmt.Sprintf("--hold-memory %dMiB", (n+1<<20-1)>>20))
	}
	return taken{in.Memory, n}, nil
}

// Close returns the memory.
func (t taken) Close() error {
	if t.budget != nil {
		t.budget.Release(t.bytes)
	}
	return nil
}

// readHead reads the bytes that identify the format, or all of a shorter input.
func readHead(r io.Reader) ([]byte, error) {
	head := make([]byte, sniffSize)
	n, err := io.ReadFull(r, head)
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // the reader of the archive reports what is missing
	}
	return head[:n], err
}

// Spool copies the stream to a temporary file, unless the stream is already seekable.
func (s *Stream) Spool(reg *cleanup.Registry) error {
	if s.Seekable != nil {
		return nil
	}
	f, err := atomicfile.Temp(reg)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	s.closers = append(s.closers, f)
	n, err := io.Copy(f, s.Reader)
	if err != nil {
		return fmt.Errorf("spool: offset %d: %w", n, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	at := nar.NewSectionReader(f, 0, n)
	s.Seekable, s.Reader = &at, s.Count(f, n)
	return nil
}

// Count begins to show the progress of reading r, of size bytes, and returns a reader that counts it.
func (s *Stream) Count(r io.Reader, size int64) io.Reader {
	s.progress.Begin(size)
	return s.progress.Count(r)
}

// Explain adds a hint to an error about a stream that is not an archive.
func (s *Stream) Explain(err error) error {
	var bad *nar.FormatError
	if s.Format != nar.FormatUnknown || !errors.As(err, &bad) || bad.Op != "read" {
		return err
	}
	if s.image {
		return terminal.Hint(err, "for Mach-O files, use narseal verify and narseal repair --in-place")
	}
	return terminal.Hint(err, "an archive is the output of nix-store --dump or nix-store --export, raw or compressed")
}

// Close releases the stream's resources. It does not close the input.
func (s *Stream) Close() error {
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c.Close())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// FormatName returns the stream's format for reports.
func (s *Stream) FormatName() string {
	switch s.Format {
	case nar.FormatNAR:
		return "nar"
	case nar.FormatExport:
		return "export"
	}
	return "unknown"
}

// Prefixed returns a reader of head, which was already read from r, followed by the rest of r.
func Prefixed(head []byte, r io.Reader) io.Reader { return io.MultiReader(&prefix{head}, r) }

// prefix is a reader of bytes. Unlike bytes.Reader, it has no WriteTo method, which would keep MultiReader from passing
// on large reads.
type prefix struct{ b []byte }

func (p *prefix) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.b)
	p.b = p.b[n:]
	return n, nil
}
