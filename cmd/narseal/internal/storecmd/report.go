package storecmd

import (
	"crypto/sha256"
	"io"

	"narseal/cmd/narseal/internal/report"
)

// storeReport is the report that --report writes about a store.
type storeReport struct {
	command, storeDir string
	dryRun            bool
	counts            map[string]int
	paths             []*pathReport
	omitted           int64 // paths that did not fit into the budget
}

// pathMemory is the size of a path in memory without its strings and signatures, in bytes, rounded up.
const pathMemory = 512

// pathReport is the part of one path.
type pathReport struct {
	storePath, status string // storePath is empty if it is not known what failed
	errs, warnings    []string
	narHash, newHash  string // empty if not known
	archive           *report.Archive
}

// add adds a path. Without --report, it only counts the path and drops its results.
func (rep *storeReport) add(r *run, f *pathFound) {
	rep.counts[f.status]++
	if r.file == nil {
		f.drop(r.budget)
		return
	}
	p := &pathReport{
		status: f.status, warnings: f.warnings, newHash: f.newHash, archive: report.NewArchive(r.budget),
	}
	if f.Base != "" {
		p.storePath = r.store.Path(f.Base)
	}
	if f.NarHash != ([sha256.Size]byte{}) {
		p.narHash = report.SRI(f.NarHash)
	}
	size := pathMemory + len(p.storePath)
	for _, err := range f.errs {
		p.errs = append(p.errs, err.Error())
		size += len(p.errs[len(p.errs)-1])
	}
	if !r.budget.Take(size) {
		rep.omitted++
		f.drop(r.budget)
		return
	}
	p.archive.Entries, p.archive.Signatures, p.archive.Omitted = f.tally.Entries, f.signatures, f.omitted
	rep.paths = append(rep.paths, p)
}

// write writes the report piece by piece, because it may be long.
func (rep *storeReport) write(w io.Writer) error {
	return report.Write(w, func(o *report.Object) {
		o.Field("schema", report.Schema)
		o.Field("command", "store "+rep.command)
		o.Field("store", rep.storeDir)
		if rep.dryRun {
			o.Field("dryRun", true)
		}
		o.Field("summary", rep.counts)
		report.Objects(o, "paths", rep.paths, func(o *report.Object, p *pathReport) { p.fields(o) })
		if rep.omitted > 0 {
			o.Field("omitted", rep.omitted)
		}
	})
}

func (p *pathReport) fields(o *report.Object) {
	o.Text("storePath", p.storePath)
	o.Field("status", p.status)
	if len(p.errs) > 0 {
		o.Field("errors", p.errs)
	}
	if len(p.warnings) > 0 {
		o.Field("warnings", p.warnings)
	}
	o.Text("narHash", p.narHash)
	o.Text("newNarHash", p.newHash)
	p.archive.Fields(o)
}
