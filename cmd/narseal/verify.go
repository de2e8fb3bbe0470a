package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"narseal/filter"
	"narseal/filter/spill"
	"narseal/macho"
	"narseal/nar"
)

func verifyCommand(t *terminal) *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "report every signature, change nothing",
		ArgsUsage: "[INPUT...]",
		Description: `INPUT is a NAR or an export stream, raw or compressed, a folder (such as a store
path) or a Mach-O file; nothing, or -, is stdin. The exit status is 3 where a
signature does not hold.

  narseal verify ./result`,
		Flags: append([]cli.Flag{
			formatFlag(),
			&cli.StringFlag{Name: "html", Usage: "write a page with the bad pages of each image to `FILE`, to be looked at"},
			&cli.BoolFlag{Name: "all", Usage: "list the signatures that hold, too"},
			jobsFlag,
		}, commonFlags()...),
		Action: func(c *cli.Context) error {
			t.configure(c)
			names := c.Args().Slice()
			if len(names) == 0 {
				names = []string{"-"}
			}
			v, err := newVerifier(c, t, names)
			if err != nil {
				return err
			}
			for _, name := range names {
				v.input(c.Context, name)
			}
			if err := v.list.end(&v.total); err != nil {
				return fmt.Errorf("output: %w", err)
			}
			if c.IsSet("report") {
				if err := v.rep.write(c); err != nil {
					return err
				}
			}
			return v.status()
		},
	}
}

// verifier is one call of verify.
type verifier struct {
	t     *terminal
	stdin io.Reader
	cfg   *filter.Config
	list  signatureList
	rep   *sweepReport
	total tally
	// Of the input at hand:
	name  string
	tally *tally
}

func newVerifier(c *cli.Context, t *terminal, inputs []string) (*verifier, error) {
	v := &verifier{t: t, stdin: c.App.Reader, rep: newSweepReport(c)}
	var err error
	if v.cfg, err = filterConfig(c); err != nil {
		return nil, err
	}
	v.cfg.Signatures.Repair, v.cfg.Signatures.Verify = filter.RepairNone, true
	out, err := openOutput(c.Context, "-", c.App.Writer)
	if err != nil {
		return nil, err
	}
	v.list = newList(c.String("format"), t.beside(out), c.Bool("all"))
	if name := c.String("html"); name == "-" {
		return nil, badUsage("", "--html -: want the name of a file, stdout is for the list")
	} else if name != "" {
		file, err := openTo(c.Context, name, c.App.Writer)
		if err != nil {
			return nil, fmt.Errorf("--html: %w", err)
		}
		v.cfg.Signatures.Locate = true
		v.list = lists{v.list, &picture{out: file, inputs: inputs}}
	}
	return v, nil
}

// input verifies what one argument names, and says what goes wrong.
func (v *verifier) input(ctx context.Context, name string) {
	v.name, v.tally = name, &tally{}
	in := v.rep.begin(name)
	err := v.open(ctx, name, in)
	if err != nil {
		v.fail(fmt.Errorf("%s: %w", name, err))
	}
	in.end(v.tally, err)
	v.total.sum(v.tally)
}

func (v *verifier) open(ctx context.Context, name string, rep *inputReport) error {
	if name != "-" {
		kind, err := looseKind(name)
		if err != nil {
			return err
		}
		if kind != "" {
			rep.Input = &streamReport{Format: kind, Compression: "none"}
			return v.files(ctx, name, rep)
		}
	}
	in, err := openInput(name, v.stdin, v.t.progress)
	if err != nil {
		return err
	}
	defer in.Close()
	return v.stream(ctx, in, rep)
}

// looseKind tells what a name is that holds no archive: a directory, or a
// Mach-O file. Else it is empty.
func looseKind(name string) (string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", unwrapPath(err)
	}
	switch {
	case info.IsDir():
		return "directory", nil
	case !info.Mode().IsRegular():
		return "", nil
	}
	f, err := os.Open(name)
	if err != nil {
		return "", unwrapPath(err)
	}
	defer f.Close()
	prefix := make([]byte, machoPrefix)
	n, err := io.ReadFull(f, prefix)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return "", unwrapPath(err)
	}
	if macho.IsMachO(prefix[:n]) {
		return "file", nil
	}
	return "", nil
}

// machoPrefix is enough for macho.IsMachO to tell an image from a Java class.
const machoPrefix = 4096

