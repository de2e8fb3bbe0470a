// Package storecmd implements the commands for the Nix store of this machine. It takes values, not flags.
package storecmd

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/nixcli"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/macho"
)

// Options are those of all commands on stores.
type Options struct {
	command.Common
	StoreDir string   // empty: that of Nix's environment
	Paths    []string // as the user gives them; none: all valid paths
	Closure  bool     // what the Paths refer to, too
	Jobs     int      // paths to work on at a time
}

// VerifyOptions are those of store verify.
type VerifyOptions struct {
	Options
	List    command.ListOptions
	HTML    string // the file of the HTML report; empty: none
	Version string // of narseal, for the HTML report
}

// RepairOptions are those of store repair.
type RepairOptions struct {
	Options
	SecretKeys []signature.SecretKey // none: one is made for the run
	OnCMS      macho.CMSPolicy
	State      string // the directory for what is staged; empty: beside Nix's database, or the user's own
	DryRun     bool
}

// open opens the store.
func (o *Options) open(ctx context.Context) (*nixcli.Store, error) {
	return nixcli.Open(ctx, nixcli.Options{Dir: o.StoreDir, Environ: os.Environ()})
}

// inputs are what the report says that was looked at.
func (o *Options) inputs(s *nixcli.Store) []string {
	if len(o.Paths) > 0 {
		return o.Paths
	}
	return []string{s.Dir}
}

// list returns the valid paths to work on. What cannot be taken goes to fail.
func (o *Options) list(ctx context.Context, s *nixcli.Store, fail func(error)) ([]nixcli.Path, error) {
	if len(o.Paths) == 0 {
		return s.All(ctx)
	}
	var bases []string
	for _, file := range o.Paths {
		base, err := s.Base(file)
		if err != nil {
			fail(err)
			continue
		}
		bases = append(bases, base)
	}
	invalid, err := s.Invalid(ctx, bases...)
	if err != nil {
		return nil, err
	}
	lost := map[string]bool{}
	for _, base := range invalid {
		if !lost[base] {
			lost[base] = true
			fail(fmt.Errorf("%s: %w", s.Path(base), errNotValid))
		}
	}
	valid := bases[:0]
	for _, base := range bases {
		if !lost[base] {
			valid = append(valid, base)
		}
	}
	if len(valid) == 0 {
		return nil, nil
	}
	if o.Closure {
		if valid, err = s.Closure(ctx, valid...); err != nil {
			return nil, err
		}
	}
	paths, err := s.Info(ctx, valid...)
	for i := range paths {
		paths[i].Deriver, paths[i].References = "", nil // there may be many; see Info
	}
	return paths, err
}

var errNotValid = errors.New("not a valid path in Nix's database")

// rightsError adds to an error of access what would help.
func rightsError(err error) error {
	var access *nixcli.AccessError
	if !errors.As(err, &access) {
		return err
	}
	return terminal.Hint(err, "run it as root with NIX_REMOTE empty (sudo env NIX_REMOTE= narseal store repair …), "+
		"as a user in trusted-users of the daemon's nix.conf, or as the owner of a single-user store; --dry-run needs no privileges")
}
