package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/manual"
	"narseal/cmd/narseal/internal/terminal"
)

// This file converts the CLI library's commands and flags to the values that package manual renders.

func init() {
	cli.HelpPrinter = func(w io.Writer, _ string, data any) {
		switch d := data.(type) {
		case *cli.App:
			writeHelp(w, programManual(d))
		case *cli.Command:
			writeHelp(w, commandManual(d))
		}
	}
	cli.HelpFlag = &cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Category: manual.Reports, Usage: "show this and do nothing"}
	cli.VersionFlag = &cli.BoolFlag{Name: "version", Category: manual.Reports, Usage: "show the version and do nothing"}
	cli.VersionPrinter = func(c *cli.Context) { fmt.Fprintln(c.App.Writer, c.App.Name, c.App.Version) }
}

// programManual describes the program with all its commands.
func programManual(app *cli.App) *manual.Command {
	return &manual.Command{
		Name: app.Name, Summary: app.Usage, Synopsis: "COMMAND [options] [INPUT]", Description: app.Description,
		Options: options(app.Flags), Commands: commandManuals(app.Commands),
		Notes: []manual.List{exitStatuses, environment},
	}
}

// commandManuals describes the commands that are not hidden.
func commandManuals(cs []*cli.Command) []*manual.Command {
	var all []*manual.Command
	for _, c := range cs {
		if !c.Hidden {
			all = append(all, commandManual(c))
		}
	}
	return all
}

func commandManual(c *cli.Command) *manual.Command {
	m := &manual.Command{
		Name: c.HelpName, Summary: c.Usage, Description: c.Description, Arguments: c.ArgsUsage,
		Options: options(c.Flags), Commands: commandManuals(c.Subcommands),
	}
	if len(c.Subcommands) > 0 {
		m.Synopsis = "COMMAND [options]"
	} else if len(c.Flags) > 0 {
		m.Synopsis = "[options]"
	}
	m.Synopsis = strings.TrimSpace(m.Synopsis + " " + c.ArgsUsage)
	return m
}

func options(flags []cli.Flag) []manual.Option {
	var all []manual.Option
	for _, f := range visible(flags) {
		d := f.(cli.DocGenerationFlag)
		_, text := unquoteUsage(d.GetUsage())
		o := manual.Option{Long: f.Names()[0], Value: optionValue(f), Text: text, Group: f.(cli.CategorizableFlag).GetCategory()}
		for _, n := range f.Names()[1:] {
			if len(n) == 1 {
				o.Short = n
			}
		}
		if d.TakesValue() {
			o.Default = strings.Trim(d.GetDefaultText(), `"`)
		}
		if s, ok := f.(cli.DocGenerationSliceFlag); ok {
			o.Repeatable = s.IsSliceFlag()
		}
		all = append(all, o)
	}
	return all
}

// visible returns the options that are not hidden, with --help at the end. The library adds --help and --version only
// sometimes.
func visible(flags []cli.Flag) []cli.Flag {
	flags = slices.DeleteFunc(slices.Clone(flags), func(f cli.Flag) bool {
		v, ok := f.(cli.VisibleFlag)
		return ok && !v.IsVisible() || f.Names()[0] == cli.HelpFlag.Names()[0]
	})
	return append(flags, cli.HelpFlag)
}

// optionValue returns the name of an option's value, or its choices. It is empty if the option takes no value.
func optionValue(f cli.Flag) string {
	if c, ok := f.(*choiceFlag); ok {
		return strings.Join(c.names, "|")
	}
	if d, ok := f.(cli.DocGenerationFlag); ok && d.TakesValue() {
		value, _ := unquoteUsage(d.GetUsage())
		return value
	}
	return ""
}

// unquoteUsage returns a usage text without backquotes, and the name of the value that they mark.
func unquoteUsage(usage string) (value, text string) {
	before, rest, ok := strings.Cut(usage, "`")
	if !ok {
		return "", usage
	}
	value, after, _ := strings.Cut(rest, "`")
	return value, before + value + after
}

var exitStatuses = manual.List{Heading: "Exit status", Items: []manual.Item{
	{Term: "0", Text: "success; every signature that the run touched is valid"},
	{Term: "1", Text: "an error: the input is malformed, or something could not be read or written"},
	{Term: "2", Text: "wrong usage; nothing was read or written"},
	{Term: "3", Text: "verify found an invalid or missing signature, rewrite or repair left an invalid one, or refs found a forbidden reference"},
}}

