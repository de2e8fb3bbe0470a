package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/htmlreport"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/scan"
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
			&cli.BoolFlag{Name: "all", Usage: "list valid signatures, too"},
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
			if err := restrict(c, t, inputsPolicy(c, names...)); err != nil {
				return err
			}
			for _, name := range names {
				v.input(c.Context, name)
			}
			if err := v.list.End(&v.total); err != nil {
				return fmt.Errorf("output: %w", err)
			}
			if c.IsSet("report") {
				if err := writeReport(c, c.String("report"), v.rep.Report().Write); err != nil {
					return err
				}
			}
			return v.status()
		},
	}
}

func formatFlag() cli.Flag {
	return choice("format", "text", "text|json|github", "text for people, json: one object a slice and line, or github: annotations and a job summary of a workflow")
}

// newList returns the list that --format names.
func newList(c *cli.Context, w io.Writer, left *report.Budget) report.List {
	if c.String("format") == "github" {
		return report.NewGitHub(w, os.Getenv("GITHUB_STEP_SUMMARY"))
	}
	return report.NewList(c.String("format"), w, c.Bool("all"), left)
}

// verifier is one call of verify.
type verifier struct {
	t     *terminal
	stdin io.Reader
	cfg   *filter.Config
	list  report.List
	rep   *report.Inputs
	left  *report.Budget // for what is kept of the inputs
	total report.Tally
	// Of the input at hand:
	name  string
	tally *report.Tally
}

func newVerifier(c *cli.Context, t *terminal, inputs []string) (*verifier, error) {
	left := report.NewBudget(report.DefaultBudget)
	v := &verifier{t: t, stdin: c.App.Reader, rep: report.NewInputs(c.Command.Name, c.IsSet("report"), left), left: left}
	var err error
	if v.cfg, err = filterConfig(c); err != nil {
		return nil, err
	}
	v.cfg.Signatures.Repair, v.cfg.Signatures.Verify = filter.RepairNone, true
	out, err := openOutput(c.Context, "-", c.App.Writer)
	if err != nil {
		return nil, err
	}
	v.list = newList(c, t.beside(out), left)
	if name := c.String("html"); name == "-" {
		return nil, badUsage("", "--html -: want the name of a file, stdout is for the list")
	} else if name != "" {
		file, err := openTo(c.Context, name, c.App.Writer)
		if err != nil {
			return nil, fmt.Errorf("--html: %w", err)
		}
		v.cfg.Signatures.Locate = true
		v.list = report.Lists{v.list, htmlreport.New(htmlreport.Options{
			Out: file, Commit: file.commit, Inputs: inputs, Version: versionString(), Budget: left,
		})}
	}
	return v, nil
}

// input verifies what one argument names, and says what goes wrong.
func (v *verifier) input(ctx context.Context, name string) {
	v.name, v.tally = name, &report.Tally{}
	in := v.rep.Begin(name)
	err := v.open(ctx, name, in)
	if err != nil {
		v.fail(fmt.Errorf("%s: %w", name, err))
	}
	in.End(v.tally, err)
	v.total.Sum(v.tally)
}

