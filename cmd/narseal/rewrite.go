package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"narseal/filter"
	"narseal/macho"
)

func rewriteCommand(t *terminal) *cli.Command {
	return &cli.Command{
		Name:      "rewrite",
		Usage:     "rewrite store-path hashes in a NAR and reseal the signatures that this breaks",
		ArgsUsage: "[INPUT]",
		Description: `INPUT is a NAR; nothing, or -, is stdin. Everything keeps its length.

nix-store --dump /nix/store/OLD | narseal rewrite --map OLD=NEW | nix-store --restore ./new`,
		Flags: append(append(ruleFlags(), outputFlag,
			repairFlag, onCMSFlag("fail"), compressionFlag, levelFlag, spoolFlag), commonFlags()...),
		Action: func(c *cli.Context) error {
			t.configure(c)
			rules, err := compileRules(c)
			if err != nil {
				return err
			}
			cfg, err := filterConfig(c)
			if err != nil {
				return err
			}
			cfg.Rules = rules
			if cfg.Repair, err = repairMode(c); err != nil {
				return err
			}
			return runFilter(c, t, cfg)
		},
	}
}

var repairFlag = &cli.StringFlag{Name: "repair", Value: "touched",
	Usage: "which signatures to reseal: those `touched` by the rules, all, or none"}

func repairMode(c *cli.Context) (filter.RepairMode, error) {
	switch m := c.String("repair"); m {
	case "touched":
		return filter.RepairTouched, nil
	case "all":
		return filter.RepairAll, nil
	case "none":
		return filter.RepairNone, nil
	default:
		return 0, badUsage("", "--repair %q: want touched, all or none", m)
	}
}

func ruleFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "map", Aliases: []string{"m"}, Usage: "replace a hash, or a base name HASH-NAME: `OLD=NEW`; repeatable"},
		&cli.StringSliceFlag{Name: "map-file", Usage: "read rules from `FILE`, one a line: OLD=NEW or OLD NEW; # starts a comment"},
	}
}

// commonFlags are those of every command that reads archives.
func commonFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "hold-memory", Value: "256MiB", Usage: "hold a signed image of more than `SIZE` in a temporary file, not in memory"},
		&cli.StringFlag{Name: "report", Usage: "write a JSON report to `FILE`"},
		progressFlag,
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no warnings"},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "say what was done"},
	}
}

func onCMSFlag(def string) cli.Flag {
	return &cli.StringFlag{Name: "on-cms", Value: def,
		Usage: "an image signed by a certificate, which nobody else can renew: `fail`, keep it as it is, or make it adhoc"}
}

// compileRules reads --map and --map-file.
func compileRules(c *cli.Context) (*filter.Rules, error) {
	var rules []filter.Rule
	for _, s := range c.StringSlice("map") {
		r, err := filter.ParseRule(s)
		if err != nil {
			return nil, badUsage("", "--map: %w", err)
		}
		rules = append(rules, r)
	}
	for _, name := range c.StringSlice("map-file") {
		more, err := readRules(c, name)
		if err != nil {
			return nil, err
		}
		rules = append(rules, more...)
	}
	if files := c.StringSlice("map-file"); len(rules) == 0 && len(files) > 0 {
		return nil, badUsage("", "--map-file: no rules in %s", strings.Join(files, ", "))
	}
	if len(rules) == 0 {
		return nil, badUsage("say --map OLD=NEW, or --map-file FILE", "no rules: nothing to rewrite")
	}
	compiled, err := filter.Compile(rules, filter.AllEncodings)
	if err != nil {
		return nil, badUsage("", "rules: %w", err)
	}
	return compiled, nil
}

func readRules(c *cli.Context, name string) ([]filter.Rule, error) {
	var r io.Reader = c.App.Reader
	if name == "-" {
		if in, err := inputArg(c); err != nil || in == "-" {
			return nil, badUsage("name the INPUT, or put the rules into a file", "--map-file -: stdin is the input already")
		}
	} else {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("--map-file: %w", err)
		}
		defer f.Close()
		r = f
	}
	rules, err := filter.ParseRules(r, name)
	if failed := (*fs.PathError)(nil); errors.As(err, &failed) {
		return nil, fmt.Errorf("--map-file: %w", err)
	}
	if err != nil {
		return nil, badUsage("", "--map-file: %w", err)
	}
	return rules, nil
}

// filterConfig reads the options that rewrite and repair share.
func filterConfig(c *cli.Context) (*filter.Config, error) {
	cfg := &filter.Config{Scratch: newScratch(exitsOf(c.Context)), Jobs: c.Int("jobs")}
	var err error
	if cfg.HoldMemory, err = sizeOption(c, "hold-memory"); err != nil {
		return nil, err
	}
	switch p := c.String("on-cms"); p {
	case "fail", "": // a command that changes nothing has no such option
		cfg.OnCMS = macho.CMSFail
	case "keep":
		cfg.OnCMS = macho.CMSKeep
	case "adhoc":
		cfg.OnCMS = macho.CMSAdhoc
	default:
		return nil, badUsage("", "--on-cms %q: want fail, keep or adhoc", p)
	}
	return cfg, nil
}
