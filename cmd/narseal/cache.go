package main

import (
	"cmp"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"
	"github.com/urfave/cli/v2"

	"narseal/filter"
	"narseal/filter/rules"
	"narseal/nar/binarycache"
	cachefolder "narseal/nar/binarycache/folder"
	"narseal/nar/compression"
)

func cacheCommand(t *terminal) *cli.Command {
	const about = `CACHE is a folder, or its file:// URL, as nix copy --to file://… makes it. Every NAR
is checked against its narinfo. One that does not match, or fails otherwise, is named
on stderr, stays as it is and makes the exit status 1; the others go on.
`
	return &cli.Command{
		Name:  "cache",
		Usage: "verify, repair or rewrite a whole binary cache",
		Subcommands: []*cli.Command{
			{
				Name:        "verify",
				Usage:       "check every NAR and report every signature, change nothing",
				ArgsUsage:   "CACHE",
				Description: about + "\n  narseal cache verify ./cache",
				Flags: append(append([]cli.Flag{
					formatFlag(),
					&cli.BoolFlag{Name: "all", Usage: "list valid signatures, too"},
				}, selectionFlags()...), cacheCommonFlags()...),
				Action: func(c *cli.Context) error { return verifyCache(c, t) },
			},
			{
				Name:      "repair",
				Usage:     "reseal every signature that does not hold",
				ArgsUsage: "CACHE",
				Description: about + `
The store paths that change are listed on stdout.

  narseal cache repair --secret-key-file ./key ./cache`,
				Flags: append(append(append([]cli.Flag{onCMSFlag("keep")}, changeFlags()...), selectionFlags()...), cacheCommonFlags()...),
				Action: func(c *cli.Context) error {
					cfg, err := filterConfig(c)
					if err != nil {
						return err
					}
					cfg.Signatures.Repair = filter.RepairAll
					return rewriteCache(c, t, cfg)
				},
			},
			{
				Name:      "rewrite",
				Usage:     "rewrite store-path hashes and reseal the signatures that this breaks",
				ArgsUsage: "CACHE",
				Description: about + `
The rules apply to store paths, references and derivers, too. A store path that they
rename gets a new narinfo; without --prune the old one stays. The store paths that
change are listed on stdout, as they are called then.

A run that is stopped is continued by the next one with the same rules. Where rules
would undo themselves, as a swap does, a record of what is done in place is kept in
the directory that --state names.

  narseal cache rewrite --map OLD=NEW --secret-key-file ./key -o ./new ./cache`,
				Flags: append(append(append(append(ruleFlags(), repairFlag, onCMSFlag("fail")), changeFlags()...), selectionFlags()...), cacheCommonFlags()...),
				Action: func(c *cli.Context) error {
					rules, err := compileRules(c)
					if err != nil {
						return err
					}
					cfg, err := filterConfig(c)
					if err != nil {
						return err
					}
					cfg.Rules = rules
					cfg.Signatures.Repair = repairModes[c.String("repair")]
					return rewriteCache(c, t, cfg)
				},
			},
		},
	}
}

// changeFlags are those of the commands that change a cache.
func changeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write a new `CACHE` and leave the old one alone"},
		&cli.StringSliceFlag{Name: "secret-key-file", Usage: "sign what changes with the key in `FILE`; repeatable"},
		choice("compression", "same", "same|none|zstd|xz|gzip", "compress the NARs that change, or not, or in the same way as before"),
		levelFlag,
		&cli.BoolFlag{Name: "prune", Usage: "delete what was replaced: NARs that no narinfo names any more, narinfos of renamed paths"},
		&cli.StringFlag{Name: "state", Usage: "remember what is done in `DIR` (default: narseal in $XDG_STATE_HOME or ~/.local/state)"},
		&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "say what would change, and change nothing"},
	}
}

// selectionFlags limit the work.
func selectionFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "path", Usage: "only this `HASH` or store path; repeatable; - reads them from stdin, one a line"},
		&cli.StringFlag{Name: "since", Usage: "only narinfos changed after `TIME`: 2026-01-31, 2026-01-31T12:00:00Z, or 36h (ago)"},
		&cli.StringSliceFlag{Name: "trusted-public-keys", Usage: "refuse paths that none of these `KEYS` has signed, NAME:BASE64 separated by blanks"},
	}
}

func cacheCommonFlags() []cli.Flag {
	jobs := *jobsFlag
	jobs.Usage = "work on `N` paths at a time"
	return append([]cli.Flag{
		&jobs,
	}, commonFlags()...)
}

// cacheArg opens the CACHE that a command works on.
func cacheArg(c *cli.Context) (binarycache.Store, string, error) {
	if c.NArg() != 1 {
		return nil, "", badUsage(helpHint(c.Command, "options"), "cache %s takes one CACHE, got %d", c.Command.Name, c.NArg())
	}
	dir, err := cacheFolder(c.Args().First())
	if err != nil {
		return nil, "", err
	}
	return cachefolder.New(dir), dir, nil
}

