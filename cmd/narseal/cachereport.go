package main

import (
	"crypto/sha256"
	"io"
	"slices"
	"strings"

	"github.com/nix-community/go-nix/pkg/nixhash"
	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/report"
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
	StorePath       string             `json:"storePath"` // or the narinfo's name, if that cannot be read
	NewStorePath    string             `json:"newStorePath,omitempty"`
	Status          binarycache.Status `json:"status"`
	Error           string             `json:"error,omitempty"`
	Warnings        []string           `json:"warnings,omitempty"`
	NarHash         string             `json:"narHash,omitempty"`
	NewNarHash      string             `json:"newNarHash,omitempty"`
	*report.Archive `json:"-"`
}

func newCacheReport(c *cli.Context) (*cacheReport, error) {
	out, err := openReport(c, c.String("report"))
	if err != nil {
		return nil, err
	}
	return &cacheReport{
		out:    out,
		Schema: report.Schema, Command: "cache " + c.Command.Name, Paths: []*pathReport{},
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
		p.Archive = f.Archive
		f.Archive.StorePath = "" // it stands above
		p.NarHash = sriOfNix(res.NarHash)
		if res.Status == binarycache.Changed {
			p.NewStorePath, p.NewNarHash = res.NewStorePath, sriOfNix(res.NewHash)
		}
	}
	r.Paths = append(r.Paths, p)
}

// sriOfNix is report.SRI for a hash as narinfos have it; empty if there is none.
func sriOfNix(s string) string {
	h, err := nixhash.ParseAny(s, nil)
	if err != nil {
		return ""
	}
	return report.SRI([sha256.Size]byte(h.Digest()))
}

// encode writes the report piece by piece: it may be long.
func (r *cacheReport) encode(w io.Writer) error {
	return report.Write(w, func(o *report.Object) {
		o.Field("schema", r.Schema)
		o.Field("command", r.Command)
		o.Field("cache", r.Cache)
		o.Text("output", r.Output)
		if r.DryRun {
			o.Field("dryRun", true)
		}
		o.Text("error", r.Error)
		o.Field("summary", r.Summary)
		o.Field("pruned", r.Pruned)
		report.Objects(o, "paths", r.Paths, func(o *report.Object, p *pathReport) {
			o.Field("storePath", p.StorePath)
			o.Text("newStorePath", p.NewStorePath)
			o.Field("status", p.Status)
			o.Text("error", p.Error)
			if len(p.Warnings) > 0 {
				o.Field("warnings", p.Warnings)
			}
			o.Text("narHash", p.NarHash)
			o.Text("newNarHash", p.NewNarHash)
			if p.Archive != nil {
				p.Fields(o)
			}
		})
	})
}

func (r *cacheReport) write(sum binarycache.Summary, err error) error {
	if err != nil {
		r.Error = err.Error()
	}
	r.Summary, r.Pruned = sum.Paths, sum.Pruned
	slices.SortFunc(r.Paths, func(a, b *pathReport) int { return strings.Compare(a.StorePath, b.StorePath) })
	return r.out.writeReport(r.encode)
}
