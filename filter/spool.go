package filter

import (
	"fmt"
	"io"
)

// spools holds the entries that wait for their turn: in memory up to a
// limit, beyond it in one Scratch.
type spools struct {
	limit   int64
	open    func() (Scratch, error)
	used    int64 // memory, in bytes
	live    int   // entries that wait
	scratch Scratch
	end     int64 // of what is in scratch
}

// spool is one entry: a nar.Spill.
type spool struct {
	s       *spools
	mem     []byte
	extents []span // of the Scratch; follow mem
}

func (s *spools) new() *spool {
	s.live++
	return &spool{s: s}
}

func (p *spool) Write(b []byte) (int, error) {
	s := p.s
	if len(p.extents) == 0 && s.used+int64(len(b)) <= s.limit {
		p.mem = append(p.mem, b...)
		s.used += int64(len(b))
		return len(b), nil
	}
	if s.scratch == nil {
		if s.open == nil {
			return 0, fmt.Errorf("renamed entries of more than %d bytes wait for their place", s.limit)
		}
		var err error
		if s.scratch, err = s.open(); err != nil {
			return 0, fmt.Errorf("temporary file: %w", err)
		}
	}
	n, err := s.scratch.WriteAt(b, s.end)
	if err != nil {
		return n, fmt.Errorf("temporary file: %w", err)
	}
	if k := len(p.extents); k > 0 && p.extents[k-1].end == s.end {
		p.extents[k-1].end += int64(n)
	} else {
		p.extents = append(p.extents, span{s.end, s.end + int64(n)})
	}
	s.end += int64(n)
	return n, nil
}

// WriteTo writes the entry, and frees what it took.
func (p *spool) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(p.mem)
	written := int64(n)
	if err == nil && len(p.extents) > 0 {
		var m int64
		m, err = io.Copy(w, &movedReader{in: p.s.scratch, spans: p.extents})
		written += m
	}
	p.s.used -= int64(len(p.mem))
	p.mem, p.extents = nil, nil
	if p.s.live--; p.s.live == 0 {
		p.s.end = 0
	}
	return written, err
}

func (s *spools) close() {
	if s.scratch != nil {
		s.scratch.Close()
		s.scratch = nil
	}
}