// files verifies a loose file, or all in a folder.
func (v *verifier) files(ctx context.Context, root string, rep *inputReport) error {
	s := &sweep{
		jobs: v.cfg.Signatures.Jobs,
		examine: func(f *looseFile, cfg macho.Config) (*macho.Report, error) {
			found, err := cfg.Verify(f)
			if err == nil && v.cfg.Signatures.Locate {
				err = found.Locate(f)
			}
			if err == nil {
				err = f.unchanged()
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.path, err)
			}
			return found, nil
		},
		slice: func(s filter.Signature) {
			v.list.add(v.name, "", true, s)
			rep.add(s)
		},
		fail:     v.fail,
		tally:    v.tally,
		progress: v.t.progress,
	}
	return s.run(ctx, root)
}

// stream verifies what an archive, or a stream of them, holds.
func (v *verifier) stream(ctx context.Context, in *input, rep *inputReport) error {
	s, err := openStream(in)
	if err != nil {
		return err
	}
	defer s.Close()
	r, entered := s.progress.follow(s.Reader)
	v.cfg.Observer.Entry = entered
	var sum *digest
	if v.rep.wanted {
		sum = newDigest()
		r = digestReader{r, sum}
	}
	switch s.format {
	case nar.FormatExport:
		err = v.export(r, rep)
	case nar.FormatNAR:
		err = v.archive(r, rep)
	default:
		err = s.explain(v.unknown(ctx, r, rep))
	}
	if sum != nil {
		rep.Input = &streamReport{s.formatName(), string(s.compression), sum.size, sum.sri()}
	}
	return err
}

func (v *verifier) archive(r io.Reader, rep *inputReport) error {
	v.cfg.Observer.Signature = func(s filter.Signature) {
		v.tally.count(&s.Slice)
		v.list.add(v.name, "", false, s)
		rep.add(s)
	}
	res, err := v.cfg.Run(nil, nar.NewReader(r))
	v.tally.addResult(&res)
	return err
}

// export verifies each archive of an export stream. An archive's store path
// stands behind it, and what is to be told of it waits until then.
func (v *verifier) export(r io.Reader, rep *inputReport) error {
	var wait []filter.Signature
	tell := func(storePath string) {
		for _, s := range wait {
			v.list.add(v.name, storePath, false, s)
		}
		wait = nil
	}
	v.cfg.Observer.Signature = func(s filter.Signature) {
		v.tally.count(&s.Slice)
		wait = append(wait, s)
	}
	v.cfg.Observer.EndArchive = func(t *nar.Trailer, res *filter.Result) {
		rep.archive(t.Path, wait, res)
		tell(t.Path)
	}
	res, err := v.cfg.RunExport(nil, nar.NewExportReader(r))
	tell("") // of an archive that was cut off
	v.tally.addResult(&res)
	return err
}

// unknown verifies what is no archive: a Mach-O image that is not in a file
// of its own. Of all else it says why it is no archive.
func (v *verifier) unknown(ctx context.Context, r io.Reader, rep *inputReport) error {
	head := make([]byte, machoPrefix)
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	r = io.MultiReader(&prefix{head[:n]}, r)
	if !macho.IsMachO(head[:n]) {
		return v.archive(r, rep)
	}
	f, err := v.cfg.Spill.Open()
	if err != nil {
		return fmt.Errorf("temporary file: %w", err)
	}
	defer f.Close()
	size, err := io.Copy(io.NewOffsetWriter(f, 0), r)
	if err != nil {
		return err
	}
	image := imageAt{f, size}
	found, err := macho.Config{Jobs: v.cfg.Signatures.Jobs}.Verify(image)
	if err == nil && v.cfg.Signatures.Locate {
		err = found.Locate(image)
	}
	if err != nil {
		return err
	}
	v.tally.entries.Regular++
	v.tally.images++
	v.tally.hashed += found.Hashed
	for _, s := range found.Slices {
		v.tally.count(&s)
		sig := filter.Signature{Path: v.name, Slice: s}
		v.list.add(v.name, "", true, sig)
		rep.add(sig)
	}
	return ctx.Err()
}

// imageAt is an image in what can be read and written anywhere.
type imageAt struct {
	spill.File
	size int64
}

func (i imageAt) Size() int64 { return i.size }

func (v *verifier) fail(err error) {
	v.tally.failed++
	v.t.fail(err)
	v.list.fail(err)
}

// status is how the command ends: what could not be read outweighs a
// signature that does not hold.
func (v *verifier) status() error {
	switch {
	case v.total.failed > 0:
		return errFailed
	case v.total.broken > 0:
		return errUnsealed
	}
	return nil
}

// unwrapPath leaves out the path of an error that will be said with it.
func unwrapPath(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("%s: %w", p.Op, p.Err)
	}
	return err
}
