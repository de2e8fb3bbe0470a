package filter

import (
	"fmt"
	"io"

	"narseal/filter/refs"
	"narseal/macho"
	"narseal/nar"
)

// probeSize covers the load commands of nearly every image.
const probeSize = 4096

// contents passes on the contents of a regular file: an image with a signature once it is complete, anything else as it
// arrives.
func (p *pipe) contents(size int64) error {
	p.track, p.base = false, 0
	if p.unpacker != nil {
		head, err := p.r.Peek(int(min(size, refs.HeadSize)))
		if err != nil && err != io.EOF {
			return err
		}
		p.unpacker.Begin(p.r.EntryPath, head)
	}
	verdict, need := macho.Unsigned, int64(0)
	if p.signatures() {
		var head []byte
		var err error
		if head, verdict, need, err = p.probe(size); err != nil {
			return err
		}
		if verdict == macho.Unsigned {
			if err := p.unsigned(head, size); err != nil {
				return err
			}
		}
	}
	if verdict == macho.Unsigned {
		return p.copyTo(p.out, size)
	}
	if err := p.beginKept(size); err != nil {
		return err
	}
	hold := func(b []byte) error {
		if err := p.kept.Append(b, size); err != nil {
			return fmt.Errorf("keep %q: %w", p.r.EntryPath().Short(), err)
		}
		return nil
	}
	for verdict == macho.NeedMore {
		had := p.kept.Size()
		if err := p.copyTo(hold, need); err != nil {
			return err
		}
		if p.kept.Spilled() || p.kept.Size() == had {
			// Too large to probe in one piece: the repair decides.
			verdict = macho.Signed
			break
		}
		verdict, need = macho.Probe(p.kept.Bytes(), size)
	}
	if verdict == macho.Unsigned {
		p.track = false
		if err := p.unsigned(p.kept.Bytes(), size); err != nil {
			return err
		}
		if err := p.release(); err != nil {
			return err
		}
		return p.copyTo(p.out, size)
	}
	if err := p.gather(size, hold); err != nil {
		return err
	}
	if p.verifier == nil {
		if err := p.repair(); err != nil {
			return err
		}
		return p.release()
	}
	if err := p.release(); err != nil {
		return err
	}
	return p.verify()
}

// beginKept starts to keep an image of this size.
func (p *pipe) beginKept(size int64) error {
	if err := p.kept.Reset(); err != nil {
		return err
	}
	if p.verifier != nil {
		limit := p.spill.Limit()
		if err := p.verifier.reserve(min(size, limit), limit); err != nil {
			return err
		}
		if p.kept.Bytes() == nil {
			p.kept.Reuse(p.verifier.buffer())
		}
	}
	if !p.kept.Reserve(size) && size <= p.spill.Limit() && p.verifier != nil {
		// The images before this one may have the memory.
		if err := p.verifier.finish(); err != nil {
			return err
		}
		p.kept.Reserve(size)
	}
	if p.w != nil {
		if err := p.w.Withhold(); err != nil {
			return err
		}
	}
	p.track = p.c.Rules != nil
	p.touched.reset()
	return nil
}

// gather reads the rest of a signed image. If the image fits into memory, it is read there directly, and the bytes that
// no repair will change are passed on while they are in the CPU's cache.
func (p *pipe) gather(size int64, hold func([]byte) error) error {
	if p.kept.Spilled() {
		return p.copyTo(hold, size)
	}
	fixed := int64(0)
	for first := true; p.r.Remaining() > 0; first = false {
		if err := p.kept.ReadSome(p.r, size); err != nil {
			return err
		}
		p.settle(p.kept.Bytes()[p.base:], p.r.Remaining() == 0)
		if first && !(p.inBundle && p.bundles.Reseal != nil) {
			// Probe after the rules, since the repair sees the image in that form.
			fixed = macho.FixedPrefix(p.kept.Bytes()[:p.base], size)
		}
		if err := p.kept.Drain(min(p.base, fixed), p.out); err != nil {
			return err
		}
	}
	return nil
}

