package main

import (
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/nix-community/go-nix/pkg/nixhash"
	"github.com/urfave/cli/v2"

	"narseal/nar/binarycache"
)

// cacheReport is what --report writes of a cache.
type cacheReport struct {
	Schema  string                     `json:"schema"`
	Command string                     `json:"command"`
	Cache   string                     `json:"cache"`
	Output  string                     `json:"output,omitempty"`
	DryRun  bool                       `json:"dryRun,omitempty"`
	Error   string                     `json:"error,omitempty"`
	Summary map[binarycache.Status]int `json:"summary"`
	Pruned  int                        `json:"pruned"`
	Paths   []*pathReport              `json:"paths"`

	out *output
}

// pathReport is of one path. It has what the filter found unless the path failed, or was
// finished before.
type pathReport struct {
	StorePath    string             `json:"storePath"` // or the narinfo's name, if that cannot be read
	NewStorePath string             `json:"newStorePath,omitempty"`
	Status       binarycache.Status `json:"status"`
	Error        string             `json:"error,omitempty"`
	Warnings     []string           `json:"warnings,omitempty"`
	NarHash      string             `json:"narHash,omitempty"`
	NewNarHash   string             `json:"newNarHash,omitempty"`
	*archiveReport
}

func newCacheReport(c *cli.Context) (*cacheReport, error) {
	out, err := openReport(c, c.String("report"))
	if err != nil {
		return nil, err
	}
	return &cacheReport{
		out:    out,
		Schema: reportSchema, Command: "cache " + c.Command.Name, Paths: []*pathReport{},
		Cache: c.Args().First(), Output: c.String("output"), DryRun: c.Bool("dry-run"),
	}, nil
}

func (r *cacheReport) add(res binarycache.Result, f *pathFound) {
	p := &pathReport{StorePath: res.StorePath, Status: res.Status, Warnings: res.Warnings}
	if p.StorePath == "" {
		p.StorePath = res.Info
	}
	switch {
	case res.Err != nil:
		p.Error = res.Err.Error()
	case f != nil:
		p.archiveReport = &f.archiveReport
		f.StorePath = "" // it stands above
		p.NarHash = sriOfNix(res.NarHash)
		if res.Status == binarycache.Changed {
			p.NewStorePath, p.NewNarHash = res.NewStorePath, sriOfNix(res.NewHash)
		}
	}
	r.Paths = append(r.Paths, p)
}

// sriOfNix is sriOf for a hash as narinfos have it; empty if there is none.
func sriOfNix(s string) string {
	h, err := nixhash.ParseAny(s, nil)
	if err != nil {
		return ""
	}
	return sriOf([sha256.Size]byte(h.Digest()))
}

func (r *cacheReport) write(sum binarycache.Summary, err error) error {
	if err != nil {
		r.Error = err.Error()
	}
	r.Summary, r.Pruned = sum.Paths, sum.Pruned
	slices.SortFunc(r.Paths, func(a, b *pathReport) int { return strings.Compare(a.StorePath, b.StorePath) })
	return r.out.writeReport(r)
}
