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

	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/scan"
	"narseal/filter"
	"narseal/macho"
	"narseal/nar"
)

var inPlaceFlag = &cli.BoolFlag{Name: "in-place", Usage: "repair loose files and folders instead of an archive"}

// inPlace is one call of repair --in-place.
type inPlace struct {
	t     *terminal
	exits *exits
	cms   macho.CMSPolicy
	rep   *report.Inputs
	links links
	dirs  folders

	mu       sync.Mutex
	replaced map[string]bool // by path; told of when its turn comes
	count    int64

	tally *report.Tally
	total report.Tally
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
	p := &inPlace{t: t, exits: x, cms: cfg.Signatures.OnCMS, rep: report.NewInputs(c.Command.Name, c.IsSet("report"), report.NewBudget(report.DefaultBudget)), dirs: folders{exits: x}, replaced: map[string]bool{}}
	for _, path := range c.Args().Slice() {
		p.path(c.Context, path, cfg.Signatures.Jobs)
	}
	p.links.outside(func(path string, names uint64) {
		t.inform("%s: %s of it elsewhere, with the old contents", path, count(int64(names), "hard link", "hard links"))
	})
	t.inform("%s; %s replaced", &p.total, count(p.count, "file", "files"))
	if p.rep.Wanted() {
		if err := writeReport(c, c.String("report"), p.rep.Report().Write); err != nil {
			return err
		}
	}
	switch {
	case p.total.Failed > 0:
		return errFailed
	case p.total.Invalid > 0:
		return errUnsealed
	}
	return nil
}

// path repairs what one argument names.
func (p *inPlace) path(ctx context.Context, path string, jobs int) {
	p.tally = &report.Tally{}
	rep := p.rep.Begin(path)
	kind, err := scan.Kind(path)
	if err == nil && kind == "" {
		err = &hintedError{errors.New("neither a folder nor a Mach-O file"), "narseal repair -o OUTPUT INPUT repairs an archive"}
	}
	if err == nil {
		rep.Input = &report.Stream{Format: kind, Compression: "none"}
		s := &scan.Scanner{Jobs: jobs, Examine: p.examine, Fail: p.fail, Entered: entered(p.t), Slice: func(path nar.Path, s macho.Slice) {
			p.tally.AddSlice(&s)
			rep.Add(filter.Signature{Path: path, Slice: s})
			if !s.Status.OK() {
				p.t.warnUnsealed(path.Short(), &s)
			}
		}, Found: func(r *scan.Result) {
			p.t.progress.add(r.Size)
			p.tally.AddFile(r.Type, r.Size, r.Report)
			if path := r.Path(); p.wasReplaced(path.String()) {
				p.t.inform("%s: repaired", path)
				rep.Change(filter.Change{Path: path, Contents: true})
			}
		}}
		err = s.Run(ctx, path)
	}
	if err != nil {
		p.fail(fmt.Errorf("%s: %w", path, err))
	}
	rep.End(p.tally, err)
	p.total.Sum(p.tally)
}

// fail says what could not be done. An image that --on-cms fail forbids to
// leave half repaired is told of as a signature that does not hold.
func (p *inPlace) fail(err error) {
	var seal *filter.SignatureError
	if !errors.As(err, &seal) {
		p.tally.Failed++
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

func (p *inPlace) setReplaced(f *scan.File) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replaced[f.Path().String()] = true
}

// examine repairs an image, or has it follow another name of the same file.
func (p *inPlace) examine(f *scan.File, cfg macho.Config) (*macho.Report, error) {
	cfg.OnCMS = p.cms
	if f.Inode.Nlink == 1 {
		_, rep, err := p.repair(f, cfg)
		return rep, err
	}
	l, first := p.links.claim(f)
	if first {
		replaced, rep, err := p.repair(f, cfg)
		now := ""
		if replaced {
			now = realName(f)
		}
		l.finish(now, rep, err)
		return rep, err
	}
	if l.err != nil {
		return l.report, fmt.Errorf("%s: a hard link of %s: %w", f.Path().String(), l.path, l.err)
	}
	if l.now == "" {
		return l.report, nil
	}
	leave, err := p.dirs.enter(filepath.Dir(realName(f)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path().String(), err)
	}
	if err = errors.Join(relink(p.exits, l.now, f), leave()); err != nil {
		return nil, fmt.Errorf("%s: link: %w", f.Path().String(), err)
	}
	p.setReplaced(f)
	return l.report, nil
}

// repair verifies an image, and replaces its file if that makes a signature
// hold.
func (p *inPlace) repair(f *scan.File, cfg macho.Config) (replaced bool, rep *macho.Report, err error) {
	if rep, err = cfg.Verify(f); err == nil {
		err = f.Unchanged()
	}
	if err != nil {
		return false, nil, fmt.Errorf("%s: %w", f.Path().String(), err)
	}
	want := false
	for _, s := range rep.Slices {
		switch {
		case s.Status == macho.StatusCMS && p.cms == macho.CMSFail:
			return false, rep, &filter.SignatureError{Path: f.Path(), Slice: s}
		case s.Status == macho.StatusStale, s.Status == macho.StatusCMS && p.cms == macho.CMSAdhoc:
			want = true
		}
	}
	if !want {
		return false, rep, nil
	}
	leave, err := p.dirs.enter(filepath.Dir(realName(f)))
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
		err = fmt.Errorf("%s: %w", f.Path().String(), err)
	}
	return replaced, rep, err
}

// replace puts a repaired copy in the place of a file.
func (p *inPlace) replace(f *scan.File, cfg macho.Config) (*macho.Report, error) {
	next, err := newSuccessor(p.exits, realName(f))
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
		p.t.warn("%s: extended attributes that cannot be kept: %s", f.Path().String(), strings.Join(lost, ", "))
	}
	if err := f.Unchanged(); err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Lstat(realName(f), &st); err != nil {
		return nil, fmt.Errorf("stat: %w", err)
	}
	if scan.StateOf(&st) != scan.StateOf(&f.Inode) {
		return nil, errors.New("another file has its name now")
	}
	return rep, next.commit()
}
