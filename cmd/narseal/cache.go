package main

import (
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/cachecmd"
	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/manual"
	"narseal/cmd/narseal/internal/terminal"
)

const aboutCaches = `CACHE is a directory, or a file://, http://, https:// or s3:// URL, as for nix copy. An
s3:// URL takes Nix's parameters: region, endpoint, profile, addressing-style, scheme,
storage-class. A cache behind HTTP cannot be listed: pass --paths. Every NAR is
checked against its narinfo. A path that does not match, or fails otherwise, is named on
stderr and left unchanged, and the exit status is 1; the other paths are still processed.
`

func cacheCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:        "cache",
		Usage:       "verify, repair or rewrite a whole binary cache",
		Subcommands: []*cli.Command{cacheVerifyCommand(p), cacheRepairCommand(p), cacheRewriteCommand(p), cacheSummaryCommand(p)},
	}
}

// cacheOptions are the options that all commands on caches share.
type cacheOptions struct {
	common commonOptions
	selectionOptions
}

func (o *cacheOptions) flags(to *cachecmd.Options) []cli.Flag {
	return join(o.selectionOptions.flags(), []cli.Flag{jobsOption(&to.Jobs, "work on `N` paths at a time"), netrcOption(&to.Netrc)},
		recordOptions(to), o.common.flags())
}

// begin evaluates the options. ruleFiles are the rule files of another option, one of which may be stdin.
func (o *cacheOptions) begin(p *process, c *cli.Context, to *cachecmd.Options, ruleFiles ...string) (env *command.Env, err error) {
	if c.NArg() != 1 {
		return nil, terminal.Usage(helpHint(c.Command, "options"), "cache %s takes one CACHE, got %d", c.Command.Name, c.NArg())
	}
	to.Common, to.Cache, to.Version = o.common.Common, c.Args().First(), versionString()
	if to.Selection, err = o.selection(slices.Contains(ruleFiles, "-")); err != nil {
		return nil, err
	}
	if to.MaxAge, err = o.parseMaxAge(); err != nil {
		return nil, err
	}
	return o.common.env(p), nil
}

// action is f, whose metrics say that it has failed, wherever it does.
func (o *cacheOptions) action(p *process, to *cachecmd.Options, f cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		err := f(c)
		if err != nil && to.Metrics != "" {
			to.Version = versionString()
			to.NoteFailure(o.common.env(p), c.Command.Name)
		}
		return err
	}
}

func cacheVerifyCommand(p *process) *cli.Command {
	var (
		o     cachecmd.VerifyOptions
		cache cacheOptions
	)
	return &cli.Command{
		Name:        "verify",
		Usage:       "check every NAR and report every signature, change nothing",
		ArgsUsage:   "CACHE",
		Description: aboutCaches + "\n  narseal cache verify ./cache",
		Flags:       join([]cli.Flag{formatOption(&o.List), allOption(&o.List), unsignedOption(&o.List)}, cache.flags(&o.Options)),
		Action: cache.action(p, &o.Options, func(c *cli.Context) error {
			env, err := cache.begin(p, c, &o.Options)
			if err != nil {
				return err
			}
			o.List.Summary = os.Getenv(stepSummary)
			return cachecmd.Verify(c.Context, env, &o)
		}),
	}
}

func cacheRepairCommand(p *process) *cli.Command {
	var (
		o      cachecmd.ChangeOptions
		cache  cacheOptions
		change changeOptions
	)
	return &cli.Command{
		Name:      "repair",
		Usage:     "repair every invalid signature",
		ArgsUsage: "CACHE",
		Description: aboutCaches + `
The store paths that change are listed on stdout. NARs that were xz stay xz, but become
about 30 % larger than with xz -6; --compression zstd --level 9 gives the same size
faster.

  narseal cache repair --secret-key-file ./key ./cache`,
		Flags: join([]cli.Flag{onCMSOption(&o.OnCMS, "keep")}, change.flags(&o), cache.flags(&o.Options)),
		Action: cache.action(p, &o.Options, func(c *cli.Context) error {
			env, err := cache.begin(p, c, &o.Options)
			if err != nil {
				return err
			}
			if o.SecretKeys, err = change.secretKeys(); err != nil {
				return err
			}
			return cachecmd.Repair(c.Context, env, &o)
		}),
	}
}

func cacheRewriteCommand(p *process) *cli.Command {
	var (
		o      cachecmd.ChangeOptions
		cache  cacheOptions
		change changeOptions
		rules  ruleOptions
		leave  []string
	)
	return &cli.Command{
		Name:      "rewrite",
		Usage:     "rewrite store-path hashes and repair the signatures that this breaks",
		ArgsUsage: "CACHE",
		Description: aboutCaches + `
The rules apply to references and derivers, too. A store path that a rule names on its
left side is left out: all others then refer to the path on the right side, and nothing
refers to it any more. With --rename it gets the new name, and a new narinfo; without
--prune the old one stays. With --output, paths that are left out are not copied. The
store paths that change are listed on stdout, by their new names.

The next run with the same rules continues a stopped run. If rules would undo
themselves, as a swap does, a record of the changes in place is kept in the directory
that --state names.

  narseal cache rewrite --map OLD=NEW --secret-key-file ./key -o ./new ./cache`,
		Flags: join(rules.flags(), []cli.Flag{
			repairOption(&o.Repair), onCMSOption(&o.OnCMS, "fail"),
			boolean(&o.Rename, "rename", manual.Rules, "rename the store paths on the left side of a rule, instead of leaving them out"),
			texts(&leave, "exclude", manual.Selection, "leave out this `HASH` or store path; repeatable"),
		}, change.flags(&o), cache.flags(&o.Options)),
		Action: cache.action(p, &o.Options, func(c *cli.Context) (err error) {
			if o.Rules, err = rules.compile(p.stdin, c.Args().First()); err != nil {
				return err
			}
			if o.Encodings, err = rules.parseEncodings(); err != nil {
				return err
			}
			env, err := cache.begin(p, c, &o.Options, rules.files...)
			if err != nil {
				return err
			}
			if o.Exclude, err = excluded(leave); err != nil {
				return err
			}
			if o.SecretKeys, err = change.secretKeys(); err != nil {
				return err
			}
			return cachecmd.Rewrite(c.Context, env, &o)
		}),
	}
}
