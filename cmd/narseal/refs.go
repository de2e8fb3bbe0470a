package main

import (
	"path"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/command"
	"narseal/filter/refs"
	"narseal/filter/rules"
	"narseal/nar/storepath"
)

func refsCommand(t *terminal) *cli.Command {
	return &cli.Command{
		Name:      "refs",
		Usage:     "list the store paths that archives and files refer to",
		ArgsUsage: "[INPUT...]",
		Description: `INPUT is a NAR, an export stream, a directory or a file; nothing, or -, is stdin. A
reference is the whole path, such as /nix/store/HASH-NAME, in contents, symlink
targets and entry names. --deny also finds the bare hash, as Nix does for
disallowedReferences. --deep finds those in packed files, where a rewrite cannot
reach them; they are listed by themselves. With --deny or --allow-only, a packed
file that cannot be searched completely is an error. At most 1,048,576 different
store paths are listed of an input; more are an error.

  narseal refs --deny /nix/store/HASH-NAME ./result`,
		Flags: append([]cli.Flag{
			&cli.StringSliceFlag{Name: "deny", Usage: "status 3 if there is a reference to this `HASH|PATH`, and report where; repeatable"},
			&cli.StringFlag{Name: "allow-only", Usage: "status 3 if there is a reference to a path that is not in `FILE`: one hash or path per line, # starts a comment"},
			storeDirFlag(defaultStoreDir),
			&cli.StringFlag{Name: "encodings", Value: rules.AllEncodings.String(), Usage: "look for paths in these `ENCODINGS`; the wide ones in both byte orders"},
			choice("format", "text", "text|json", "text for people; json: one object per line"),
			&cli.BoolFlag{Name: "deep", Usage: "look into packed files, too: gzip, xz, zstd, bzip2, zip, and tar"},
		}, append(deepFlags(), commonFlags()...)...),
		Action: func(c *cli.Context) error {
			t.configure(c)
			o, err := refsOptions(c)
			if err != nil {
				return err
			}
			return command.Refs(c.Context, newEnv(c, t), o)
		},
	}
}

func storeDirFlag(def string) cli.Flag {
	return &cli.StringFlag{Name: "store-dir", DefaultText: def, Usage: "the directory `DIR` of the store paths"}
}

// defaultStoreDir is where almost every store is.
const defaultStoreDir = "/nix/store"

// refsOptions reads the options.
func refsOptions(c *cli.Context) (*command.RefsOptions, error) {
	o := &command.RefsOptions{Inputs: c.Args().Slice(), StoreDir: defaultStoreDir, JSON: c.String("format") == "json", Report: c.String("report")}
	if len(o.Inputs) == 0 {
		o.Inputs = []string{"-"}
	}
	var err error
	if o.Encodings, err = rules.ParseEncodings(c.String("encodings")); err != nil {
		return nil, badUsage("", "--encodings: %w", err)
	}
	if c.IsSet("store-dir") {
		o.StoreDir = path.Clean(c.String("store-dir"))
	}
	if err := storepath.CheckDir(o.StoreDir); err != nil {
		return nil, badUsage("", "--store-dir: %w", err)
	}
	for _, s := range c.StringSlice("deny") {
		hash, err := rules.HashPart(s)
		if err != nil {
			return nil, badUsage("", "--deny %q: %w", s, err)
		}
		o.Deny = append(o.Deny, hash)
	}
	if name := c.String("allow-only"); name != "" {
		if o.Allowed, err = readAllowed(name); err != nil {
			return nil, err
		}
	}
	if o.SpillMemory, err = sizeOption(c, "hold-memory"); err != nil {
		return nil, err
	}
	if c.Bool("deep") {
		if o.Unpack, err = unpackOptions(c); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// deepFlags are the limits of looking into packed files.
func deepFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "deep-depth", Value: refs.DefaultDepth, Usage: "look into `N` levels of packing inside each other"},
		&cli.StringFlag{Name: "deep-size", Value: "4GiB", Usage: "look into `SIZE` of what a file expands to"},
		&cli.Int64Flag{Name: "deep-ratio", Value: refs.DefaultRatio, Usage: "skip files that expand more than `N`:1"},
	}
}

// unpackOptions reads the limits.
func unpackOptions(c *cli.Context) (*command.UnpackOptions, error) {
	o := &command.UnpackOptions{Depth: c.Int("deep-depth"), Ratio: c.Int64("deep-ratio")}
	if o.Depth < 1 {
		return nil, badUsage("", "--deep-depth %d: want at least 1", o.Depth)
	}
	if o.Ratio < 1 {
		return nil, badUsage("", "--deep-ratio %d: want at least 1", o.Ratio)
	}
	var err error
	o.Size, err = sizeOption(c, "deep-size")
	return o, err
}
