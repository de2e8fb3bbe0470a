package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"narseal/filter"
	"narseal/nar"
)

// job is one pass of a filter over one input.
type job struct {
	cfg   *filter.Config
	rep   *report // nil where none was asked for
	total filter.Result
}

// runFilter runs cfg from the command's INPUT to its --output.
func runFilter(c *cli.Context, t *terminal, cfg *filter.Config) error {
	name, err := inputArg(c)
	if err != nil {
		return err
	}
	in, err := openInput(name, c.App.Reader)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := openOutput(c.Context, c.String("output"), c.App.Writer)
	if err != nil {
		return err
	}
	defer out.abort()
	if sameFile(in.info, out.info) {
		return badUsage("write to another file, and rename it after", "input and output are the same file")
	}
	j := &job{cfg: cfg}
	cfg.Unsealed = func(s filter.Signature) { t.warnUnsealed(s.Path, &s.Slice) }
	if c.IsSet("report") {
		j.rep = &report{Schema: reportSchema, Command: c.Command.Name}
	}
	err = j.run(in, out)
	if err == nil {
		err = out.commit()
	}
	if err := errors.Join(err, j.writeReport(c, err)); err != nil {
		return err
	}
	t.inform("%s", j.summary())
	if n := j.total.Unsealed; n > 0 {
		return errUnsealed
	}
	return nil
}

func (j *job) run(in *input, out *output) error {
	var r io.Reader = in
	var w io.Writer = out
	if j.rep == nil {
		res, err := j.cfg.Run(nar.NewWriter(w), nar.NewReader(r))
		j.total = res
		return err
	}
	before, after := newDigest(), newDigest()
	r, w = digestReader{r, before}, digestWriter{w, after}
	var a archiveReport
	a.watch(j.cfg)
	res, err := j.cfg.Run(nar.NewWriter(w), nar.NewReader(r))
	j.total = res
	a.count(j.cfg, &res)
	j.rep.archiveReport = &a
	j.rep.Input = &streamReport{"nar", "none", before.size, before.sri()}
	if hash := after.sri(); err == nil {
		j.rep.Output = &streamReport{"nar", "none", after.size, hash}
	}
	return err
}

// writeReport writes the report of a run that ended in err.
func (j *job) writeReport(c *cli.Context, err error) error {
	if j.rep == nil {
		return nil
	}
	if err != nil {
		j.rep.Error = err.Error()
		j.rep.Output = nil
	}
	b, err := j.rep.encode()
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	out, err := openOutput(c.Context, c.String("report"), c.App.ErrWriter)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	defer out.abort()
	if _, err := out.Write(b); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return out.commit()
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
	if res.Unsealed > 0 {
		s += fmt.Sprintf(", %d that do not hold", res.Unsealed)
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
