package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"
	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/cachecmd"
	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/manual"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/cmd/narseal/internal/worklist"
	"narseal/filter/rules"
)

// selectionOptions select the paths of a cache to process.
type selectionOptions struct {
	lists, keys          []string
	since, shard, maxAge string
	closure              bool
}

func (o *selectionOptions) flags() []cli.Flag {
	return []cli.Flag{
		inputFiles{texts(&o.lists, "paths", manual.Selection, "only the store paths or hashes in `FILE`, one per line; compressed or not, - for stdin, or a URL; repeatable")},
		boolean(&o.closure, "closure", manual.Selection, "also everything that the paths of --paths refer to"),
		text(&o.shard, "shard", manual.Selection, "only `PART` I/N of the range of hashes, I from 0; auto/N gets I from Kubernetes, AWS Batch or Slurm"),
		text(&o.since, "since", manual.Selection, "only narinfos changed after `TIME`: 2026-01-31, 2026-01-31T12:00:00Z, or 36h (ago)"),
		text(&o.maxAge, "max-age", manual.Selection, "fail at the end if the newest narinfo, or the list, is older than `DURATION`, such as 36h"),
		texts(&o.keys, "trusted-public-keys", manual.Selection, "reject paths that none of these `KEYS` has signed: NAME:BASE64, separated by spaces"),
	}
}

// selection evaluates the options. taken says that another option reads stdin.
func (o *selectionOptions) selection(taken bool) (s cachecmd.Selection, err error) {
	s.Lists, s.Closure = o.lists, o.closure
	if o.since != "" {
		if s.Since, err = parseSince(o.since, time.Now()); err != nil {
			return s, err
		}
	}
	streams := 0
	for _, name := range o.lists {
		if name == command.Stream {
			streams++
		}
	}
	switch {
	case streams > 1:
		return s, terminal.Usage("", "--paths -: stdin is one list")
	case streams > 0 && taken:
		return s, terminal.Usage("put the rules into a file", "--paths -: stdin holds the rules already")
	}
	if o.shard != "" {
		if s.Shard, err = worklist.ParseShard(o.shard, os.LookupEnv); err != nil {
			return s, terminal.Usage("", "--shard %q: %w", o.shard, err)
		}
	}
	for _, keys := range o.keys {
		for _, k := range strings.Fields(keys) {
			key, err := signature.ParsePublicKey(k)
			if err != nil {
				return s, terminal.Usage("keys look like cache.example.org-1:BASE64", "--trusted-public-keys %q: %w", k, err)
			}
			s.TrustedKeys = append(s.TrustedKeys, key)
		}
	}
	return s, nil
}

// parseMaxAge parses --max-age.
func (o *selectionOptions) parseMaxAge() (time.Duration, error) {
	if o.maxAge == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(o.maxAge)
	if err != nil || d <= 0 {
		return 0, terminal.Usage("", "--max-age %q: want a duration such as 36h", o.maxAge)
	}
	return d, nil
}

// recordOptions returns the options for the files in which a run records its work.
func recordOptions(o *cachecmd.Options) []cli.Flag {
	return []cli.Flag{
		outputFile{text(&o.Ledger, "ledger", manual.Reports, "record each finished path in `FILE`, or in an object in S3, and skip paths that it already lists unchanged")},
		outputFile{text(&o.Metrics, "metrics", manual.Reports, "write metrics for Prometheus to `FILE`, every 15 seconds")},
	}
}

// excluded returns the hash parts of --exclude.
func excluded(paths []string) (map[string]bool, error) {
	hashes := map[string]bool{}
	for _, s := range paths {
		hash, err := rules.HashPart(s)
		if err != nil {
			return nil, terminal.Usage("", "--exclude %q: %w", s, err)
		}
		hashes[hash] = true
	}
	return hashes, nil
}

// parseSince parses a time, a date in the local time zone, or a duration before now.
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
	return time.Time{}, terminal.Usage("", "--since %q: want a date, a time as in 2026-01-31T12:00:00Z, or how long ago as in 36h", s)
}

// changeOptions are the options of the commands that change a cache.
type changeOptions struct{ keyOptions }

// keyOptions is the option that names files of secret keys.
type keyOptions struct{ keyFiles []string }

func (o *keyOptions) flag(usage string) cli.Flag {
	return inputFiles{texts(&o.keyFiles, "secret-key-file", manual.InOut, usage)}
}

func (o *changeOptions) flags(to *cachecmd.ChangeOptions) []cli.Flag {
	return join([]cli.Flag{
		outputFile{text(&to.Output, "output o", manual.InOut, "write a new `CACHE`, and do not change the old one")},
		o.flag("sign what changes with the key in `FILE`; repeatable"),
	}, compressionOptions(&to.Compression, &to.Level,
		"compress changed NARs; same: in the same way as before; xz becomes about 30 % larger than with xz -6"), []cli.Flag{
		boolean(&to.Overlay, "overlay", manual.InOut, "write only changed paths to --output, as a cache that clients ask before the original one"),
		prioritized(&to.Priority),
		boolean(&to.Prune, "prune", manual.InOut, "delete what was replaced: NARs that no narinfo refers to any more, narinfos of renamed paths"),
		text(&to.State, "state", manual.InOut, "record finished work in `DIR` (default: narseal in $XDG_STATE_HOME or ~/.local/state)"),
		boolean(&to.DryRun, "dry-run n", manual.InOut, "list what would change, and change nothing"),
	})
}

func prioritized(to *int) cli.Flag {
	f := positive(to, 0, "priority", manual.InOut, "the Priority in the overlay's nix-cache-info: clients ask the cache with the lowest `N` first")
	f.DefaultText = "10 below that of the cache"
	return f
}

// secretKeys reads the keys.
func (o *keyOptions) secretKeys() ([]signature.SecretKey, error) {
	var keys []signature.SecretKey
	for _, name := range o.keyFiles {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("--secret-key-file: %w", err)
		}
		key, err := signature.LoadSecretKey(strings.TrimSpace(string(b)))
		if err != nil {
			return nil, fmt.Errorf("--secret-key-file %s: %w", name, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}
