package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/scan"
	ui "narseal/cmd/narseal/internal/terminal"
	"narseal/filter/refs"
	"narseal/filter/rules"
	"narseal/nar"
	"narseal/nar/compression"
	"narseal/nar/storepath"
)

// inReferences is the part of an export stream that names references.
const inReferences refs.Part = "references"

func refsCommand(t *terminal) *cli.Command {
	return &cli.Command{
		Name:      "refs",
		Usage:     "list the store paths that archives and files mention",
		ArgsUsage: "[INPUT...]",
		Description: `INPUT is a NAR, an export stream, a folder or a file; nothing, or -, is stdin. A
mention is the whole path, such as /nix/store/HASH-NAME, in contents, symlink
targets and entry names. --deny also finds the bare hash, as Nix does for
disallowedReferences. --deep finds those that are packed, where a rewrite cannot
reach them; they are listed by themselves. At most 1,048,576 different store
paths are listed of an input; more are an error.

  narseal refs --deny /nix/store/HASH-NAME ./result`,
		Flags: append([]cli.Flag{
			&cli.StringSliceFlag{Name: "deny", Usage: "status 3 if this `HASH|PATH` is mentioned, and say where; repeatable"},
			&cli.StringFlag{Name: "allow-only", Usage: "status 3 if a path is mentioned that is not in `FILE`: a hash or path a line, # starts a comment"},
			storeDirFlag(defaultStoreDir),
			&cli.StringFlag{Name: "encodings", Value: rules.AllEncodings.String(), Usage: "look for paths in these `ENCODINGS`; the wide ones in both byte orders"},
			choice("format", "text", "text|json", "text for people, or json: an object a line"),
			&cli.BoolFlag{Name: "deep", Usage: "look into packed files, too: gzip, xz, zstd, bzip2, zip, and tar"},
		}, append(deepFlags(), commonFlags()...)...),
		Action: func(c *cli.Context) error {
			t.configure(c)
			r, err := newRefsRun(c, t)
			if err != nil {
				return err
			}
			inputs := c.Args().Slice()
			if len(inputs) == 0 {
				inputs = []string{"-"}
			}
			if err := restrict(c, t, inputsPolicy(c, inputs...)); err != nil {
				return err
			}
			if inputs, err = expandCaches(c.Context, inputs); err != nil {
				return err
			}
			return r.report(c, r.run(inputs))
		},
	}
}

func storeDirFlag(def string) cli.Flag {
	return &cli.StringFlag{Name: "store-dir", DefaultText: def, Usage: "the folder `DIR` of the store paths"}
}

// defaultStoreDir is where almost every store is.
const defaultStoreDir = "/nix/store"

// refsRun is one call of refs.
type refsRun struct {
	t     *terminal
	stdin io.Reader
	out   refsOutput
	only  map[string]bool // hash parts; nil: all are allowed
	find  refs.Scanner
	set   *refSet     // of the input at hand
	rep   *refsReport // nil where none was asked for
	left  *report.Budget
	gate  bool // a reference may be forbidden, so that all of an input must be searched
}

func newRefsRun(c *cli.Context, t *terminal) (*refsRun, error) {
	r := &refsRun{t: t, stdin: c.App.Reader, left: report.NewBudget(report.DefaultBudget), gate: c.IsSet("deny") || c.IsSet("allow-only")}
	var err error
	if r.out, err = newRefsOutput(c, t); err != nil {
		return nil, err
	}
	if r.find.Encodings, err = rules.ParseEncodings(c.String("encodings")); err != nil {
		return nil, badUsage("", "--encodings: %w", err)
	}
	r.find.StoreDir = defaultStoreDir
	if c.IsSet("store-dir") {
		r.find.StoreDir = path.Clean(c.String("store-dir"))
	}
	if err := storepath.CheckDir(r.find.StoreDir); err != nil {
		return nil, badUsage("", "--store-dir: %w", err)
	}
	var deny []rules.Rule
	for _, s := range c.StringSlice("deny") {
		hash, err := rules.HashPart(s)
		if err != nil {
			return nil, badUsage("", "--deny %q: %w", s, err)
		}
		deny = append(deny, rules.Rule{From: hash, To: hash})
	}
	if deny != nil {
		if r.find.Hashes, err = rules.Compile(deny, r.find.Encodings); err != nil {
			return nil, badUsage("", "--deny: %w", err)
		}
	}
	if c.IsSet("report") {
		r.rep = &refsReport{Schema: report.Schema, Command: c.Command.Name, References: []*reference{}}
	}
	if name := c.String("allow-only"); name != "" {
		if r.only, err = readAllowed(name); err != nil {
			return nil, err
		}
	}
	if c.Bool("deep") {
		if r.find.Unpack, err = deepConfig(c, t); err != nil {
			return nil, err
		}
	}
	r.find.Found = func(m *refs.Reference) error { return r.set.add(m) }
	return r, nil
}