func (v *verifier) open(ctx context.Context, name string, rep *report.Input) error {
	if name != "-" {
		kind, err := scan.Kind(name)
		if err != nil {
			return err
		}
		if kind != "" {
			rep.Input = &report.Stream{Format: kind, Compression: "none"}
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

// machoPrefix is enough for macho.IsMachO to tell an image from a Java class.
const machoPrefix = 4096

// files verifies a loose file, or all in a folder.
func (v *verifier) files(ctx context.Context, root string, rep *report.Input) error {
	s := &scan.Scanner{
		Jobs: v.cfg.Signatures.Jobs,
		Examine: func(f *scan.File, cfg macho.Config) (*macho.Report, error) {
			found, err := cfg.Verify(f)
			if err == nil && v.cfg.Signatures.Locate {
				err = found.Locate(f)
			}
			if err == nil {
				err = f.Unchanged()
			}
			if err != nil {
				return nil, f.Wrap(err)
			}
			return found, nil
		},
		Found: func(r *scan.Result) {
			v.t.progress.add(r.Size)
			v.tally.AddFile(r.Type, r.Size, r.Report)
		},
		Slice: func(path nar.Path, s macho.Slice) {
			v.tally.AddSlice(&s)
			v.add(rep, filter.Signature{Path: path, Slice: s}, true)
		},
		Fail:    v.fail,
		Entered: entered(v.t),
	}
	return s.Run(ctx, root)
}

// stream verifies what an archive, or a stream of them, holds.
func (v *verifier) stream(ctx context.Context, in *input, rep *report.Input) error {
	s, err := openStream(in)
	if err != nil {
		return err
	}
	defer s.Close()
	r, entered := s.progress.follow(s.Reader)
	v.cfg.Observer.Entry = entered
	var sum *report.StreamHash
	if v.rep.Wanted() {
		sum = report.NewStreamHash()
		r = sum.Reader(r)
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
		rep.Input = &report.Stream{Format: s.formatName(), Compression: string(s.compression), Size: sum.Size(), NarHash: sum.SRI()}
	}
	return err
}

func (v *verifier) archive(r io.Reader, rep *report.Input) error {
	v.cfg.Observer.Signature = func(s filter.Signature) {
		v.tally.AddSlice(&s.Slice)
		v.add(rep, s, false)
	}
	res, err := v.cfg.Run(nil, nar.NewReader(r))
	v.tally.AddResult(&res)
	return err
}

// export verifies each archive of an export stream. An archive's store path
// stands behind it, and what is to be told of it waits until then.
func (v *verifier) export(r io.Reader, rep *report.Input) error {
	waiting := report.NewWaiting(v.left)
	v.cfg.Observer.Signature = func(s filter.Signature) {
		v.tally.AddSlice(&s.Slice)
		waiting.Add(s)
	}
	v.cfg.Observer.EndArchive = func(t *nar.Trailer, res *filter.Result) {
		rep.AddArchive(t.Path, waiting, res)
		waiting.Flush(v.list, v.name, t.Path)
	}
	res, err := v.cfg.RunExport(nil, nar.NewExportReader(r))
	waiting.Flush(v.list, v.name, "") // of an archive that was cut off
	v.tally.AddResult(&res)
	return err
}

// unknown verifies what is no archive: a Mach-O image that is not in a file
// of its own. Of all else it says why it is no archive.
func (v *verifier) unknown(ctx context.Context, r io.Reader, rep *report.Input) error {
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
	v.tally.Entries.Regular++
	v.tally.AddImage(found)
	for _, s := range found.Slices {
		v.tally.AddSlice(&s)
		v.add(rep, filter.Signature{Path: nar.NewPath(v.name), Slice: s}, true)
	}
	return ctx.Err()
}

// imageAt is an image in what can be read and written anywhere.
type imageAt struct {
	spill.File
	size int64
}

func (i imageAt) Size() int64 { return i.size }

// add lists a slice, and adds it to the report.
func (v *verifier) add(rep *report.Input, s filter.Signature, onDisk bool) {
	v.list.Add(&report.Item{Input: v.name, OnDisk: onDisk, Signature: s})
	rep.Add(s)
}

func (v *verifier) fail(err error) {
	v.tally.Failed++
	v.t.fail(err)
	v.list.Fail(err)
}

// status is how the command ends: what could not be read outweighs a
// signature that does not hold.
func (v *verifier) status() error {
	switch {
	case v.total.Failed > 0:
		return errFailed
	case v.total.Invalid > 0:
		return errUnsealed
	}
	return nil
}

// entered shows which file a scan has come to. It is nil where nothing is shown.
func entered(t *terminal) func(*scan.Entry) {
	if t.progress == nil {
		return nil
	}
	return func(e *scan.Entry) {
		path := e.Path().Short()
		t.progress.at(&path)
	}
}
