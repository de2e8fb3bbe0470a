package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/cleanup"
	ui "narseal/cmd/narseal/internal/terminal"
	"narseal/filter/spill"
)

// This file lets the command files that have not moved yet use the packages under internal by their old names.

// Of internal/terminal:

type terminal struct {
	*ui.Terminal
	stderr   io.Writer
	quiet    bool
	verbose  bool
	progress *progress
}

func (t *terminal) base() *ui.Terminal {
	if t.Terminal == nil {
		t.Terminal = ui.New(t.stderr, hintFor)
	}
	return t.Terminal
}

func (t *terminal) configure(c *cli.Context) {
	t.quiet, t.verbose = c.Bool("quiet"), c.Bool("verbose")
	t.startProgress(ui.Mode(c.String("progress")))
}

const progressLines = ui.Lines

func (t *terminal) startProgress(m ui.Mode) {
	t.base().Configure(ui.Options{Quiet: t.quiet, Verbose: t.verbose, Progress: m})
	t.progress = &progress{t.Progress()}
}

func (t *terminal) fail(err error)                    { t.base().Error(err) }
func (t *terminal) warn(format string, args ...any)   { t.base().Warnf(format, args...) }
func (t *terminal) inform(format string, args ...any) { t.base().Infof(format, args...) }
func (t *terminal) beside(w io.Writer) io.Writer      { return t.base().Beside(w) }
func isTerminal(stream any) bool                      { return ui.IsTerminal(stream) }
func printable(s string) string                       { return ui.Printable(s) }
func badUsage(hint, format string, args ...any) error { return ui.Usage(hint, format, args...) }

type usageError struct {
	error
	hint string
}

func (e *usageError) Unwrap() error { return ui.Usage(e.hint, "%w", e.error) }

type hintedError struct {
	error
	hint string
}

func (e *hintedError) Unwrap() error { return ui.Hint(e.error, e.hint) }

type progress struct{ p *ui.Progress }

func (p *progress) get() *ui.Progress {
	if p == nil {
		return nil
	}
	return p.p
}

func (p *progress) begin(bytes int64)                 { p.get().Begin(bytes) }
func (p *progress) beginItems(items, bytes int64)     { p.get().BeginItems(items, bytes) }
func (p *progress) setTotals(items, bytes int64)      { p.get().SetTotals(items, bytes) }
func (p *progress) add(n int64)                       { p.get().Add(n) }
func (p *progress) addItem()                          { p.get().AddItem() }
func (p *progress) at(name *string)                   { p.get().At(name) }
func (p *progress) count(r io.Reader) io.Reader       { return p.get().Count(r) }
func (p *progress) countAt(r io.ReaderAt) io.ReaderAt { return p.get().CountAt(r) }
func (p *progress) follow(r io.Reader) (io.Reader, func(path func() string)) {
	return p.get().Follow(r)
}

// Of internal/cleanup:

type exits struct{ *cleanup.Registry }

type exitsKey struct{}

func exitsOf(ctx context.Context) *exits {
	x, _ := ctx.Value(exitsKey{}).(*cleanup.Registry)
	return &exits{x}
}

func (x *exits) end() { x.OutputComplete() }
func (x *exits) hold(create func() (undo func(), err error)) (release func(last func() error) error, err error) {
	return x.Hold(create)
}

type endReader struct {
	io.Reader
	end func()
}

func (r *endReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		r.end()
	}
	return n, err
}

// Of internal/atomicfile:

type output struct {
	*atomicfile.Output
	info fs.FileInfo
}

func (o *output) commit() error { return o.Commit() }
func (o *output) abort()        { o.Abort() }

// openOutput opens what -o names. An empty name is stdout unless that is a terminal.
func openOutput(ctx context.Context, name string, stdout io.Writer) (*output, error) {
	if name == "" && isTerminal(stdout) {
		return nil, badUsage("redirect it, name a file with -o FILE, or say -o - if this is what you want",
			"output: refusing to write an archive to a terminal")
	}
	o, err := openTo(ctx, name, stdout)
	if err != nil {
		return nil, fmt.Errorf("output: %w", err)
	}
	return o, nil
}

// openArchive is openOutput for an archive, which a closed stdout cannot take.
func openArchive(ctx context.Context, name string, stdout io.Writer) (*output, error) {
	if (name == "" || name == "-") && atomicfile.IsClosed(stdout) {
		return nil, ui.Hint(errors.New("output: stdout is closed"), "name a file with -o FILE; -o "+os.DevNull+" discards the archive")
	}
	return openOutput(ctx, name, stdout)
}

func openTo(ctx context.Context, name string, stdout io.Writer) (*output, error) {
	reg := exitsOf(ctx).Registry
	if name == "" || name == "-" {
		o := atomicfile.Stream(reg, stdout)
		return &output{o, o.Info}, nil
	}
	o, err := atomicfile.Create(reg, name)
	if err != nil {
		return nil, err
	}
	return &output{o, o.Info}, nil
}

func sameFile(in, out fs.FileInfo) bool { return atomicfile.SameFile(in, out) }

func newScratch(x *exits) func() (spill.File, error) {
	return func() (spill.File, error) {
		f, err := atomicfile.Temp(x.Registry)
		if err != nil {
			return nil, err // not f, which would be a Scratch that is nil inside
		}
		return f, nil
	}
}
