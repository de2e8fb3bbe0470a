package command

import (
	"errors"
	"fmt"
	"io"
	"runtime"

	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/input"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter"
	"narseal/nar"
	"narseal/nar/compression"
)

// Archive describes where a command reads an archive, and where and how it writes it.
type Archive struct {
	Input       string // a file, or Stream
	Output      string // a file, or Stream; empty: stdout unless that is a terminal
	Compression string // a name from package compression, or SameCompression
	Level       int    // 0: the format's default
	Spool       bool   // first copy an input that cannot be read twice to a temporary file
}

// SameCompression selects the compression of the input for the output.
const SameCompression = "same"

// open opens the input and the output of a command.
func (e *Env) open(o *Archive) (*input.Input, *atomicfile.Output, error) {
	in, err := input.Open(o.Input, e.Stdin, e.Terminal.Progress())
	if err != nil {
		return nil, nil, err
	}
	out, err := e.Archive(o.Output)
	if err == nil && atomicfile.SameFile(in.Info, out.Info) {
		out.Abort()
		err = terminal.Usage("write to another file, and rename it after", "input and output are the same file")
	}
	if err != nil {
		in.Close()
		return nil, nil, err
	}
	return in, out, nil
}

// filterRun is one filter run over one input.
type filterRun struct {
	*Env
	options *Archive
	cfg     *filter.Config
	rep     *report.Report // nil without --report
	budget  *report.Budget // for the lists in rep
	total   filter.Result
	invalid leftInvalid
}

// filter runs cfg from a command's input to its output.
func (e *Env) filter(command string, common *Common, o *Archive, cfg *filter.Config) error {
	in, out, err := e.open(o)
	if err != nil {
		return err
	}
	defer in.Close()
	defer out.Abort()
	e.archiveOnStop(o.Output)
	file, err := e.OpenReport(common.Report)
	if err != nil {
		return err
	}
	defer file.Abort()
	if err := e.restrictToArchive(common, o); err != nil {
		return err
	}
	r := &filterRun{Env: e, options: o, cfg: cfg}
	cfg.Observer.Invalid = func(s filter.Signature) {
		e.WarnInvalid(s.Path.Short(), &s.Slice)
		r.invalid.add(&s.Slice)
	}
	if file != nil {
		r.rep, r.budget = report.New(command), report.NewBudget(report.DefaultBudget)
	}
	err = r.run(in, out)
	if err == nil {
		err = commit(out)
	}
	if err := errors.Join(err, r.writeReport(file, err)); err != nil {
		return err
	}
	e.WarnUnused(cfg.Rules, r.total.Counts)
	r.invalid.hint(e, cfg.Signatures.Repair)
	e.Terminal.Infof("%s", r.summary())
	if cfg.Rules == nil {
		e.WarnUnsigned(r.total.Unsigned, "narseal verify")
	}
	if r.total.Invalid > 0 {
		return ErrInvalid
	}
	return nil
}

// archiveOnStop sets the message that describes the output when a signal stops the program.
func (e *Env) archiveOnStop(output string) {
	e.Cleanup.OnStop(func() string {
		if output == "" || output == Stream {
			return "the archive on stdout is incomplete"
		}
		return output + " was not written"
	})
}

// commit makes an output appear.
func commit(out *atomicfile.Output) error {
	if err := out.Commit(); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}

// run filters an input. The output is complete only if run returns nil.
func (r *filterRun) run(in *input.Input, out io.Writer) (err error) {
	in.Memory = r.cfg.Spill.Budget
	s, err := in.Stream()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	format, err := r.options.compression(s)
	if err != nil {
		return err
	}
	if r.options.Spool {
		if err := s.Spool(r.Cleanup); err != nil {
			return err
		}
	}
	level := compression.Options{Level: r.options.Level, Workers: runtime.GOMAXPROCS(0)}
	for !r.cfg.Spill.Budget.TryAcquire(level.Memory(format)) && level.Workers > 1 {
		level.Workers--
	}
	packed, err := compression.Compress(out, format, level)
	if err != nil {
		return terminal.Usage("", "%w", err)
	}
	w := io.Writer(packed)
	if format == compression.None {
		w = out
	}
	var before, after *report.StreamHash
	if r.rep != nil {
		before, after = report.NewStreamHash(), report.NewStreamHash()
		w = after.Writer(w)
		defer func() {
			r.rep.Input.Input = &report.Stream{Format: s.FormatName(), Compression: string(s.Compression), Size: before.Size(), NarHash: before.SRI()}
			r.rep.Output = &report.Stream{Format: s.FormatName(), Compression: string(format), Size: after.Size(), NarHash: after.SRI()}
		}()
	}
	if s.Seekable != nil && r.cfg.Rules != nil {
		err = r.filterAt(s, w, before)
	} else {
		err = r.filter(s, w, before)
	}
	if err = s.Explain(err); err == nil {
		err = packed.Close()
	}
	return err
}