// verify verifies the image in a run that only verifies: a small one on another goroutine, a large one now, on all
// processors.
func (p *pipe) verify() error {
	if p.kept.Spilled() || p.kept.Size() >= wholeImage {
		if err := p.verifier.finish(); err != nil {
			return err
		}
		return p.repair()
	}
	path, depth := p.r.EntryPath(), p.depth
	options := verifyOptions{locate: p.c.Signatures.Locate, identify: p.inBundle}
	p.verifier.verify(p.kept.Detach(), options, func(rep *macho.Report, err error) error {
		if err != nil {
			return fmt.Errorf("signature of %q: %w", path.Short(), err)
		}
		return p.judge(path, depth, rep, false)
	})
	return nil
}

// inTurn calls f once all images before this entry are reported.
func (p *pipe) inTurn(f func()) error {
	if p.verifier == nil {
		f()
		return nil
	}
	p.verifier.then(f)
	return p.verifier.reserve(0, p.spill.Limit())
}

// reach announces an entry at this depth to the Checker of bundles.
func (p *pipe) reach(depth int) error {
	if p.held != nil {
		return p.reachHeld(depth)
	}
	if p.verifier == nil || len(p.verifier.queue) == 0 {
		p.bundles.Reach(depth)
		return nil
	}
	p.verifier.reach(depth, p.bundles.Reach)
	return nil
}

// release passes the image on.
func (p *pipe) release() error {
	if p.w == nil && p.digest == nil {
		return nil
	}
	var failed error // of the output, which says where it failed
	err := p.kept.DrainAll(func(b []byte) error {
		failed = p.out(b)
		return failed
	})
	if err != nil && failed == nil {
		return fmt.Errorf("keep %q: %w", p.r.EntryPath().Short(), err)
	}
	if err == nil && p.w != nil {
		err = p.w.Resume()
	}
	return err
}

// probe probes the start of the current file, and returns it.
func (p *pipe) probe(size int64) (head []byte, v macho.Verdict, need int64, err error) {
	b, err := p.r.Peek(int(min(size, 8)))
	if err == nil && macho.IsMachO(b) {
		b, err = p.r.Peek(int(min(size, probeSize)))
	}
	switch {
	case err != nil && err != io.EOF:
		return nil, v, 0, err
	case !macho.IsMachO(b):
		return nil, macho.Unsigned, 0, nil
	}
	v, need = macho.Probe(b, size)
	return b, v, need, nil
}

// unsigned reports the slices that need a signature in an image without any. head is the prefix that was passed to
// macho.Probe.
func (p *pipe) unsigned(head []byte, size int64) error {
	if len(head) == 0 || !p.c.Signatures.Unsigned {
		return nil
	}
	unsigned := macho.UnsignedSlices(head, size)
	if len(unsigned) == 0 {
		return nil
	}
	path := p.r.EntryPath()
	return p.inTurn(func() {
		for _, s := range unsigned {
			p.res.Unsigned++
			if p.c.Observer.Signature != nil {
				p.c.Observer.Signature(Signature{path, s})
			}
		}
	})
}

// image returns the kept image.
func (p *pipe) image() macho.Image {
	if p.kept.Spilled() {
		return p.kept
	}
	return macho.Bytes(p.kept.Bytes())
}