// cacheFolder is the folder that a file:// URL, or a path, names.
func cacheFolder(s string) (string, error) {
	if !strings.Contains(s, "://") {
		return s, nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return "", badUsage("", "cache %q: %w", s, err)
	}
	if u.Scheme != "file" || u.Host != "" && u.Host != "localhost" || u.Path == "" {
		return "", badUsage("copy it to a folder first: nix copy --to file:///FOLDER …", "cache %q: want a folder or file:///FOLDER", s)
	}
	return filepath.FromSlash(u.Path), nil // what stands behind ? is nix's business
}

// cacheOptions reads what all cache commands share.
func cacheOptions(c *cli.Context) (o binarycache.Options, err error) {
	o.Jobs = c.Int("jobs")
	if s := c.String("since"); s != "" {
		if o.Since, err = parseSince(s, time.Now()); err != nil {
			return o, err
		}
	}
	if c.IsSet("path") {
		hashes, err := readHashes(c)
		if err != nil {
			return o, err
		}
		o.Hashes = listed(hashes)
	}
	for _, keys := range c.StringSlice("trusted-public-keys") {
		for _, k := range strings.Fields(keys) {
			key, err := signature.ParsePublicKey(k)
			if err != nil {
				return o, badUsage("keys look like cache.example.org-1:BASE64", "--trusted-public-keys %q: %w", k, err)
			}
			o.TrustedKeys = append(o.TrustedKeys, key)
		}
	}
	return o, nil
}

// parseSince reads a time, a date (of the local time zone), or how long ago.
func parseSince(s string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, s, time.Local); err == nil {
		return t, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, badUsage("", "--since %q: want a date, a time as in 2026-01-31T12:00:00Z, or how long ago as in 36h", s)
}

// listed goes through hash parts in their order.
func listed(hashes map[string]bool) iter.Seq2[string, error] {
	sorted := slices.Sorted(maps.Keys(hashes))
	return func(yield func(string, error) bool) {
		for _, hash := range sorted {
			if !yield(hash, nil) {
				return
			}
		}
	}
}

// readHashes reads --path.
func readHashes(c *cli.Context) (map[string]bool, error) {
	hashes := map[string]bool{}
	for _, s := range c.StringSlice("path") {
		if s != "-" {
			hash, err := rules.HashPart(s)
			if err != nil {
				return nil, badUsage("", "--path %q: %w", s, err)
			}
			hashes[hash] = true
			continue
		}
		if slices.Contains(c.StringSlice("map-file"), "-") {
			return nil, badUsage("put the rules into a file", "--path -: stdin holds the rules already")
		}
		if err := addHashes(hashes, c.App.Reader, "--path", "-"); err != nil {
			return nil, err
		}
	}
	return hashes, nil
}

// changeOptions reads what the commands share that change a cache at dir.
func changeOptions(c *cli.Context, dir string, o *binarycache.RewriteOptions) error {
	o.DryRun, o.Prune, o.Level = c.Bool("dry-run"), c.Bool("prune"), c.Int("level")
	if s := c.String("compression"); s != "same" {
		t, err := compression.Parse(s)
		if err != nil {
			return badUsage("", "--compression: %w", err)
		}
		o.Compression = t
	}
	if o.Level != 0 && o.Compression == "" {
		return badUsage("the formats' levels differ", "--level: say --compression, too")
	}
	if _, err := compression.Compress(io.Discard, cmp.Or(o.Compression, compression.None), compression.Options{Level: o.Level}); err != nil {
		return &usageError{err, ""}
	}
	if s := c.String("output"); s != "" {
		out, err := cacheFolder(s)
		if err != nil {
			return err
		}
		if sameFolder(dir, out) {
			return badUsage("without --output the cache is changed in place", "input and output are the same cache")
		}
		if o.Prune {
			return badUsage("", "--prune deletes from a cache that is changed in place: not with --output")
		}
		o.Output = cachefolder.New(out)
	}
	for _, name := range c.StringSlice("secret-key-file") {
		b, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("--secret-key-file: %w", err)
		}
		key, err := signature.LoadSecretKey(strings.TrimSpace(string(b)))
		if err != nil {
			return fmt.Errorf("--secret-key-file %s: %w", name, err)
		}
		o.SecretKeys = append(o.SecretKeys, key)
	}
	return nil
}

func sameFolder(a, b string) bool {
	if ia, err := os.Stat(a); err == nil {
		if ib, err := os.Stat(b); err == nil {
			return os.SameFile(ia, ib)
		}
	}
	return filepath.Clean(a) == filepath.Clean(b)
}