// run goes on with the other inputs where one cannot be read.
func (r *refsRun) run(inputs []string) error {
	var denied, failed bool
	for _, name := range inputs {
		r.set = newRefSet(name, r)
		before := r.incomplete()
		err := r.input(name)
		if r.set.omitted > 0 {
			r.t.warn("%s: %s without a path: the paths are too long together", printable(name), count(r.set.omitted, "place", "places"))
		}
		if n := r.incomplete() - before; err == nil && r.gate && n > 0 {
			err = ui.Hint(fmt.Errorf("not searched completely: %s, so that a forbidden path may be in it", count(n, "packed file", "packed files")),
				"raise the limits that the warnings name; without --deny and --allow-only it is only a warning")
		}
		if err == nil {
			denied = r.set.complain(r.t) || denied
			err = r.out.write(r.set)
			r.rep.add(r.set)
		}
		if err != nil {
			if len(inputs) == 1 {
				return err
			}
			r.t.fail(fmt.Errorf("%s: %w", name, err))
			failed = true
		}
	}
	switch {
	case failed:
		return errFailed
	case denied:
		return errDenied
	}
	return nil
}

// incomplete is the number of packed files that were not searched completely until now.
func (r *refsRun) incomplete() int64 {
	limited, unreadable := r.find.Incomplete()
	return limited + unreadable
}

// report writes the report of a run that ended in err.
func (r *refsRun) report(c *cli.Context, err error) error {
	if r.rep == nil {
		return err
	}
	if err != nil {
		r.rep.Error = err.Error()
	}
	if failed := writeReport(c, c.String("report"), r.rep.write); failed != nil {
		return errors.Join(err, failed)
	}
	return err
}

// input searches one input.
func (r *refsRun) input(name string) error {
	if name != "-" {
		info, err := os.Stat(name)
		if err != nil {
			return fmt.Errorf("input: %w", err)
		}
		if info.IsDir() {
			return r.folder(name)
		}
	}
	in, err := openInput(name, r.stdin, r.t.progress)
	if err != nil {
		return err
	}
	defer in.Close()
	s, err := openStream(in)
	if err != nil {
		return err
	}
	defer s.Close()
	if name != "-" {
		r.set.label = name
	}
	switch s.format {
	case nar.FormatNAR:
		follow, entered := s.progress.follow(s)
		archive := nar.NewReader(follow)
		entered(func() string { return archive.EntryPath().Short() })
		return r.find.Archive(archive)
	case nar.FormatExport:
		follow, entered := s.progress.follow(s)
		return r.export(nar.NewExportReader(follow), entered)
	}
	if name == "-" {
		return &hintedError{errors.New("input: neither a NAR nor an export stream"), "name a file or a folder to search it as it is"}
	}
	if s.compression != compression.None {
		r.t.warn("%s: holds no archive; searched as it is, compressed by %s", name, s.compression)
	}
	r.set.label = ""
	if _, err := in.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("input: %w", err)
	}
	return r.find.File(nar.NewPath(name), s.count(in.file, in.left()))
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
		entered(func() string { return archive.EntryPath().Short() })
		if err := r.find.Archive(archive); err != nil {
			return err
		}
		trailer, err := x.Trailer()
		if err != nil {
			return err
		}
		for _, ref := range trailer.References {
			if err := r.find.Field(nar.Path{}, inReferences, []byte(ref)); err != nil {
				return err
			}
		}
		r.set.endArchive(trailer.Path)
	}
}

// folder searches a folder as its archive would be.
func (r *refsRun) folder(name string) error {
	var failed error
	err := scan.Walk(name, func(e *scan.Entry) error {
		path := e.Path()
		if e.Depth() > 0 {
			if err := r.find.Field(path, refs.InName, []byte(e.Name)); err != nil {
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
			return r.find.Field(path, refs.InTarget, []byte(target))
		case 0:
			file, err := e.Open()
			if err != nil {
				return err
			}
			defer file.Close()
			shown := path.Short()
			r.t.progress.at(&shown)
			return r.find.File(path, r.t.progress.count(file))
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
