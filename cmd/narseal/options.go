package main

import (
	"runtime"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/manual"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/sandbox"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter"
	"narseal/filter/refs"
	"narseal/macho"
)

// Each type of this file is a group of options: what they are called, and the values that they fill.

// commonOptions are those of every command that works on something.
type commonOptions struct {
	command.Common
	terminal  terminal.Options
	noSandbox bool
}

func (o *commonOptions) flags() []cli.Flag {
	return join([]cli.Flag{
		size(&o.SpillMemory, "256MiB", "hold-memory", manual.Resources, "hold a signed image of more than `SIZE` in a temporary file, not in memory"),
		outputFile{text(&o.Report, "report", manual.Reports, "write a JSON report to `FILE`; - is stderr")},
		oneOf(&o.terminal.Progress, "auto", []value[terminal.Mode]{{"auto", terminal.Auto}, {"always", terminal.Always}, {"never", terminal.Never}},
			"progress", manual.Reports, "show on stderr how far a long run is; auto: on a terminal, after one second"),
	}, o.processFlags())
}

// processFlags are those of commands that read no archive, too.
func (o *commonOptions) processFlags() []cli.Flag {
	return []cli.Flag{
		oneOf(&o.noSandbox, "auto", []value[bool]{{"auto", false}, {"off", true}}, "sandbox", manual.Resources,
			"before input is read, give up access to other files and to the network, as far as the system can do that; --verbose says what is left"),
		boolean(&o.terminal.Quiet, "quiet q", manual.Reports, "print no warnings, and nothing but problems"),
		boolean(&o.terminal.Verbose, "verbose v", manual.Reports, "say what was done"),
	}
}

// env begins a command with these options.
func (o *commonOptions) env(p *process) *command.Env {
	p.terminal.Configure(o.terminal)
	return &command.Env{
		Stdin: p.stdin, Stdout: p.stdout, Stderr: p.terminal.Stderr(),
		Terminal: p.terminal, Cleanup: p.cleanup, Enforce: o.enforce(),
	}
}

func (o *commonOptions) enforce() func(sandbox.Policy) (sandbox.Status, error) {
	if o.noSandbox && enforce != nil {
		return notEnforced
	}
	return enforce
}

// archiveOptions are those of commands that write an archive, compressed or not.
func archiveOptions(o *command.Archive) []cli.Flag {
	return join([]cli.Flag{outputOption(&o.Output)}, compressionOptions(&o.Compression, &o.Level,
		"compress the output, or not, or in the same way as the input"))
}

func outputOption(to *string) cli.Flag {
	return outputFile{text(to, "output o", manual.InOut,
		"write to `FILE`, which appears only when complete; - is stdout, also where that is a terminal")}
}

func compressionOptions(name *string, level *int, usage string) []cli.Flag {
	l := number(level, "level", manual.InOut, "compress at level `N`: 1 (fast) to 9 (small), zstd to 22")
	l.DefaultText = "the format's own"
	return []cli.Flag{oneOf(name, "same", words("same|none|zstd|xz|gzip"), "compression", manual.InOut, usage), l}
}

func jobsOption(to *int, usage string) cli.Flag {
	f := positive(to, runtime.NumCPU(), "jobs j", manual.Resources, usage)
	f.DefaultText = "the number of CPUs" // which would differ from machine to machine, and so would the help
	return f
}

func repairOption(to *filter.RepairMode) cli.Flag {
	return oneOf(to, "touched", []value[filter.RepairMode]{{"touched", filter.RepairTouched}, {"all", filter.RepairAll}, {"none", filter.RepairNone}},
		"repair", manual.Signatures, "which signatures to repair: those that the rules touched, all, or none")
}

func onCMSOption(to *macho.CMSPolicy, name string) cli.Flag {
	return oneOf(to, name, []value[macho.CMSPolicy]{{"fail", macho.CMSFail}, {"keep", macho.CMSKeep}, {"adhoc", macho.CMSAdhoc}},
		"on-cms", manual.Signatures, "an image signed by a certificate, which only its owner can renew: fail, keep it as it is, or make the signature ad-hoc")
}

func storeDirOption(to *string, what string) cli.Flag {
	f := text(to, "store-dir", manual.StorePaths, "the directory `DIR` of the store paths")
	f.DefaultText = what
	return f
}

func formatOption(o *command.ListOptions) cli.Flag {
	return oneOf(&o.Format, "text", words("text|json|github"), "format", manual.Reports,
		"text for people; json: one object per line for each slice; github: annotations and a job summary of a workflow")
}

func allOption(o *command.ListOptions) cli.Flag {
	return boolean(&o.All, "all", manual.Reports, "list valid signatures, too")
}

func unsignedOption(o *command.ListOptions) cli.Flag {
	return oneOf(&o.Unsigned, "fail", []value[report.Unsigned]{{"fail", report.UnsignedFail}, {"warn", report.UnsignedWarn}, {"ignore", report.UnsignedIgnore}},
		"unsigned", manual.Signatures, "code for macOS on arm64 that has no signature, without which it does not run: count it as invalid, list it with a warning, or say nothing")
}

// unpackOptions are the limits of looking into packed files.
func unpackOptions(o *command.Unpack) []cli.Flag {
	return []cli.Flag{
		positive(&o.Depth, refs.DefaultDepth, "deep-depth", manual.Packed, "search `N` levels of packing inside each other"),
		size(&o.Size, "4GiB", "deep-size", manual.Packed, "search `SIZE` of what a file expands to"),
		positive(&o.Ratio, refs.DefaultRatio, "deep-ratio", manual.Packed, "skip files that expand more than `N`:1"),
	}
}
