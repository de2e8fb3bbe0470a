package filter

import (
	"fmt"
	"io"

	"narseal/macho"
)

// probeSize covers the load commands of nearly every image.
const probeSize = 4096

// contents passes a regular file on: an image with a signature by way of
// held, all else as it comes.
func (p *pipe) contents(size int64) error {
	p.track, p.base = false, 0
	if p.diver != nil {
		head, err := p.r.Peek(int(min(size, headSize)))
		if err != nil && err != io.EOF {
			return err
		}
		p.diver.begin(p.r.Path, head)
	}
	verdict, need := macho.Unsigned, int64(0)
	if p.looks() {
		var err error
		if verdict, need, err = p.probe(size); err != nil {
			return err
		}
	}
	if verdict == macho.Unsigned {
		return p.copy(p.out, size)
	}
	if err := p.held.reset(); err != nil {
		return err
	}
	if p.ahead != nil {
		if err := p.ahead.room(min(size, p.holdMemory()), p.holdMemory()); err != nil {
			return err
		}
		if p.held.mem == nil {
			p.held.mem = p.ahead.buffer()
		}
	}
	if p.w != nil {
		if err := p.w.Withhold(); err != nil {
			return err
		}
	}
	p.track = p.c.Rules != nil
	p.touched.reset()
	hold := func(b []byte) error {
		if err := p.held.add(b, size, p.holdMemory(), p.c.Scratch); err != nil {
			return fmt.Errorf("hold %q: %w", p.r.Path(), err)
		}
		return nil
	}
	for verdict == macho.NeedMore {
		had := p.held.size
		if err := p.copy(hold, need); err != nil {
			return err
		}
		if p.held.scratch != nil || p.held.size == had {
			// Too large to look at in one piece: the repair will tell.
			verdict = macho.Signed
			break
		}
		verdict, need = macho.Probe(p.held.mem, size)
	}
	if verdict == macho.Unsigned {
		p.track = false
		if err := p.release(); err != nil {
			return err
		}
		return p.copy(p.out, size)
	}
	if err := p.gather(size, hold); err != nil {
		return err
	}
	if p.ahead == nil {
		if err := p.seal(); err != nil {
			return err
		}
		return p.release()
	}
	if err := p.release(); err != nil {
		return err
	}
	return p.look()
}

// gather holds the rest of a signed image. Where that is in memory it is read
// there at once, and what no repair will change is passed on while it is fresh.
func (p *pipe) gather(size int64, hold func([]byte) error) error {
	if size > p.holdMemory() {
		return p.copy(hold, size)
	}
	fixed := int64(0)
	for first := true; p.r.Remaining() > 0; first = false {
		if err := p.held.readFrom(p.r, size); err != nil {
			return err
		}
		p.settle(p.held.mem[p.base:], p.r.Remaining() == 0)
		if first {
			// As the repair will see it: the rules may have changed even that.
			fixed = macho.FixedPrefix(p.held.mem[:p.base], size)
		}
		if err := p.held.passOn(min(p.base, fixed), p.out); err != nil {
			return err
		}
	}
	return nil
}

// look verifies the held image in a run that only looks: a small one on
// another goroutine, a large one at once and on all.
func (p *pipe) look() error {
	if p.held.scratch != nil || p.held.size >= wholeImage {
		if err := p.ahead.finish(); err != nil {
			return err
		}
		return p.seal()
	}
	path := p.r.Path()
	p.ahead.verify(p.held.mem, p.c.Locate, func(rep *macho.Report, err error) error {
		if err != nil {
			return fmt.Errorf("signature of %q: %w", path, err)
		}
		return p.judge(path, rep, false)
	})
	p.held.mem = nil
	return nil
}

// inTurn calls f when all images before are told of.
func (p *pipe) inTurn(f func()) error {
	if p.ahead == nil {
		f()
		return nil
	}
	p.ahead.then(f)
	return p.ahead.room(0, p.holdMemory())
}

// reach tells the bundles that an entry with this many folders around it comes.
func (p *pipe) reach(depth int) {
	if p.ahead == nil || len(p.ahead.queue) == 0 {
		p.bundles.Reach(depth)
		return
	}
	p.ahead.reach(depth, p.bundles.Reach)
}

// release passes the held image on.
func (p *pipe) release() error {
	if p.w == nil && p.digest == nil {
		return nil
	}
	var failed error // of the output, which says where it failed
	err := p.held.writeTo(func(b []byte) error {
		failed = p.out(b)
		return failed
	})
	if err != nil && failed == nil {
		return fmt.Errorf("hold %q: %w", p.r.Path(), err)
	}
	if err == nil && p.w != nil {
		err = p.w.Resume()
	}
	return err
}

