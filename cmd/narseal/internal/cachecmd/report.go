package cachecmd

import (
	"cmp"
	"crypto/sha256"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/nix-community/go-nix/pkg/nixhash"

	"narseal/cmd/narseal/internal/report"
	"narseal/nar/binarycache"
)

// cacheReport is what --report writes of a cache.
type cacheReport struct {
	command       string
	cache, output string
	dryRun        bool
	shard         string
	age           *age
	err           string
	summary       binarycache.Summary
	paths         []*pathReport
}

// pathReport is the part of one path. It has an Archive unless the path failed, or was finished before.
type pathReport struct {
	storePath, newStorePath string // or the name of a narinfo that cannot be read
	status                  binarycache.Status
	err                     string
	warnings                []string
	narHash, newNarHash     string
	archive                 *report.Archive
}

func (r *cacheReport) add(res binarycache.Result, f *pathFound) {
	p := &pathReport{storePath: cmp.Or(res.StorePath, res.Info), status: res.Status, warnings: res.Warnings}
	switch {
	case res.Err != nil:
		p.err = res.Err.Error()
	case f != nil:
		p.archive = f.Archive
		p.archive.StorePath = "" // the path's own field has it
		p.narHash = sriOfNix(res.NarHash)
		if res.Status == binarycache.Changed {
			p.newStorePath, p.newNarHash = res.NewStorePath, sriOfNix(res.NewHash)
		}
	}
	r.paths = append(r.paths, p)
}

// end completes the report of a run that ended in err.
func (r *cacheReport) end(sum binarycache.Summary, err error) {
	if err != nil {
		r.err = err.Error()
	}
	r.summary = sum
	slices.SortFunc(r.paths, func(a, b *pathReport) int { return strings.Compare(a.storePath, b.storePath) })
}

// sriOfNix is report.SRI of a hash as narinfos have it, and empty if there is none.
func sriOfNix(s string) string {
	h, err := nixhash.ParseAny(s, nil)
	if err != nil || len(h.Digest()) != sha256.Size {
		return ""
	}
	return report.SRI([sha256.Size]byte(h.Digest()))
}

// write writes the report piece by piece: it may be long.
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
		o.Field("summary", r.summary.Paths)
		o.Field("pruned", r.summary.Pruned)
		o.Field("others", r.summary.Others)
		report.Objects(o, "paths", r.paths, func(o *report.Object, p *pathReport) { p.fields(o) })
	})
}

func (p *pathReport) fields(o *report.Object) {
	o.Field("storePath", p.storePath)
	o.Text("newStorePath", p.newStorePath)
	o.Field("status", p.status)
	o.Text("error", p.err)
	if len(p.warnings) > 0 {
		o.Field("warnings", p.warnings)
	}
	o.Text("narHash", p.narHash)
	o.Text("newNarHash", p.newNarHash)
	if p.archive != nil {
		p.archive.Fields(o)
	}
}

// inputAge says how old the input is.
type inputAge struct {
	Newest *time.Time `json:"newestNarinfo,omitempty"`
	Listed *time.Time `json:"list,omitempty"` // when the oldest list was changed
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
