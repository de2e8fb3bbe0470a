package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"narseal/filter"
	"narseal/macho"
	"narseal/nar"
)

func verifyCommand(t *terminal) *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "report every signature, change nothing",
		ArgsUsage: "[INPUT…]",
		Description: `INPUT is a NAR, a folder (such as a store path) or a Mach-O file; nothing, or -, is
stdin. The exit status is 3 where a signature does not hold.

narseal verify ./result`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "format", Value: "text", Usage: "`text` for people, or json: one object a slice and line"},
			&cli.BoolFlag{Name: "all", Usage: "list the signatures that hold, too"},
			jobsFlag,
		}, commonFlags()...),
		Action: func(c *cli.Context) error {
			t.configure(c)
			v, err := newVerifier(c, t)
			if err != nil {
				return err
			}
			names := c.Args().Slice()
			if len(names) == 0 {
				names = []string{"-"}
			}
			for _, name := range names {
				if err := v.input(c.Context, name); err != nil {
					v.fail(fmt.Errorf("%s: %w", name, err))
				}
			}
			if err := v.list.end(&v.tally); err != nil {
				return fmt.Errorf("output: %w", err)
			}
			return v.status()
		},
	}
}

// verifier is one call of verify.
type verifier struct {
	t      *terminal
	stdin  io.Reader
	cfg    *filter.Config
	list   signatureList
	name   string // of the input at hand
	loose  bool   // it is no archive
	tally  tally
	failed bool
}

func newVerifier(c *cli.Context, t *terminal) (*verifier, error) {
	v := &verifier{t: t, stdin: c.App.Reader}
	var err error
	if v.cfg, err = filterConfig(c); err != nil {
		return nil, err
	}
	v.cfg.Repair, v.cfg.Inspect = filter.RepairNone, true
	v.cfg.Signature = v.slice
	out, err := openOutput(c.Context, "-", c.App.Writer)
	if err != nil {
		return nil, err
	}
	v.list, err = newList(c.String("format"), out, c.Bool("all"))
	return v, err
}

// input verifies what one argument names.
func (v *verifier) input(ctx context.Context, name string) error {
	v.name, v.loose = name, false
	if name != "-" {
		info, err := os.Stat(name)
		if err != nil {
			return unwrapPath(err)
		}
		if info.IsDir() {
			return v.files(ctx, name)
		}
		if info.Mode().IsRegular() {
			if is, err := isMachO(name); err != nil {
				return unwrapPath(err)
			} else if is {
				return v.files(ctx, name)
			}
		}
	}
	in, err := openInput(name, v.stdin)
	if err != nil {
		return err
	}
	defer in.Close()
	res, err := v.cfg.Run(nil, nar.NewReader(in))
	v.tally.files += res.Regular
	v.tally.images += res.Images
	v.tally.hashed += res.Hashed
	return err
}

// files verifies a loose file, or all in a folder.
func (v *verifier) files(ctx context.Context, root string) error {
	v.loose = true
	var bundles macho.Bundles
	s := &sweep{jobs: v.cfg.Jobs, examine: func(f *looseFile, cfg macho.Config) (*macho.Report, error) {
		rep, err := cfg.Verify(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.path, err)
		}
		return rep, f.unchanged()
	}}
	err := s.run(ctx, root, func(l *looked) {
		if l.err != nil {
			v.fail(l.err)
			return
		}
		bundles.Reach(l.depth())
		if l.entry.Type().IsRegular() {
			v.tally.files++
		}
		if l.digest != nil {
			bundles.AddFile(l.inner, l.digest)
		}
		if l.report == nil {
			return
		}
		v.tally.images++
		v.tally.hashed += l.report.Hashed
		for _, s := range l.report.Slices {
			bundles.AddSlice(l.inner, s, func(s macho.Slice) { v.slice(filter.Signature{Path: l.path, Slice: s}) })
		}
	})
	bundles.Reach(0)
	return err
}

func (v *verifier) slice(s filter.Signature) {
	v.tally.count(&s.Slice)
	v.list.add(v.name, v.loose, s)
}

func (v *verifier) fail(err error) {
	v.failed = true
	v.t.fail(err)
}

// status is how the command ends: what could not be read outweighs a
// signature that does not hold.
func (v *verifier) status() error {
	switch {
	case v.failed:
		return errFailed
	case v.tally.broken > 0:
		return errUnsealed
	}
	return nil
}

func isMachO(name string) (bool, error) {
	f, err := os.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	prefix := make([]byte, 8)
	n, err := io.ReadFull(f, prefix)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return false, err
	}
	return macho.IsMachO(prefix[:n]), nil
}

// unwrapPath leaves out the path of an error that will be said with it.
func unwrapPath(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("%s: %w", p.Op, p.Err)
	}
	return err
}