var environment = manual.List{Heading: "Environment", Items: []manual.Item{
	{Term: "TMPDIR", Text: "the directory for temporary files (default: /tmp); they have no names, so none are left behind"},
	{Term: "TERM", Text: "dumb: no color, and no progress unless you ask for it"},
	{Term: "NO_COLOR", Text: "if not empty, no color (no-color.org)"},
	{Term: "CLICOLOR, CLICOLOR_FORCE", Text: "0: no color; a CLICOLOR_FORCE other than 0: color even if the output is not a terminal"},
	{Term: "NIX_STORE_DIR, NIX_STATE_DIR, NIX_REMOTE", Text: "the store that narseal store works on, as for Nix"},
	{Term: stepSummary, Text: "with --format github, the file to which the job summary is appended"},
}}

func helpCommand() *cli.Command {
	return &cli.Command{
		Name:      "help",
		Aliases:   []string{"h"},
		Usage:     "list the commands, or describe one",
		ArgsUsage: "[COMMAND...]",
		Description: `Without a COMMAND it also lists the exit statuses and the environment variables.

  narseal help rewrite`,
		Action: func(c *cli.Context) error { return helpOf(c.App, c.Args().Slice()) },
	}
}

// helpOf writes the help of the command with these names, or of the program.
func helpOf(app *cli.App, names []string) error {
	command, unknown := commandAt(app, names)
	switch {
	case unknown != "":
		return noCommand(app, command, unknown)
	case command == nil:
		writeHelp(app.Writer, programManual(app))
	default:
		writeHelp(app.Writer, commandManual(command))
	}
	return nil
}

// writeHelp writes help in the style of the stream.
func writeHelp(w io.Writer, m *manual.Command) { manual.WriteHelp(w, m, terminal.StyleOf(w)) }

// showHelp writes the help of the command that runs, or of the program.
func showHelp(w io.Writer, c *cli.Context) {
	if c.Command.HelpName == c.App.HelpName {
		writeHelp(w, programManual(c.App))
	} else {
		writeHelp(w, commandManual(c.Command))
	}
}

// commandAt finds a command by its names, outer commands first. If there is none, it returns the last command that it
// found, and the unknown name.
func commandAt(app *cli.App, names []string) (found *cli.Command, unknown string) {
	cs := app.Commands
	for _, n := range names {
		i := slices.IndexFunc(cs, func(c *cli.Command) bool { return c.HasName(n) })
		if i < 0 {
			return found, n
		}
		found = cs[i]
		cs = found.Subcommands
	}
	return found, ""
}

func completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a shell completion script",
		ArgsUsage: strings.Join(manual.Shells, "|"),
		Description: `Save the script where the shell looks for completions, or source it in the shell's startup file.

  narseal completion bash >~/.local/share/bash-completion/completions/narseal
  narseal completion zsh >/usr/local/share/zsh/site-functions/_narseal
  narseal completion fish >~/.config/fish/completions/narseal.fish`,
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 || !slices.Contains(manual.Shells, c.Args().First()) {
				got := "nothing"
				if c.Args().Present() {
					got = strconv.Quote(strings.Join(c.Args().Slice(), " "))
				}
				return terminal.Usage(helpHint(c.Command, "places for the script"), "completion takes bash, zsh or fish, got %s", got)
			}
			return manual.WriteCompletion(c.App.Writer, c.Args().First(), programManual(c.App))
		},
	}
}

func manCommand() *cli.Command {
	return &cli.Command{
		Name:      "man",
		Usage:     "write the manual pages into a directory",
		ArgsUsage: "DIR",
		Hidden:    true, // packagers call it through scripts/man
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return terminal.Usage("", "man takes one DIR, got %d", c.NArg())
			}
			date, err := manDate()
			if err != nil {
				return err
			}
			for _, p := range manual.ManPages(programManual(c.App), c.App.Version, date) {
				if err := os.WriteFile(filepath.Join(c.Args().First(), p.File), p.Data, 0o666); err != nil {
					return fmt.Errorf("man: %w", err)
				}
			}
			return nil
		},
	}
}

// manDate returns the date of the manual pages: SOURCE_DATE_EPOCH (reproducible-builds.org), or today.
func manDate() (time.Time, error) {
	s := os.Getenv("SOURCE_DATE_EPOCH")
	if s == "" {
		return time.Now(), nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH %q: want seconds", s)
	}
	return time.Unix(n, 0), nil
}
