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

// Each type in this file declares a group of options and holds their values.

// commonOptions are the options of every command that processes something.
type commonOptions struct {
	command.Common
	terminal  terminal.Options
	noSandbox bool
}

func (o *commonOptions) flags() []cli.Flag {
	return join([]cli.Flag{
		size(&o.SpillMemory, "256MiB", "hold-memory", manual.Resources, "hold at most `SIZE` in memory: images that do not fit go to temporary files, and jobs on a cache wait"),
		outputFile{text(&o.Report, "report", manual.Reports, "write a JSON report to `FILE`; - is stderr")},
		oneOf(&o.terminal.Progress, "auto", []value[terminal.Mode]{{"auto", terminal.Auto}, {"always", terminal.Always}, {"never", terminal.Never}},
			"progress", manual.Reports, "show the progress of a long run on stderr; auto: on a terminal, after one second"),
	}, o.processFlags())
}

// processFlags returns the options that also apply to commands that read no archive.
func (o *commonOptions) processFlags() []cli.Flag {
	return []cli.Flag{
		oneOf(&o.noSandbox, "auto", []value[bool]{{"auto", false}, {"off", true}}, "sandbox", manual.Resources,
			"before reading input, give up access to other files and to the network, as far as the system supports it; --verbose shows what remains"),
		boolean(&o.terminal.Quiet, "quiet q", manual.Reports, "print only problems, and no warnings"),
		boolean(&o.terminal.Verbose, "verbose v", manual.Reports, "report what was done"),
	}
}

// env begins a command with these options, and returns its environment.
func (o *commonOptions) env(p *process) *command.Env {
	p.terminal.Configure(o.terminal)
	o.limitMemory()
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

// archiveOptions returns the options of commands that write an archive, compressed or not.
func archiveOptions(o *command.Archive) []cli.Flag {
	return join([]cli.Flag{outputOption(&o.Output)}, compressionOptions(&o.Compression, &o.Level,
		"compress the output; same: in the same way as the input"))
}

func outputOption(to *string) cli.Flag {
	return outputFile{text(to, "output o", manual.InOut,
		"write to `FILE`, which appears only when complete; - is stdout, even if that is a terminal")}
}

func compressionOptions(name *string, level *int, usage string) []cli.Flag {
	l := number(level, "level", manual.InOut, "compress at level `N`: 1 (fast) to 9 (small), up to 22 for zstd")
	l.DefaultText = "the format's own"
	return []cli.Flag{oneOf(name, "same", words("same|none|zstd|xz|gzip"), "compression", manual.InOut, usage), l}
}

func jobsOption(to *int, usage string) cli.Flag {
	f := positive(to, runtime.NumCPU(), "jobs j", manual.Resources, usage)
	f.DefaultText = "the number of CPUs" // the number itself would make the help differ between machines
	return f
}

func repairOption(to *filter.RepairMode) cli.Flag {
	return oneOf(to, "touched", []value[filter.RepairMode]{{"touched", filter.RepairTouched}, {"all", filter.RepairAll}, {"none", filter.RepairNone}},
		"repair", manual.Signatures, "which signatures to repair: those that the rules touched, all, or none")
}

func onCMSOption(to *macho.CMSPolicy, name string) cli.Flag {
	return oneOf(to, name, []value[macho.CMSPolicy]{{"fail", macho.CMSFail}, {"keep", macho.CMSKeep}, {"adhoc", macho.CMSAdhoc}},
		"on-cms", manual.Signatures, "if an image is signed with a certificate, which only its owner can renew: fail, keep the signature as it is, or make it ad-hoc")
}

func storeDirOption(to *string, what string) cli.Flag {
	f := text(to, "store-dir", manual.StorePaths, "the store directory `DIR`")
	f.DefaultText = what
	return f
}

func formatOption(o *command.ListOptions) cli.Flag {
	return oneOf(&o.Format, "text", words("text|json|github"), "format", manual.Reports,
		"text: a table; json: one object per line for each slice; github: annotations and a job summary for a workflow")
}

func allOption(o *command.ListOptions) cli.Flag {
	return boolean(&o.All, "all", manual.Reports, "list valid signatures, too")
}

func unsignedOption(o *command.ListOptions) cli.Flag {
	return oneOf(&o.Unsigned, "fail", []value[report.Unsigned]{{"fail", report.UnsignedFail}, {"warn", report.UnsignedWarn}, {"ignore", report.UnsignedIgnore}},
		"unsigned", manual.Signatures, "arm64 macOS code without a signature, which does not run: count it as invalid, list it with a warning, or ignore it")
}

// unpackOptions returns the options that limit the search in packed files.
func unpackOptions(o *command.Unpack) []cli.Flag {
	return []cli.Flag{
		positive(&o.Depth, refs.DefaultDepth, "deep-depth", manual.Packed, "search up to `N` levels of nested packed files"),
		size(&o.Size, "4GiB", "deep-size", manual.Packed, "search at most `SIZE` of the unpacked contents of a file"),
		positive(&o.Ratio, refs.DefaultRatio, "deep-ratio", manual.Packed, "skip files that expand more than `N`:1"),
	}
}

// limits returns o for a search in packed files, which the option --name turns on, or nil if it is off. A limit alone is
// refused, because whoever sets one expects the search.
func limits(c *cli.Context, o *command.Unpack, name string, on bool) (*command.Unpack, error) {
	if on {
		return o, nil
	}
	for _, limit := range []string{"deep-depth", "deep-size", "deep-ratio"} {
		if c.IsSet(limit) {
			return nil, terminal.Usage("", "--%s needs --%s", limit, name)
		}
	}
	return nil, nil
}
