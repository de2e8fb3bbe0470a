package main

import (
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/sandbox"
)

var sandboxFlag = choice("sandbox", "auto", "auto|off",
	"before input is read, give up access to other files and to the network, as far as the system can do that; --verbose says what is left")

// enforce restricts the process. It is nil unless main sets it: a test that calls run would lose its own rights.
var enforce func(sandbox.Policy) (sandbox.Status, error)

// restrict restricts the process unless --sandbox says otherwise.
func restrict(c *cli.Context, t *terminal, p sandbox.Policy) error {
	env := &command.Env{Terminal: t.base(), Enforce: enforce}
	if c.String("sandbox") == "off" && enforce != nil {
		env.Enforce = func(sandbox.Policy) (sandbox.Status, error) {
			return sandbox.Status{Reason: "--sandbox off"}, nil
		}
	}
	return env.Restrict(p)
}

// archivePolicy is for a command whose input and outputs are open.
func archivePolicy(c *cli.Context) sandbox.Policy {
	return sandbox.Policy{Finish: []string{c.String("output"), c.String("report")}, Temp: os.TempDir()}
}

// inputsPolicy is for a command that reads inputs, and makes its report at the end.
func inputsPolicy(c *cli.Context, inputs ...string) sandbox.Policy {
	p := sandbox.Policy{Read: inputs, Finish: []string{c.String("html")}, Create: []string{c.String("report")}, Temp: os.TempDir()}
	if c.String("format") == "github" {
		p.Append = []string{os.Getenv("GITHUB_STEP_SUMMARY")}
	}
	return p
}

// inPlacePolicy is for a command that replaces files.
func inPlacePolicy(c *cli.Context) sandbox.Policy {
	return sandbox.Policy{Edit: c.Args().Slice(), Create: []string{c.String("report")}}
}

// cachePolicy is for a command that reads a cache and, if out is not empty, changes the one there. Its report is open.
func cachePolicy(c *cli.Context, cache, out string) sandbox.Policy {
	p := inputsPolicy(c, cache)
	p.Create, p.Finish = nil, []string{c.String("report")}
	if out != "" {
		// Rights can be given only to what exists. If it cannot be made, the run says so.
		_ = os.MkdirAll(filepath.Clean(out), 0o777)
		p.Own = []string{out}
		p.Edit = []string{out} // files get from one directory to another
	}
	return p
}
