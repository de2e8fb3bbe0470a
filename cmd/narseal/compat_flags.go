package main

import (
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/report"
	"narseal/filter"
	"narseal/filter/rules"
	"narseal/macho"
)

// This file declares flags for the command files that have not moved yet.

// choice makes an option whose values are separated by bars, as help shows
// them.
func choice(name, def, values, usage string) *choiceFlag {
	f := &choiceFlag{cli.StringFlag{Name: name, Value: def, Usage: usage}, strings.Split(values, "|")}
	f.Action = func(_ *cli.Context, v string) error {
		if slices.Contains(f.names, v) {
			return nil
		}
		last := len(f.names) - 1
		return badUsage("", "--%s %q: want %s or %s", name, v, strings.Join(f.names[:last], ", "), f.names[last])
	}
	return f
}

func sizeOption(c *cli.Context, name string) (int64, error) {
	n, err := humanize.ParseBytes(c.String(name))
	if err != nil || n == 0 || n > 1<<62 {
		return 0, badUsage("sizes look like 64MiB, 1GB or 4096", "--%s %q: not a size", name, c.String(name))
	}
	return int64(n), nil
}

var jobsFlag = &cli.IntFlag{
	Name:    "jobs",
	Aliases: []string{"j"},
	Usage:   "hash on `N` processors",
	Value:   runtime.NumCPU(),
	Action: func(_ *cli.Context, n int) error {
		if n < 1 {
			return badUsage("", "--jobs %d: want at least 1", n)
		}
		return nil
	},
	DefaultText: "the number of CPUs",
}

var levelFlag = &cli.IntFlag{Name: "level", DefaultText: "the format's own",
	Usage: "compress at level `N`: 1 (fast) to 9 (small), zstd to 22"}

var repairFlag = choice("repair", "touched", "touched|all|none", "which signatures to repair: those that the rules touched, all, or none")

func ruleFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "map", Aliases: []string{"m"}, Usage: "replace a hash, or a base name HASH-NAME: `OLD=NEW`; repeatable"},
		&cli.StringSliceFlag{Name: "map-file", Usage: "read rules from `FILE`, one rule per line: OLD=NEW or OLD NEW; # starts a comment"},
		&cli.StringFlag{Name: "encodings", Value: rules.AllEncodings.String(), Usage: "replace in text of these `ENCODINGS`; the wide ones in both byte orders"},
	}
}

func commonFlags() []cli.Flag {
	return (&commonOptions{}).flags()
}

var (
	repairModes = map[string]filter.RepairMode{
		"touched": filter.RepairTouched,
		"all":     filter.RepairAll,
		"none":    filter.RepairNone,
	}
	cmsPolicies = map[string]macho.CMSPolicy{
		"":      macho.CMSFail, // a command that changes nothing has no such option
		"fail":  macho.CMSFail,
		"keep":  macho.CMSKeep,
		"adhoc": macho.CMSAdhoc,
	}
)

func onCMSFlag(def string) cli.Flag {
	return choice("on-cms", def, "fail|keep|adhoc",
		"an image signed by a certificate, which only its owner can renew: fail, keep it as it is, or make the signature ad-hoc")
}

func compileRules(c *cli.Context) (*rules.Set, error) {
	o := ruleOptions{c.StringSlice("map"), c.StringSlice("map-file"), c.String("encodings")}
	return o.compile(c.App.Reader, c.Args().First())
}

func filterConfig(c *cli.Context) (*filter.Config, error) {
	cfg := &filter.Config{}
	cfg.Signatures.Jobs, cfg.Signatures.OnCMS = c.Int("jobs"), cmsPolicies[c.String("on-cms")]
	cfg.Spill.Open = newScratch(exitsOf(c.Context))
	var err error
	if cfg.Spill.Memory, err = sizeOption(c, "hold-memory"); err != nil {
		return nil, err
	}
	return cfg, nil
}

func formatFlag() cli.Flag { return formatOption(&command.ListOptions{}) }

// newList returns the list that --format names.
func newList(c *cli.Context, w io.Writer, left *report.Budget) report.List {
	if c.String("format") == "github" {
		return report.NewGitHub(w, os.Getenv("GITHUB_STEP_SUMMARY"))
	}
	return report.NewList(c.String("format"), w, c.Bool("all"), left)
}
