package cachecmd

import (
	"cmp"
	"crypto/sha256"
	"io"
	"time"

	"github.com/nix-community/go-nix/pkg/nixhash"

	"narseal/cmd/narseal/internal/ledger"
	"narseal/cmd/narseal/internal/report"
	"narseal/nar/binarycache"
)

// cacheReport is the report that --report writes about a cache.
type cacheReport struct {
	command       string
	cache, output string
	dryRun        bool
	shard         string
	age           *age
	err           string
	closure       *ledger.Closure // nil without one
	summary       binarycache.Summary
	paths         pathReports
}

// add adds one path to the report. It describes the archive, unless the path failed or f is nil.
func (r *cacheReport) add(res binarycache.Result, f *pathFound) {
	name := cmp.Or(res.StorePath, res.Info) // the narinfo's name, if it could not be read
	r.paths.add(name, func(o *report.Object) {
		o.Field("storePath", name)
		done := res.Err == nil && f != nil
		changed := done && res.Status == binarycache.Changed
		if changed {
			o.Text("newStorePath", res.NewStorePath)
		}
		o.Field("status", res.Status)
		if res.Err != nil {
			o.Text("error", res.Err.Error())
		}
		if len(res.Warnings) > 0 {
			o.Field("warnings", res.Warnings)
		}
		if !done {
			return
		}
		o.Text("narHash", sriOfNix(res.NarHash))
		if changed {
			o.Text("newNarHash", sriOfNix(res.NewHash))
		}
		f.Archive.StorePath = "" // the path's own field has it
		f.Archive.Fields(o)
	})
}

// end completes the report of a run that ended in err.
func (r *cacheReport) end(sum binarycache.Summary, err error) {
	if err != nil {
		r.err = err.Error()
	}
	r.summary = sum
}

// sriOfNix converts a hash from a narinfo to the form of report.SRI. It returns "" if s is not a SHA-256 hash.
func sriOfNix(s string) string {
	h, err := nixhash.ParseAny(s, nil)
	if err != nil || len(h.Digest()) != sha256.Size {
		return ""
	}
	return report.SRI([sha256.Size]byte(h.Digest()))
}

// write writes the report piece by piece, because it may be long.
func (r *cacheReport) write(w io.Writer) error {
	return report.Write(w, func(o *report.Object) {
		o.Field("schema", report.Schema)
		o.Field("command", "cache "+r.command)
		o.Field("cache", r.cache)
		o.Text("output", r.output)
		if r.dryRun {
			o.Field("dryRun", true)
		}
		o.Text("shard", r.shard)
		if r.age != nil && !r.age.of().IsZero() {
			o.Field("input", newInputAge(r.age, time.Now()))
		}
		o.Text("error", r.err)
		if r.closure != nil {
			o.Field("closure", newClosure(r.closure))
		}
		o.Field("summary", r.summary.Paths)
		o.Field("pruned", r.summary.Pruned)
		o.Field("others", r.summary.Others)
		r.paths.write(o, "paths")
	})
}

// closure is what a run knows of the closure that it has searched: see ledger.Closure.
type closure struct {
	Paths   int      `json:"paths"`
	Digest  string   `json:"digest"`
	Unknown []string `json:"unknown"`
}

func newClosure(c *ledger.Closure) closure { return closure{c.Paths, c.Digest, c.Unknown} }

// inputAge is the age of the input, as JSON.
type inputAge struct {
	Newest *time.Time `json:"newestNarinfo,omitempty"`
	Listed *time.Time `json:"list,omitempty"` // when the oldest list was last changed
	Age    int64      `json:"ageSeconds"`
}

func newInputAge(a *age, now time.Time) inputAge {
	point := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		t = t.UTC()
		return &t
	}
	return inputAge{point(a.newest), point(a.listed), int64(now.Sub(a.of()).Seconds())}
}
