package nixcli

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"narseal/filter/spill"
	"narseal/nar/storepath"
)

// A PathList has the paths of a run, in the order in which they were added, without their references and derivers. It is read
// when Nix is no longer needed, or changes the database. A large one is in a temporary file: its memory is bounded.
type PathList struct {
	records *spill.Buffer
	batch   []byte // records to be added
	count   int
	bytes   int64
}

const (
	// listMemory is how much of a list is kept in memory, in bytes. A path takes about 100.
	listMemory = 4 << 20
	batchSize  = 64 << 10
)

// NewPathList returns an empty list. open opens a file for a large one.
func NewPathList(open func() (spill.File, error)) *PathList {
	return &PathList{records: spill.NewBuffer(spill.Options{Memory: listMemory, Open: open})}
}

// Close frees what the list keeps.
func (l *PathList) Close() { l.records.Close() }

// Len returns the number of paths.
func (l *PathList) Len() int { return l.count }

// Bytes returns the size of all their archives.
func (l *PathList) Bytes() int64 { return l.bytes }

// Add adds a path.
func (l *PathList) Add(p *Path) error {
	l.batch = binary.AppendUvarint(l.batch, uint64(len(p.Base)))
	l.batch = append(l.batch, p.Base...)
	l.batch = append(l.batch, p.NarHash[:]...)
	l.batch = binary.AppendUvarint(l.batch, uint64(p.NarSize))
	l.count++
	l.bytes += p.NarSize
	if len(l.batch) < batchSize {
		return nil
	}
	return l.flush()
}

func (l *PathList) flush() error {
	err := l.records.Append(l.batch, listMemory)
	l.batch = l.batch[:0]
	return err
}

// Each calls f for every path, until f returns an error.
func (l *PathList) Each(f func(*Path) error) error {
	if err := l.flush(); err != nil {
		return err
	}
	r := bufio.NewReaderSize(io.NewSectionReader(l.records, 0, l.records.Size()), batchSize)
	for range l.count {
		p, err := readPath(r)
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("list of paths: %w", err)
		}
		if err := f(p); err != nil {
			return err
		}
	}
	return nil
}

func readPath(r *bufio.Reader) (*Path, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if n > storepath.MaxBaseName {
		return nil, errors.New("a name that is too long")
	}
	base := make([]byte, n)
	if _, err := io.ReadFull(r, base); err != nil {
		return nil, err
	}
	p := &Path{Base: string(base)}
	if _, err := io.ReadFull(r, p.NarHash[:]); err != nil {
		return nil, err
	}
	size, err := binary.ReadUvarint(r)
	p.NarSize = int64(size)
	return p, err
}
