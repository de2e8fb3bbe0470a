package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sync/semaphore"

	"narseal/cmd/narseal/internal/input"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/sandbox"
	"narseal/cmd/narseal/internal/scan"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter/refs"
	"narseal/filter/rules"
	"narseal/nar"
	"narseal/nar/compression"
)

// inReferences is the part of an export stream that names references.
const inReferences refs.Part = "references"

// RefsOptions are the options of refs.
type RefsOptions struct {
	Common
	Inputs    []string // files, directories, "-", and binary caches, whose archives are searched
	StoreDir  string
	Encodings rules.Encodings
	Deny      []string        // hash parts
	Allowed   map[string]bool // hash parts; nil: all are allowed
	JSON      bool
	Unpack    *Unpack // nil: packed files are not searched
	Netrc     string  // a file with credentials for HTTP caches; empty: the user's own
	Version   string  // of narseal
}

// Refs lists the store paths that the inputs refer to.
func Refs(ctx context.Context, e *Env, o *RefsOptions) error {
	file, err := e.OpenReport(o.Report)
	if err != nil {
		return err
	}
	defer file.Abort()
	r, err := newRefsRun(e, o)
	if err != nil {
		return err
	}
	caches, err := o.openCaches(ctx)
	if err != nil {
		return err
	}
	policy := sandbox.Policy{Finish: []string{o.Report}, Temp: os.TempDir()}
	for _, name := range o.Inputs {
		if c := caches[name]; c != nil {
			c.Grant(&policy, false)
		}
	}
	if err := e.Restrict(policy); err != nil {
		return err
	}
	inputs, err := expandCaches(ctx, o.Inputs, caches)
	if err != nil {
		return err
	}
	if err = r.run(ctx, inputs); err != nil {
		r.rep.err = err.Error()
	}
	if failed := file.Write(r.rep.write); failed != nil {
		return errors.Join(err, failed)
	}
	return err
}

// refsRun is one call of Refs.
type refsRun struct {
	*Env
	scanner refs.Scanner
	only    map[string]bool
	gate    bool // --deny or --allow-only is used, so inputs must be searched completely
	out     refsOutput
	budget  *report.Budget
	rep     refsReport
	wanted  bool                // --report is used
	set     *refSet             // of the current input
	memory  *semaphore.Weighted // for the decoder of an input
}

func newRefsRun(e *Env, o *RefsOptions) (*refsRun, error) {
	r := &refsRun{Env: e, only: o.Allowed, gate: o.Deny != nil || o.Allowed != nil, wanted: o.Report != "",
		budget: report.NewBudget(report.DefaultBudget), memory: o.Memory()}
	r.scanner = refs.Scanner{StoreDir: o.StoreDir, Encodings: o.Encodings, Found: func(ref *refs.Reference) error { return r.set.add(ref) }}
	if o.Deny != nil {
		var list []rules.Rule
		for _, hash := range o.Deny {
			list = append(list, rules.Rule{From: hash, To: hash})
		}
		var err error
		if r.scanner.Hashes, err = rules.Compile(list, o.Encodings); err != nil {
			return nil, terminal.Usage("", "--deny: %w", err)
		}
	}
	if o.Unpack != nil {
		s := o.Spill(e, nil)
		r.scanner.Unpack = o.Unpack.unpack(e, s)
		r.memory.TryAcquire(s.Limit() / 2) // which searching packed files may use
	}
	if o.JSON {
		r.out = newRefsJSON(e.List())
	} else {
		r.out = newRefsText(e.List(), terminal.StyleOf(e.Stdout))
	}
	return r, nil
}

// incomplete returns the number of packed files so far that were not searched completely.
func (r *refsRun) incomplete() int64 {
	limited, unreadable := r.scanner.Incomplete()
	return limited + unreadable
}

// run searches the inputs. If there are several, it continues after an error.
func (r *refsRun) run(ctx context.Context, inputs []refsInput) error {
	var denied, failed bool
	for _, in := range inputs {
		r.set = newRefSet(in.name, &r.scanner, r.only, r.budget)
		before := r.incomplete()
		err := r.input(ctx, in)
		if err == nil {
			hashes, paths := r.set.list()
			denied = r.set.report(r.Terminal, hashes, paths) || denied
			if err := r.out.write(r.set, hashes, paths); err != nil {
				return fmt.Errorf("output: %w", err) // the next inputs would fail, too
			}
			if r.wanted {
				r.rep.references = append(append(r.rep.references, hashes...), paths...)
			}
		}
		if n := r.incomplete() - before; err == nil && r.gate && n > 0 {
			err = terminal.Hint(fmt.Errorf("not searched completely: %s, so a forbidden path may be hidden there", report.Plural(n, "packed file", "packed files")),
				"raise the limits that the warnings name; without --deny and --allow-only it is only a warning")
		}
		if !r.wanted {
			r.set.release()
		}
		if err != nil {
			if len(inputs) == 1 {
				return err
			}
			r.Terminal.Error(fmt.Errorf("%s: %w", input.Shown(in.name), err))
			failed = true
		}
	}
	switch {
	case failed:
		return ErrFailed
	case denied:
		return ErrDenied
	}
	return nil
}

