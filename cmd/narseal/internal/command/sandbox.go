package command

import (
	"os"

	"narseal/cmd/narseal/internal/sandbox"
	"narseal/cmd/narseal/internal/terminal"
)

// Restrict permanently gives up all rights of the process that the policy does not grant. A command calls it once its
// outputs and its single input are open, before it reads any input.
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

// restrictToArchive calls Restrict for a command that reads one input, and whose input and outputs are open.
func (e *Env) restrictToArchive(common *Common, o *Archive) error {
	return e.Restrict(sandbox.Policy{Finish: []string{o.Output, common.Report}, Temp: os.TempDir()})
}
