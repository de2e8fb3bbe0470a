package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/report"
	"narseal/filter"
	"narseal/nar"
	"narseal/nar/compression"
)

// job is one pass of a filter over one input.
type job struct {
	cfg   *filter.Config
	rep   *report.Report // nil where none was asked for
	left  *report.Budget // for what it lists
	total filter.Result
}

// runFilter runs cfg from the command's INPUT to its --output.
func runFilter(c *cli.Context, t *terminal, cfg *filter.Config) error {
	name, err := inputArg(c)
	if err != nil {
		return err
	}
	in, err := openInput(name, c.App.Reader, t.progress)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := openArchive(c.Context, c.String("output"), c.App.Writer)
	if err != nil {
		return err
	}
	defer out.abort()
	if sameFile(in.info, out.info) {
		return badUsage("write to another file, and rename it after", "input and output are the same file")
	}
	j := &job{cfg: cfg}
	cfg.Observer.Invalid = func(s filter.Signature) { t.warnUnsealed(s.Path.Short(), &s.Slice) }
	var file *output
	if c.IsSet("report") {
		// What cannot be made is better known before the work than after it.
		if file, err = openReport(c, c.String("report")); err != nil {
			return err
		}
		defer file.abort()
		j.rep, j.left = report.New(c.Command.Name), report.NewBudget(report.DefaultBudget)
	}
	err = j.run(c, in, out)
	if err == nil {
		err = out.commit()
	}
	if err := errors.Join(err, j.writeReport(file, err)); err != nil {
		return err
	}
	t.inform("%s", j.summary())
	if n := j.total.Invalid; n > 0 {
		return errUnsealed
	}
	return nil
}

// run passes the input through the filter. What it leaves in out is not
// complete unless it returns nil.
func (j *job) run(c *cli.Context, in *input, out io.Writer) (err error) {
	s, err := openStream(in)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	t, err := s.outputCompression(c)
	if err != nil {
		return err
	}
	if c.Bool("spool") {
		if err := s.spool(exitsOf(c.Context)); err != nil {
			return err
		}
	}
	packed, err := compression.Compress(out, t, compression.Options{Level: c.Int("level")})
	if err != nil {
		return &usageError{err, ""}
	}
	r, w := s.Reader, io.Writer(packed)
	if t == compression.None {
		w = out
	}
	var before, after *report.StreamHash
	if j.rep != nil {
		before, after = report.NewStreamHash(), report.NewStreamHash()
		r, w = before.Reader(r), after.Writer(w)
		defer func() {
			j.rep.Input.Input = &report.Stream{Format: s.formatName(), Compression: string(s.compression), Size: before.Size(), NarHash: before.SRI()}
			j.rep.Output = &report.Stream{Format: s.formatName(), Compression: string(t), Size: after.Size(), NarHash: after.SRI()}
		}()
	}
	follow := func(r io.Reader) io.Reader {
		r, j.cfg.Observer.Entry = s.progress.follow(&endReader{r, exitsOf(c.Context).end})
		return r
	}
	if s.at != nil && j.cfg.Rules != nil {
		err = j.filterAt(s, w, before, follow)
	} else {
		err = j.filter(s.format, w, follow(r))
	}
	if err = s.explain(err); err == nil {
		err = packed.Close()
	}
	return err
}

// filterAt runs the filter over a stream that can be read again.
func (j *job) filterAt(s *stream, w io.Writer, before *report.StreamHash, follow func(io.Reader) io.Reader) (err error) {
	begun := false
	size := s.at.Size()
	j.total, err = j.cfg.RunAt(w, s.at, size, func(r io.Reader, moved int64) (io.Reader, error) {
		begun = true
		j.begin(s.format)
		if before != nil && moved >= 0 {
			// The digest is of the input as it lies there.
			if _, err := io.Copy(before, s.Reader); err != nil {
				return nil, fmt.Errorf("input: %w", err)
			}
		}
		r = s.count(r, size)
		if before != nil && moved < 0 {
			r = before.Reader(r)
		}
		return follow(r), nil
	})
	if begun {
		j.finish(s.format)
	}
	return err
}

// filter runs the filter over what a stream holds. What is neither format is
// read as a NAR, which says what is wrong with it.
func (j *job) filter(f nar.Format, w io.Writer, r io.Reader) (err error) {
	j.begin(f)
	if f != nar.FormatExport {
		j.total, err = j.cfg.Run(nar.NewWriter(w), nar.NewReader(r))
	} else {
		j.total, err = j.cfg.RunExport(nar.NewExportWriter(w), nar.NewExportReader(r))
	}
	j.finish(f)
	return err
}

// begin prepares the report for a run.
func (j *job) begin(f nar.Format) {
	if j.rep == nil {
		return
	}
	if f != nar.FormatExport {
		j.rep.Archive = report.NewArchive(j.left)
		j.rep.Record(j.cfg)
		return
	}
	var a *report.Archive
	rules := report.NewBudget(report.MaxRules)
	j.cfg.Observer.BeginArchive = func() {
		a = report.NewArchive(j.left)
		a.Record(j.cfg)
		j.rep.Archives = append(j.rep.Archives, a)
	}
	j.cfg.Observer.EndArchive = func(t *nar.Trailer, res *filter.Result) {
		a.StorePath = t.Path
		a.Count(j.cfg.Rules, res, rules.Take(len(res.Counts)))
	}
}

// finish adds to the report what the run counted.
func (j *job) finish(f nar.Format) {
	if j.rep == nil {
		return
	}
	if f == nar.FormatExport {
		j.rep.Totals = report.Rules(j.cfg.Rules, j.total.Counts, true)
	} else {
		j.rep.Count(j.cfg.Rules, &j.total, true)
	}
}

// writeReport writes the report of a run that ended in err.
func (j *job) writeReport(file *output, err error) error {
	if j.rep == nil {
		return nil
	}
	if err != nil {
		j.rep.Error = err.Error()
		j.rep.Output = nil
	}
	return file.writeReport(j.rep.Write)
}

// summary says in one line what was done.
func (j *job) summary() string {
	res := &j.total
	s := fmt.Sprintf("%s, %s, %s; ", count(res.Regular, "file", "files"),
		count(res.Directory, "directory", "directories"), count(res.Symlink, "symlink", "symlinks"))
	if j.cfg.Rules != nil {
		s += fmt.Sprintf("%s by %s; ", count(res.Replacements(), "replacement", "replacements"),
			count(int64(len(res.Counts)), "rule", "rules"))
	}
	s += fmt.Sprintf("%s resealed", count(res.Repaired, "signature", "signatures"))
	if res.Invalid > 0 {
		s += fmt.Sprintf(", %d that do not hold", res.Invalid)
	}
	return s
}

// count is a number with its noun.
func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
