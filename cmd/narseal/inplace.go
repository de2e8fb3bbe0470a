package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"narseal/filter"
	"narseal/macho"
)

var inPlaceFlag = &cli.BoolFlag{Name: "in-place", Usage: "repair loose files and folders instead of an archive"}

// inPlace is one call of repair --in-place.
type inPlace struct {
	t     *terminal
	exits *exits
	cms   macho.CMSPolicy
	rep   *sweepReport
	links links
	dirs  folders

	mu       sync.Mutex
	replaced map[string]bool // by path; told of when its turn comes
	count    int64

	tally *tally
	total tally
}

func repairInPlace(c *cli.Context, t *terminal, cfg *filter.Config) error {
	for _, name := range []string{"output", "compression", "level"} {
		if c.IsSet(name) {
			return badUsage("", "--in-place replaces files, --%s is of archives", name)
		}
	}
	if c.NArg() == 0 {
		return badUsage("narseal repair --in-place PATH...", "--in-place wants a PATH")
	}
	x := exitsOf(c.Context)
	p := &inPlace{t: t, exits: x, cms: cfg.Signatures.OnCMS, rep: newSweepReport(c), dirs: folders{exits: x}, replaced: map[string]bool{}}
	for _, path := range c.Args().Slice() {
		p.path(c.Context, path, cfg.Signatures.Jobs)
	}
	p.links.outside(func(path string, names uint64) {
		t.inform("%s: %s of it elsewhere, with the old contents", path, count(int64(names), "hard link", "hard links"))
	})
	t.inform("%s; %s replaced", &p.total, count(p.count, "file", "files"))
	if p.rep.wanted {
		if err := p.rep.write(c); err != nil {
			return err
		}
	}
	switch {
	case p.total.failed > 0:
		return errFailed
	case p.total.broken > 0:
		return errUnsealed
	}
	return nil
}

// path repairs what one argument names.
func (p *inPlace) path(ctx context.Context, path string, jobs int) {
	p.tally = &tally{}
	rep := p.rep.begin(path)
	kind, err := looseKind(path)
	if err == nil && kind == "" {
		err = &hintedError{errors.New("neither a folder nor a Mach-O file"), "narseal repair -o OUTPUT INPUT repairs an archive"}
	}
	if err == nil {
		rep.Input = &streamReport{Format: kind, Compression: "none"}
		s := &sweep{jobs: jobs, examine: p.examine, fail: p.fail, tally: p.tally, progress: p.t.progress, slice: func(s filter.Signature) {
			rep.add(s)
			if !s.Status.OK() {
				p.t.warnUnsealed(s.Path, &s.Slice)
			}
		}, looked: func(l *looked) {
			if p.wasReplaced(l.path) {
				p.t.inform("%s: repaired", l.path)
				rep.change(filter.Change{Path: l.path, Contents: true})
			}
		}}
		err = s.run(ctx, path)
	}
	if err != nil {
		p.fail(fmt.Errorf("%s: %w", path, err))
	}
	rep.end(p.tally, err)
	p.total.sum(p.tally)
}

// fail says what could not be done. An image that --on-cms fail forbids to
// leave half repaired is told of as a signature that does not hold.
func (p *inPlace) fail(err error) {
	var seal *filter.SignatureError
	if !errors.As(err, &seal) {
		p.tally.failed++
	}
	p.t.fail(err)
}

func (p *inPlace) wasReplaced(path string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.replaced[path]
	if was {
		delete(p.replaced, path)
		p.count++
	}
	return was
}

func (p *inPlace) setReplaced(f *looseFile) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replaced[f.path] = true
}

// examine repairs an image, or has it follow another name of the same file.
func (p *inPlace) examine(f *looseFile, cfg macho.Config) (*macho.Report, error) {
	cfg.OnCMS = p.cms
	if f.stat.Nlink == 1 {
		_, rep, err := p.repair(f, cfg)
		return rep, err
	}
	l, first := p.links.claim(f)
	if first {
		replaced, rep, err := p.repair(f, cfg)
		now := ""
		if replaced {
			now = f.Name()
		}
		l.finish(now, rep, err)
		return rep, err
	}
	if l.err != nil {
		return l.report, fmt.Errorf("%s: a hard link of %s: %w", f.path, l.path, l.err)
	}
	if l.now == "" {
		return l.report, nil
	}
	leave, err := p.dirs.enter(filepath.Dir(f.Name()))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	if err = errors.Join(relink(p.exits, l.now, f), leave()); err != nil {
		return nil, fmt.Errorf("%s: link: %w", f.path, err)
	}
	p.setReplaced(f)
	return l.report, nil
}

// repair verifies an image, and replaces its file if that makes a signature
// hold.
func (p *inPlace) repair(f *looseFile, cfg macho.Config) (replaced bool, rep *macho.Report, err error) {
	if rep, err = cfg.Verify(f); err == nil {
		err = f.unchanged()
	}
	if err != nil {
		return false, nil, fmt.Errorf("%s: %w", f.path, err)
	}
	want := false
	for _, s := range rep.Slices {
		switch {
		case s.Status == macho.StatusCMS && p.cms == macho.CMSFail:
			return false, rep, &filter.SignatureError{Path: f.path, Slice: s}
		case s.Status == macho.StatusStale, s.Status == macho.StatusCMS && p.cms == macho.CMSAdhoc:
			want = true
		}
	}
	if !want {
		return false, rep, nil
	}
	leave, err := p.dirs.enter(filepath.Dir(f.Name()))
	if err == nil {
		var done *macho.Report
		done, err = p.replace(f, cfg)
		if err == nil {
			replaced, rep = true, done
			p.setReplaced(f)
		}
		err = errors.Join(err, leave())
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", f.path, err)
	}
	return replaced, rep, err
}

// replace puts a repaired copy in the place of a file.
func (p *inPlace) replace(f *looseFile, cfg macho.Config) (*macho.Report, error) {
	next, err := newSuccessor(p.exits, f.Name())
	if err != nil {
		return nil, err
	}
	defer next.abort()
	if next.size, err = io.Copy(next.File, io.LimitReader(f.File, f.Size())); err != nil {
		return nil, fmt.Errorf("copy: %w", err)
	}
	if next.size != f.Size() {
		return nil, fmt.Errorf("copy: offset %d: %w", next.size, io.ErrUnexpectedEOF)
	}
	rep, err := cfg.Repair(next)
	if err != nil {
		return nil, err
	}
	// The copy is on its own now: what it holds is what counts.
	check, err := macho.Config{Jobs: cfg.Jobs}.Verify(next)
	if err != nil {
		return nil, err
	}
	for i, s := range rep.Slices {
		if s.Status == macho.StatusRepaired && check.Slices[i].Status != macho.StatusValid {
			return nil, fmt.Errorf("%s slice at offset %d: repaired, but %s", s.Arch, s.Offset, describeState(&check.Slices[i]))
		}
	}
	rep.Hashed += check.Hashed
	lost, err := next.inherit(f)
	if err != nil {
		return nil, err
	}
	if len(lost) > 0 {
		p.t.warn("%s: extended attributes that cannot be kept: %s", f.path, strings.Join(lost, ", "))
	}
	if err := f.unchanged(); err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Lstat(f.Name(), &st); err != nil {
		return nil, fmt.Errorf("stat: %w", err)
	}
	if stateOf(&st) != f.state {
		return nil, errors.New("another file has its name now")
	}
	return rep, next.commit()
}
