package cachecmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/cachestore"
	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/sandbox"
	"narseal/cmd/narseal/internal/sweepsummary"
)

// SummaryOptions are the options of cache summary.
type SummaryOptions struct {
	Ledgers []string // files, URLs of objects, or command.Stream
	Against []string // the ledgers of an earlier sweep to compare with; may be empty
	Format  string   // text or json
	HTML    string   // a file; empty: none
	Netrc   string
	Version string
}

// Summary adds up ledgers and prints the result.
func Summary(ctx context.Context, e *command.Env, o *SummaryOptions) error {
	var html *atomicfile.Output
	if o.HTML != "" {
		var err error
		if html, err = atomicfile.Create(e.Cleanup, o.HTML); err != nil {
			return fmt.Errorf("--html: %w", err)
		}
		defer html.Abort()
	}
	all := slices.Concat(o.Ledgers, o.Against)
	p := sandbox.Policy{Finish: []string{o.HTML}, Network: slices.ContainsFunc(all, cachestore.IsURL)}
	for _, name := range all {
		if !cachestore.IsURL(name) {
			p.Read = append(p.Read, name)
		}
	}
	if p.Network {
		p.Read = append(p.Read, o.Netrc)
	}
	if err := e.Restrict(p); err != nil {
		return err
	}
	budget := report.NewBudget(report.DefaultBudget / 4) // the Summary needs more memory later
	now := sweepsummary.NewReader(budget)
	var before *sweepsummary.Reader
	if err := o.read(ctx, e, now, o.Ledgers); err != nil {
		return err
	}
	if len(o.Against) > 0 {
		before = sweepsummary.NewReader(budget).OnlyBroken()
		if err := o.read(ctx, e, before, o.Against); err != nil {
			return err
		}
	}
	s := now.Summary(before)
	if html != nil {
		err := s.WriteHTML(html, o.Version)
		if err == nil {
			err = html.Commit()
		}
		if err != nil {
			return fmt.Errorf("--html: %w", err)
		}
	}
	write := s.WriteText
	if o.Format == "json" {
		write = s.WriteJSON
	}
	if err := write(e.List()); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return s.Err()
}

// read reads ledgers into r, one after the other.
func (o *SummaryOptions) read(ctx context.Context, e *command.Env, r *sweepsummary.Reader, names []string) error {
	for _, name := range names {
		in, err := o.open(ctx, e, name)
		if err == nil {
			err = r.Read(in)
			in.Close()
		}
		if err != nil {
			return fmt.Errorf("ledger %s: %w", cachestore.Redact(name), err)
		}
	}
	return nil
}

func (o *SummaryOptions) open(ctx context.Context, e *command.Env, name string) (io.ReadCloser, error) {
	switch {
	case name == command.Stream:
		return io.NopCloser(e.Stdin), nil
	case cachestore.IsURL(name):
		cache, object, err := cachestore.OpenObject(ctx, name, cachestore.Options{Netrc: o.Netrc, Version: o.Version})
		if err != nil {
			return nil, err
		}
		r, _, err := cache.Store.Open(ctx, object)
		return r, err
	}
	return os.Open(name)
}
