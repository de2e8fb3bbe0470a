// Package storecmd implements the commands for the Nix store of this machine. It takes values, not flags.
package storecmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/nixcli"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/macho"
)

// Options are the options that all commands on stores share.
type Options struct {
	command.Common
	StoreDir string   // empty: as set by Nix's environment
	Paths    []string // as given by the user; none: all valid paths
	Closure  bool     // include everything that Paths refer to
	Jobs     int      // the number of paths to process at the same time
}

// VerifyOptions are the options of store verify.
type VerifyOptions struct {
	Options
	List    command.ListOptions
	HTML    string // the file of the HTML report; empty: none
	Version string // of narseal, for the HTML report
}

// RepairOptions are the options of store repair.
type RepairOptions struct {
	Options
	SecretKeys []signature.SecretKey // none: a temporary one is generated
	OnCMS      macho.CMSPolicy
	State      string // the directory for staged paths; empty: beside Nix's database, or the user's own
	DryRun     bool
}

// open opens the store.
func (o *Options) open(ctx context.Context) (*nixcli.Store, error) {
	return nixcli.Open(ctx, nixcli.Options{Dir: o.StoreDir, Environ: os.Environ()})
}

// inputs returns the inputs for the report.
func (o *Options) inputs(s *nixcli.Store) []string {
	if len(o.Paths) > 0 {
		return o.Paths
	}
	return []string{s.Dir}
}

// list calls each for every valid path to process, without references and deriver. It passes the errors of other paths to
// leaveOut.
func (o *Options) list(ctx context.Context, s *nixcli.Store, leaveOut func(nixcli.Path, error), each func(*nixcli.Path) error) error {
	if len(o.Paths) == 0 {
		return s.All(ctx, each)
	}
	bases, err := o.valid(ctx, s, leaveOut)
	if err != nil || len(bases) == 0 {
		return err
	}
	if o.Closure {
		if bases, err = s.Closure(ctx, bases...); err != nil {
			return err
		}
	}
	slices.Sort(bases)
	for part := range slices.Chunk(slices.Compact(bases), nixcli.MaxArguments) {
		paths, err := s.Info(ctx, part...)
		if err != nil {
			return err
		}
		for i := range paths {
			if err := each(&paths[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// valid returns the valid ones of the paths that the user named.
func (o *Options) valid(ctx context.Context, s *nixcli.Store, leaveOut func(nixcli.Path, error)) ([]string, error) {
	var bases []string
	for _, file := range o.Paths {
		base, err := s.Base(file)
		if err != nil {
			leaveOut(nixcli.Path{}, err)
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
			leaveOut(nixcli.Path{Base: base}, fmt.Errorf("%s: %w", s.Path(base), errNotValid))
		}
	}
	return slices.DeleteFunc(bases, func(base string) bool { return lost[base] }), nil
}

var errNotValid = errors.New("not a valid path in Nix's database")

// rightsError adds a hint to an AccessError.
func rightsError(err error) error {
	var access *nixcli.AccessError
	if !errors.As(err, &access) {
		return err
	}
	if access.Owner != "" {
		return terminal.Hint(err, "run it as that user: sudo -u '"+access.Owner+"' narseal store repair …; --dry-run needs no privileges")
	}
	return terminal.Hint(err, "run it as root with NIX_REMOTE empty (sudo env NIX_REMOTE= narseal store repair …), "+
		"as a user in trusted-users of the daemon's nix.conf, or as the owner of a single-user store; --dry-run needs no privileges")
}
