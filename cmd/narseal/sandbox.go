package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/sandbox"
	"narseal/nar/binarycache"
)

var sandboxFlag = choice("sandbox", "auto", "auto|off",
	"before input is read, give up access to other files and to the network, as far as the system can do that; --verbose says what is left")

// enforce restricts the process. It is nil unless main sets it: a test that calls run would lose its own rights.
var enforce func(sandbox.Policy) (sandbox.Status, error)

// enforcer returns what restricts the process as --sandbox says.
func enforcer(c *cli.Context) func(sandbox.Policy) (sandbox.Status, error) {
	if c.String("sandbox") == "off" && enforce != nil {
		return func(sandbox.Policy) (sandbox.Status, error) {
			return sandbox.Status{Reason: "--sandbox off"}, nil
		}
	}
	return enforce
}

// restrict restricts the process unless --sandbox says otherwise.
func restrict(c *cli.Context, t *terminal, p sandbox.Policy) error { return newEnv(c, t).Restrict(p) }

// archivePolicy is for a command whose input and outputs are open.
func archivePolicy(c *cli.Context) sandbox.Policy {
	return sandbox.Policy{Finish: []string{c.String("output"), c.String("report")}, Temp: os.TempDir()}
}

// cachePolicy is for a command that reads a cache. Its report is open.
func cachePolicy(c *cli.Context, cache string) sandbox.Policy {
	p := sandbox.Policy{Read: []string{cache}, Finish: []string{c.String("report")}, Temp: os.TempDir()}
	if c.String("format") == "github" {
		p.Append = []string{os.Getenv("GITHUB_STEP_SUMMARY")}
	}
	return p
}

// restrictToCache restricts a command that changes the cache at dir, or writes another one. Its state is open.
func restrictToCache(c *cli.Context, t *terminal, dir string, o *binarycache.RewriteOptions) error {
	p := cachePolicy(c, dir)
	if !o.DryRun {
		to := dir
		if s := c.String("output"); s != "" {
			var err error
			if to, err = cacheFolder(s); err != nil {
				return err
			}
		}
		// Rights can be given only to what exists. If it cannot be made, the run says so.
		_ = os.MkdirAll(filepath.Clean(to), 0o777)
		p.Own = []string{to}
		if o.State != nil {
			state := c.String("state")
			if state == "" {
				state, _ = stateDir() // it was found before
			}
			p.Own = append(p.Own, state)
		}
	}
	if err := restrict(c, t, p); err != nil {
		if o.State != nil {
			err = errors.Join(err, o.State.Close())
		}
		return err
	}
	return nil
}
