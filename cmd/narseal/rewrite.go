package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/command"
	"narseal/filter"
	"narseal/filter/rules"
	"narseal/macho"
)

func rewriteCommand(t *terminal) *cli.Command {
	return &cli.Command{
		Name:      "rewrite",
		Usage:     "rewrite store-path hashes in a NAR and reseal the signatures that this breaks",
		ArgsUsage: "[INPUT]",
		Description: `INPUT is a NAR or an export stream, raw or compressed; nothing, or -, is stdin.
Everything keeps its length. All rules apply at once, never to what another one
put there. A file signed by a certificate that a rule touches cannot be resealed
and ends the run, unless --on-cms says otherwise.

  nix-store --dump /nix/store/OLD |
    narseal rewrite --map OLD=NEW |
    nix-store --restore ./new`,
		Flags: append(append(ruleFlags(), outputFlag,
			repairFlag, onCMSFlag("fail"), compressionFlag, levelFlag, spoolFlag,
			&cli.BoolFlag{Name: "deep-warn", Usage: "look into packed files, and warn of what is hidden there from the rules"},
		), append(deepFlags(), commonFlags()...)...),
		Action: func(c *cli.Context) error {
			t.configure(c)
			set, err := compileRules(c)
			if err != nil {
				return err
			}
			cfg, err := filterConfig(c)
			if err != nil {
				return err
			}
			cfg.Rules = set
			cfg.Signatures.Repair = repairModes[c.String("repair")]
			if !c.Bool("deep-warn") {
				return runFilter(c, t, cfg)
			}
			unpack, err := unpackOptions(c)
			if err != nil {
				return err
			}
			hidden := command.WatchHidden(newEnv(c, t), unpack, cfg)
			err = runFilter(c, t, cfg)
			hidden.End()
			return err
		},
	}
}

var repairFlag = choice("repair", "touched", "touched|all|none", "which signatures to reseal: those that the rules touched, all, or none")

func ruleFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "map", Aliases: []string{"m"}, Usage: "replace a hash, or a base name HASH-NAME: `OLD=NEW`; repeatable"},
		&cli.StringSliceFlag{Name: "map-file", Usage: "read rules from `FILE`, one a line: OLD=NEW or OLD NEW; # starts a comment"},
		&cli.StringFlag{Name: "encodings", Value: rules.AllEncodings.String(), Usage: "replace in text of these `ENCODINGS`; the wide ones in both byte orders"},
	}
}

// commonFlags are those of every command that reads archives.
func commonFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "hold-memory", Value: "256MiB", Usage: "hold a signed image of more than `SIZE` in a temporary file, not in memory"},
		&cli.StringFlag{Name: "report", Usage: "write a JSON report to `FILE`; - is stderr"},
		progressFlag,
		sandboxFlag,
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no warnings"},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "say what was done"},
	}
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

// compileRules reads --map and --map-file.
func compileRules(c *cli.Context) (*rules.Set, error) {
	var list []rules.Rule
	for _, s := range c.StringSlice("map") {
		r, err := rules.Parse(s)
		if err != nil {
			return nil, badUsage("", "--map: %w", err)
		}
		list = append(list, r)
	}
	for _, name := range c.StringSlice("map-file") {
		more, err := readRules(c, name)
		if err != nil {
			return nil, err
		}
		if list == nil {
			list = more
		} else {
			list = append(list, more...)
		}
	}
	if files := c.StringSlice("map-file"); len(list) == 0 && len(files) > 0 {
		return nil, badUsage("", "--map-file: no rules in %s", strings.Join(files, ", "))
	}
	if len(list) == 0 {
		return nil, badUsage("say --map OLD=NEW, or --map-file FILE", "no rules: nothing to rewrite")
	}
	encodings, err := rules.ParseEncodings(c.String("encodings"))
	if err != nil {
		return nil, badUsage("", "--encodings: %w", err)
	}
	compiled, err := rules.Compile(list, encodings)
	if err != nil {
		return nil, badUsage("", "rules: %w", err)
	}
	return compiled, nil
}

func readRules(c *cli.Context, name string) ([]rules.Rule, error) {
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
	list, err := rules.ParseFile(r, name)
	if failed := (*fs.PathError)(nil); errors.As(err, &failed) {
		return nil, fmt.Errorf("--map-file: %w", err)
	}
	if err != nil {
		return nil, badUsage("", "--map-file: %w", err)
	}
	return list, nil
}

// filterConfig reads the options that rewrite and repair share.
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