// compression returns the compression of the output.
func (o *Archive) compression(s *input.Stream) (compression.Type, error) {
	t := s.Compression
	if o.Compression != SameCompression {
		var err error
		if t, err = compression.Parse(o.Compression); err != nil {
			return "", terminal.Usage("", "--compression: %w", err)
		}
	}
	if t.ReadOnly() {
		return "", terminal.Usage("say --compression xz, or another one", "--compression %s: %s can be read, not written", o.Compression, t)
	}
	return t, nil
}

// filterAt filters a stream that can be read twice, so that renamed entries can move.
func (r *filterRun) filterAt(s *input.Stream, w io.Writer, before *report.StreamHash) (err error) {
	begun := false
	size := s.Seekable.Size()
	r.total, err = r.cfg.RunAt(w, s.Seekable, size, func(src io.Reader, moved int64) (io.Reader, error) {
		begun = true
		r.begin(s.Format)
		if before != nil && moved >= 0 {
			// src reads entries in another order, but the hash is that of the input as it is stored.
			if _, err := io.Copy(before, s); err != nil {
				return nil, fmt.Errorf("input: %w", err)
			}
		}
		src = s.Count(src, size)
		if before != nil && moved < 0 {
			src = before.Reader(src)
		}
		return r.follow(src), nil
	})
	if begun {
		r.finish(s.Format)
	}
	return err
}

// filter filters a stream that can be read only once. An unknown format is read as a NAR, so that the error says how it
// differs from one.
func (r *filterRun) filter(s *input.Stream, w io.Writer, before *report.StreamHash) (err error) {
	src := s.Reader
	if before != nil {
		src = before.Reader(src)
	}
	src = r.follow(src)
	r.begin(s.Format)
	if s.Format != nar.FormatExport {
		r.total, err = r.cfg.Run(nar.NewWriter(w), nar.NewReader(src))
	} else {
		r.total, err = r.cfg.RunExport(nar.NewExportWriter(w), nar.NewExportReader(src))
	}
	r.finish(s.Format)
	return err
}

// follow returns a reader of src that makes the progress line show the current entry.
func (r *filterRun) follow(src io.Reader) io.Reader {
	src, r.cfg.Observer.Entry = r.Terminal.Progress().Follow(r.Cleanup.CompleteAtEOF(r.budget.Reader(src)))
	return src
}

// begin prepares the report for a run.
func (r *filterRun) begin(f nar.Format) {
	if r.rep == nil {
		return
	}
	if f != nar.FormatExport {
		r.rep.Archive = report.NewArchive(r.budget)
		r.rep.Record(r.cfg)
		report.UnsignedWarn.ApplyTo(r.cfg)
		return
	}
	var a *report.Archive
	rules := report.NewBudget(report.MaxRules)
	r.cfg.Observer.BeginArchive = func() {
		a = r.rep.BeginArchive(r.budget)
		a.Record(r.cfg)
		report.UnsignedWarn.ApplyTo(r.cfg)
	}
	r.cfg.Observer.EndArchive = func(t *nar.Trailer, res *filter.Result) {
		r.rep.EndArchive(a, t.Path)
		a.Count(r.cfg.Rules, res, rules.Take(len(res.Counts)))
	}
}

// finish adds the run's counts to the report.
func (r *filterRun) finish(f nar.Format) {
	switch {
	case r.rep == nil:
	case f == nar.FormatExport:
		r.rep.Totals = report.Rules(r.cfg.Rules, r.total.Counts, true)
	default:
		r.rep.Count(r.cfg.Rules, &r.total, true)
	}
}

// writeReport writes the report of a run that ended in err.
func (r *filterRun) writeReport(file *ReportFile, err error) error {
	if file == nil {
		return nil
	}
	if err != nil {
		r.rep.Error = err.Error()
		r.rep.Output = nil
	}
	return file.Write(r.rep.Write)
}

// summary describes in one line what the run did.
func (r *filterRun) summary() string {
	res := &r.total
	s := fmt.Sprintf("%s, %s, %s; ", report.Plural(res.Regular, "file", "files"),
		report.Plural(res.Directory, "directory", "directories"), report.Plural(res.Symlink, "symlink", "symlinks"))
	if r.cfg.Rules != nil {
		s += fmt.Sprintf("%s by %s; ", report.Plural(res.Replacements(), "replacement", "replacements"),
			report.Plural(int64(len(res.Counts)), "rule", "rules"))
	}
	s += fmt.Sprintf("%s repaired", report.Plural(res.Repaired, "signature", "signatures"))
	if res.Invalid > 0 {
		s += fmt.Sprintf(", %d invalid", res.Invalid)
	}
	return s
}