// repair repairs and verifies the image as the Config says.
func (p *pipe) repair() error {
	image, o := p.image(), &p.c.Signatures
	mc := macho.Config{Jobs: o.Jobs, OnCMS: o.OnCMS}
	touched := p.touched.within(image.Size())
	all := o.Repair == RepairAll
	var rep, before *macho.Report
	var err error
	if p.inBundle && p.bundles.Reseal != nil {
		if before, err = mc.RepairTouched(image, nil); err == nil {
			err = before.Identify(image)
		}
		if err != nil {
			return p.signatureError(err)
		}
	}
	switch {
	case all:
		rep, err = mc.Repair(image)
	case o.Repair == RepairTouched && len(touched) > 0:
		if rep, err = mc.RepairTouched(image, touched); err == nil {
			// Other parts of the image may have been stale before.
			var now *macho.Report
			if now, err = mc.Verify(image); err == nil {
				rep = merge(rep, now)
			}
		}
	case o.Verify, len(touched) > 0:
		rep, err = mc.Verify(image)
	default:
		// There is nothing to hash, but the rules may change files that the image seals.
		if rep, err = mc.RepairTouched(image, nil); err == nil && p.inBundle {
			err = rep.Identify(image)
		}
		if err == nil {
			if err = p.giveExecutable(rep); err == nil {
				p.addBundle(rep)
			}
			return err
		}
	}
	if err == nil && p.inBundle {
		err = rep.Identify(image)
	}
	if err == nil && o.Locate {
		err = locate(rep, image)
	}
	if err != nil {
		return p.signatureError(err)
	}
	if before != nil {
		rep.Was(before)
	}
	if err := p.giveExecutable(rep); err != nil {
		return err
	}
	return p.judge(p.r.EntryPath(), p.depth, rep, len(touched) > 0)
}

func (p *pipe) signatureError(err error) error {
	return fmt.Errorf("signature of %q: %w", p.r.EntryPath().Short(), err)
}

// merge returns the state of each slice after a repair, and whether the repair changed it.
func merge(repaired, now *macho.Report) *macho.Report {
	for i := range now.Slices {
		if i >= len(repaired.Slices) {
			break
		}
		was, is := &repaired.Slices[i], &now.Slices[i]
		is.Touched = was.Touched
		switch {
		case was.Status == macho.StatusRefused:
			// Verify finds the same, or something worse.
			if is.Status == macho.StatusRefused {
				*is = *was // with the slots that were recomputed
			}
		case !was.Status.OK():
			// It could not be repaired, and may also be stale.
			is.Status, is.Reason = was.Status, was.Reason
		case is.Status == macho.StatusValid && was.Status == macho.StatusRepaired:
			*is = *was // with the slots that were recomputed
		case is.Status == macho.StatusStale && was.Status == macho.StatusRepaired:
			is.Reason = "damaged where this run changed nothing"
		}
	}
	return now
}

// judge counts a report, passes it to the observer, and decides whether the run continues.
func (p *pipe) judge(path nar.Path, depth int, rep *macho.Report, touched bool) error {
	p.res.Images++
	p.res.Hashed += rep.Hashed
	asked := touched || p.c.Signatures.Repair == RepairAll
	var worst error
	for _, s := range rep.Slices {
		p.res.Slices++
		if s.Status.OK() && !s.OK() {
			p.res.Unsigned++
		}
		final := worst == nil && asked && p.refuses(s, touched)
		if final {
			worst = &SignatureError{path, s}
		}
		p.bundles.AddSlice(depth, path.String, s, func(s macho.Slice) {
			if s.Status == macho.StatusRepaired {
				p.res.Repaired++
			}
			if p.c.Observer.Signature != nil {
				p.c.Observer.Signature(Signature{path, s})
			}
			if !s.Status.OK() && (asked || s.Touched) {
				p.invalid(path, s, final)
			}
		})
	}
	return worst
}

// addBundle registers the slices of an image that the run does not verify, because it may change files that they seal.
func (p *pipe) addBundle(rep *macho.Report) {
	path := p.r.EntryPath()
	for _, s := range rep.Slices {
		p.bundles.AddSlice(p.depth, path.String, s, func(s macho.Slice) {
			switch {
			case s.Status == macho.StatusRepaired:
				p.res.Slices++
				p.res.Repaired++
				if p.c.Observer.Signature != nil {
					p.c.Observer.Signature(Signature{path, s})
				}
			case s.Status == macho.StatusBundle && s.Touched:
				p.invalid(path, s, false)
			}
		})
	}
}
