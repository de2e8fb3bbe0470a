package main

import (
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"
	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/cachecmd"
	"narseal/cmd/narseal/internal/manual"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter/rules"
)

// selectionOptions say which paths of a cache are worked on.
type selectionOptions struct {
	paths, keys []string
	since       string
}

func (o *selectionOptions) flags() []cli.Flag {
	return []cli.Flag{
		texts(&o.paths, "path", manual.Selection, "only this `HASH` or store path; repeatable; - reads them from stdin, one per line"),
		text(&o.since, "since", manual.Selection, "only narinfos changed after `TIME`: 2026-01-31, 2026-01-31T12:00:00Z, or 36h (ago)"),
		texts(&o.keys, "trusted-public-keys", manual.Selection, "refuse paths that none of these `KEYS` has signed, NAME:BASE64 separated by blanks"),
	}
}

// selection reads the options. taken says that stdin is read by another one.
func (o *selectionOptions) selection(stdin io.Reader, taken bool) (s cachecmd.Selection, err error) {
	if o.since != "" {
		if s.Since, err = parseSince(o.since, time.Now()); err != nil {
			return s, err
		}
	}
	if len(o.paths) > 0 {
		hashes, err := o.hashes(stdin, taken)
		if err != nil {
			return s, err
		}
		s.Hashes = sorted(hashes)
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

// hashes are the hash parts of --path.
func (o *selectionOptions) hashes(stdin io.Reader, taken bool) (map[string]bool, error) {
	hashes := map[string]bool{}
	for _, s := range o.paths {
		if s != "-" {
			hash, err := rules.HashPart(s)
			if err != nil {
				return nil, terminal.Usage("", "--path %q: %w", s, err)
			}
			hashes[hash] = true
			continue
		}
		if taken {
			return nil, terminal.Usage("put the rules into a file", "--path -: stdin holds the rules already")
		}
		if err := addHashes(hashes, stdin, "--path", "-"); err != nil {
			return nil, err
		}
	}
	return hashes, nil
}

// excluded are the hash parts of --exclude.
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

// sorted goes through hash parts in their order.
func sorted(hashes map[string]bool) iter.Seq2[string, error] {
	list := slices.Sorted(maps.Keys(hashes))
	return func(yield func(string, error) bool) {
		for _, hash := range list {
			if !yield(hash, nil) {
				return
			}
		}
	}
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
	return time.Time{}, terminal.Usage("", "--since %q: want a date, a time as in 2026-01-31T12:00:00Z, or how long ago as in 36h", s)
}

// changeOptions are those of the commands that change a cache.
type changeOptions struct{ keyOptions }

// keyOptions name secret keys.
type keyOptions struct{ keyFiles []string }

func (o *keyOptions) flag(usage string) cli.Flag {
	return inputFiles{texts(&o.keyFiles, "secret-key-file", manual.InOut, usage)}
}

func (o *changeOptions) flags(to *cachecmd.ChangeOptions) []cli.Flag {
	return join([]cli.Flag{
		outputFile{text(&to.Output, "output o", manual.InOut, "write a new `CACHE` and leave the old one alone")},
		o.flag("sign what changes with the key in `FILE`; repeatable"),
	}, compressionOptions(&to.Compression, &to.Level, "compress the NARs that change, or not, or in the same way as before"), []cli.Flag{
		boolean(&to.Prune, "prune", manual.InOut, "delete what was replaced: NARs that no narinfo names any more, narinfos of renamed paths"),
		text(&to.State, "state", manual.InOut, "remember what is done in `DIR` (default: narseal in $XDG_STATE_HOME or ~/.local/state)"),
		boolean(&to.DryRun, "dry-run n", manual.InOut, "say what would change, and change nothing"),
	})
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
