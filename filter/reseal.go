package filter

import (
	"errors"
	"fmt"
	"io"

	"narseal/filter/spill"
	"narseal/macho"
	"narseal/macho/bundle"
	"narseal/nar"
)

// heldMemory is how many bytes of a held output are in memory. The rest is in a File, if one can be opened.
const heldMemory = 4 << 20

// held is the output from an offset on, while seals of bundles in it may still change. It lies below the nar.Writer, so
// everything in it is at its final offset.
type held struct {
	*spill.Buffer
	out    io.Writer // the final output
	start  int64     // bytes of the output before it
	memory int64     // bytes that fit memory
}

func (h *held) Write(p []byte) (int, error) {
	// The final size is unknown, so expect as many bytes as fit into memory.
	if err := h.Append(p, max(h.Size()+int64(len(p)), h.memory)); err != nil {
		return 0, fmt.Errorf("keep a bundle: %w", err)
	}
	return len(p), nil
}

// contents provides random access to a file in the held output, or in a deferred entry that is not yet in it.
type contents struct {
	p     *pipe
	place *nar.Place
	size  int64
}

// sealing prepares a run that may repair the seals of bundles.
func (p *pipe) sealing() {
	o := &p.c.Signatures
	if o.Repair == RepairAll || o.Repair == RepairTouched && p.c.Rules != nil {
		p.bundles.Reseal = &bundle.Reseal{All: o.Repair == RepairAll, OnCMS: o.OnCMS, Jobs: o.Jobs}
	}
}

// give holds the output from now on, and gives the Checker of bundles access to the contents that are written next.
func (p *pipe) give(size int64) error {
	if p.held == nil {
		o := p.spill
		if o.Open != nil {
			o.Memory = min(o.Limit(), heldMemory)
		}
		h := &held{Buffer: spill.NewBuffer(o), memory: o.Limit()}
		if o.Open != nil {
			h.Reserve(h.memory)
		}
		var err error
		if h.out, h.start, err = p.w.Divert(h); err != nil {
			return err
		}
		p.held = h
	}
	p.bundles.Give(&contents{p, p.w.Mark(), size})
	return nil
}

// giveList is give for the current entry if it is a list of resources that may have to be changed.
func (p *pipe) giveList(e *nar.Entry) error {
	if p.bundles.Reseal == nil || !p.inBundle || !p.sealed || !p.bundles.WantsList(p.r.EntryPath().String()) {
		return nil
	}
	return p.give(e.Size)
}

// giveExecutable is give for the kept image, if its bundle may have to be sealed again.
func (p *pipe) giveExecutable(rep *macho.Report) error {
	if p.bundles.Reseal == nil || !p.inBundle || !p.bundles.Reseal.Wants(rep.Slices) {
		return nil
	}
	return p.give(p.kept.Size())
}

// reachHeld is reach while the output is held.
func (p *pipe) reachHeld(depth int) error {
	if p.bundles.Holds(depth) {
		if _, _, err := p.w.Divert(p.held); err != nil { // flushed
			return err
		}
	}
	p.bundles.Reach(depth)
	if err := p.bundles.Err(); err != nil || p.bundles.Holds(0) {
		return err
	}
	h := p.held
	p.held = nil
	defer h.Close()
	if _, _, err := p.w.Divert(h.out); err != nil {
		return err
	}
	var failed error // of the output
	err := h.DrainAll(func(b []byte) error {
		_, failed = h.out.Write(b)
		return failed
	})
	switch {
	case failed != nil:
		return fmt.Errorf("nar: write: %w", failed)
	case err != nil:
		return fmt.Errorf("keep a bundle: %w", err)
	}
	return nil
}

// Size implements macho.Image.
func (c *contents) Size() int64 { return c.size }

// ReadAt implements io.ReaderAt.
func (c *contents) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 || off >= c.size {
		return 0, io.EOF
	}
	short := int64(len(b)) > c.size-off
	if short {
		b = b[:c.size-off]
	}
	in, at := c.lies()
	n, err := in.ReadAt(b, at+off)
	if n == len(b) {
		err = nil
		if short {
			err = io.EOF
		}
	}
	return n, err
}

// WriteAt implements io.WriterAt.
func (c *contents) WriteAt(b []byte, off int64) (int, error) {
	if off < 0 || int64(len(b)) > c.size-off {
		return 0, errors.New("filter: write past the end of a file in a bundle")
	}
	in, at := c.lies()
	return in.WriteAt(b, at+off)
}

// lies returns the file with the contents, and their offset in it.
func (c *contents) lies() (in spill.File, at int64) {
	if item, ok := c.place.Spill.(*spill.Item); ok {
		return itemFile{item}, c.place.Offset
	}
	return heldFile{c.p.held.Buffer}, c.place.Offset - c.p.held.start
}

type (
	itemFile struct{ *spill.Item }
	heldFile struct{ *spill.Buffer }
)

func (itemFile) Close() error { return nil }
func (heldFile) Close() error { return nil }