// input searches one input.
func (r *refsRun) input(ctx context.Context, from refsInput) error {
	if from.cache != nil {
		in, body, err := r.archive(ctx, from)
		if err != nil {
			return err
		}
		defer body.Close()
		return r.stream(from.name, in)
	}
	if from.name != input.Stdin {
		info, err := os.Stat(from.name)
		if err != nil {
			return fmt.Errorf("input: %w", err)
		}
		if info.IsDir() {
			return r.directory(from.name)
		}
	}
	in, err := input.Open(from.name, r.Stdin, r.Terminal.Progress())
	if err != nil {
		return err
	}
	defer in.Close()
	if err := r.stream(from.name, in); err != nil {
		return err
	}
	return in.Unchanged()
}

// stream searches an input that is not a directory.
func (r *refsRun) stream(name string, in *input.Input) error {
	in.Memory = r.memory
	s, err := in.Stream()
	if err != nil {
		return err
	}
	defer s.Close()
	if name != input.Stdin {
		r.set.label = name
	}
	switch s.Format {
	case nar.FormatNAR:
		follow, entered := r.Terminal.Progress().Follow(r.budget.Reader(s))
		archive := nar.NewReader(follow)
		entered(shortPath(archive))
		return r.scanner.Archive(archive)
	case nar.FormatExport:
		follow, entered := r.Terminal.Progress().Follow(r.budget.Reader(s))
		return r.export(nar.NewExportReader(follow), entered)
	}
	if name == input.Stdin {
		return terminal.Hint(errors.New("input: neither a NAR nor an export stream"), "to search a file or a directory, pass its name")
	}
	if s.Compression != compression.None {
		r.Terminal.Warnf("%s: not an archive; searched as a file compressed with %s", name, s.Compression)
	}
	r.set.label = ""
	whole, err := in.Rewind()
	if err != nil {
		return err
	}
	if in.Info.Mode().IsRegular() {
		whole = r.holes(in.File(), in.Info.Size(), whole)
	}
	return r.scanner.File(nar.NewPath(name), whole)
}

// holes reads a regular file through in, and skips its holes.
func (r *refsRun) holes(f *os.File, size int64, in io.Reader) io.Reader {
	return scan.NewHoleReader(f, size, in, r.Terminal.Progress().Add)
}

// shortPath returns a function that returns the path of the current entry, for display.
func shortPath(r *nar.Reader) func() string {
	return func() string { return r.EntryPath().Short() }
}

func (r *refsRun) export(x *nar.ExportReader, entered func(path func() string)) error {
	for {
		archive, err := x.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		entered(shortPath(archive))
		if err := r.scanner.Archive(archive); err != nil {
			return err
		}
		trailer, err := x.Trailer()
		if err != nil {
			return err
		}
		for _, ref := range trailer.References {
			if err := r.scanner.Field(nar.Path{}, inReferences, []byte(ref)); err != nil {
				return err
			}
		}
		r.set.endArchive(trailer.Path)
	}
}

// directory searches a directory in the same way as an archive of it.
func (r *refsRun) directory(name string) error {
	entered := r.entered()
	var failed error
	err := scan.Walk(name, func(e *scan.Entry) error {
		path := e.Path()
		r.budget.Entry(0)
		if e.Depth() > 0 {
			if err := r.scanner.Field(path, refs.InName, []byte(e.Name)); err != nil {
				return err
			}
		}
		switch e.Type {
		case fs.ModeDir:
		case fs.ModeSymlink:
			target, err := e.Readlink()
			if err != nil {
				return err
			}
			return r.scanner.Field(path, refs.InTarget, []byte(target))
		case 0:
			file, err := e.Open()
			if err != nil {
				return err
			}
			defer file.Close()
			if entered != nil {
				entered(e)
			}
			r.budget.Entry(file.Size())
			if err := r.scanner.File(path, r.holes(file.File, file.Size(), r.Terminal.Progress().Count(file))); err != nil {
				return err
			}
			if err := file.Unchanged(); err != nil {
				return file.Wrap(err)
			}
		default:
			return fmt.Errorf("%s: %s has no place in an archive", path.Short(), e.Type)
		}
		return nil
	}, func(err error) { failed = err })
	if err == nil {
		err = failed
	}
	return err
}