// probe looks at the start of the file at hand.
func (p *pipe) probe(size int64) (v macho.Verdict, need int64, err error) {
	b, err := p.r.Peek(int(min(size, 8)))
	if err == nil && macho.IsMachO(b) {
		b, err = p.r.Peek(int(min(size, probeSize)))
	}
	switch {
	case err != nil && err != io.EOF:
		return v, 0, err
	case !macho.IsMachO(b):
		return macho.Unsigned, 0, nil
	}
	v, need = macho.Probe(b, size)
	return v, need, nil
}

func (p *pipe) holdMemory() int64 {
	if p.c.HoldMemory > 0 {
		return p.c.HoldMemory
	}
	return DefaultHoldMemory
}

// seal repairs and verifies the held image as the Config asks.
func (p *pipe) seal() error {
	image := p.held.image()
	mc := macho.Config{Jobs: p.c.Jobs, OnCMS: p.c.OnCMS}
	touched := p.touched.within(image.Size())
	all := p.c.Repair == RepairAll
	var rep *macho.Report
	var err error
	switch {
	case all:
		rep, err = mc.Repair(image)
	case p.c.Repair == RepairTouched && len(touched) > 0:
		if rep, err = mc.RepairTouched(image, touched); err == nil {
			// The rest of the image may have been damaged before.
			var now *macho.Report
			if now, err = mc.Verify(image); err == nil {
				rep = merge(rep, now)
			}
		}
	case p.c.Inspect, len(touched) > 0:
		rep, err = mc.Verify(image)
	default:
		// Nothing to hash, but the rules may touch what it seals.
		if rep, err = mc.RepairTouched(image, nil); err == nil {
			p.watchBundle(rep)
			return nil
		}
	}
	if err == nil && p.c.Locate {
		err = rep.Locate(image)
	}
	if err != nil {
		return fmt.Errorf("signature of %q: %w", p.r.Path(), err)
	}
	return p.judge(p.r.Path(), rep, len(touched) > 0)
}

// merge tells of each slice what holds after a repair, and whether the
// repair did it.
func merge(repaired, now *macho.Report) *macho.Report {
	for i := range now.Slices {
		if i >= len(repaired.Slices) {
			break
		}
		was, is := &repaired.Slices[i], &now.Slices[i]
		is.Touched = was.Touched
		switch {
		case was.Status == macho.StatusRefused:
			// Verify says so too, or what is worse.
			if is.Status == macho.StatusRefused {
				*is = *was // with the slots that were recomputed
			}
		case !was.Status.OK():
			// What could not be repaired, even where it is stale besides.
			is.Status, is.Reason = was.Status, was.Reason
		case is.Status == macho.StatusValid && was.Status == macho.StatusRepaired:
			*is = *was // with the slots that were recomputed
		case is.Status == macho.StatusStale && was.Status == macho.StatusRepaired:
			is.Reason = "damaged where this run changed nothing"
		}
	}
	return now
}

// judge counts a report, passes it on, and decides whether the run may go on.
func (p *pipe) judge(path string, rep *macho.Report, touched bool) error {
	p.res.Images++
	p.res.Hashed += rep.Hashed
	asked := touched || p.c.Repair == RepairAll
	var worst error
	for _, s := range rep.Slices {
		p.res.Slices++
		if s.Status == macho.StatusRepaired {
			p.res.Repaired++
		}
		final := worst == nil && asked && p.refuses(s, touched)
		if final {
			worst = &SealError{path, s}
		}
		p.bundles.AddSlice(path, s, func(s macho.Slice) {
			if p.c.Signature != nil {
				p.c.Signature(Signature{path, s})
			}
			if !s.Status.OK() && (asked || s.Touched) {
				p.unsealed(path, s, final)
			}
		})
	}
	return worst
}

// watchBundle minds the slices of an image that the run does not look at, in
// case that it changes what they seal.
func (p *pipe) watchBundle(rep *macho.Report) {
	path := p.r.Path()
	for _, s := range rep.Slices {
		p.bundles.AddSlice(path, s, func(s macho.Slice) {
			if s.Status == macho.StatusBundle && s.Touched {
				p.unsealed(path, s, false)
			}
		})
	}
}

// unsealed counts a slice that does not hold; final if it ends the run.
func (p *pipe) unsealed(path string, s macho.Slice, final bool) {
	p.res.Unsealed++
	if p.c.Unsealed != nil && !final {
		p.c.Unsealed(Signature{path, s})
	}
}

// refuses tells whether a slice that does not hold ends the run: a run that
// touched it must not pass it on unless told so, a run that only repairs
// passes on what was broken before. touched is about the whole image.
func (p *pipe) refuses(s macho.Slice, touched bool) bool {
	if p.c.OnCMS == macho.CMSKeep || p.c.Repair == RepairNone {
		return false
	}
	switch s.Status {
	case macho.StatusCMS:
		return s.Touched
	case macho.StatusUnsupported:
		return touched && s.Touched
	case macho.StatusMalformed:
		// Which bytes are the slice's is not certain.
		return touched
	}
	return false
}
