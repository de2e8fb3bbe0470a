package command

import (
	"os"

	"narseal/cmd/narseal/internal/sandbox"
	"narseal/cmd/narseal/internal/terminal"
)

// Restrict leaves the program only what the policy grants, for the rest of its life. A command calls it as soon as its
// outputs and its one input are open, and before it reads a byte of input.
func (e *Env) Restrict(p sandbox.Policy) error {
	if e.Enforce == nil {
		return nil
	}
	status, err := e.Enforce(p)
	if err != nil {
		return terminal.Hint(err, "--sandbox off turns the sandbox off")
	}
	e.Terminal.Infof("sandbox: %s", status)
	return nil
}

// restrictToArchive restricts a command that reads one input, and whose input and outputs are open.
func (e *Env) restrictToArchive(common *Common, o *Archive) error {
	return e.Restrict(sandbox.Policy{Finish: []string{o.Output, common.Report}, Temp: os.TempDir()})
}
