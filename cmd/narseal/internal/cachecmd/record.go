package cachecmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/cachestore"
	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/jsontext"
	"narseal/cmd/narseal/internal/ledger"
	"narseal/cmd/narseal/internal/metrics"
	"narseal/cmd/narseal/internal/sandbox"
	"narseal/filter"
	"narseal/macho"
	"narseal/nar/binarycache"
	"narseal/nar/binarycache/narinfo"
)

// openLedger opens the ledger of a run, if there is one. work describes the work that it records.
func (r *run) openLedger(ctx context.Context, o *Options, work ledger.Options) error {
	if o.Ledger == "" {
		return nil
	}
	work.Shard = o.Shard
	var err error
	if !cachestore.IsURL(o.Ledger) {
		r.ledger, err = ledger.Open(o.Ledger, work)
		return err
	}
	cache, object, err := cachestore.OpenObject(ctx, o.Ledger, o.storeOptions())
	if err != nil {
		return fmt.Errorf("--ledger: %w", err)
	}
	file, err := atomicfile.Temp(r.Cleanup)
	if err != nil {
		return fmt.Errorf("ledger: temporary file: %w", err)
	}
	r.ledger, err = ledger.OpenObject(ctx, cache.Store, object, cache.Name+"/"+object, file, work)
	return err
}

// recorded calls f with an open ledger for work, and writes metrics meanwhile.
func (r *run) recorded(ctx context.Context, o *Options, work ledger.Options, f func() error) error {
	if err := r.openLedger(ctx, o, work); err != nil {
		return err
	}
	defer r.ledger.Close() // if run did not close it
	end, err := r.beginMetrics(o)
	if err != nil {
		return err
	}
	outcome := f()
	if err := end(outcome); err != nil {
		r.Terminal.Error(err)
		return cmp.Or(outcome, command.ErrFailed)
	}
	return outcome
}

// grantRecords adds the rights for writing the ledger and the metrics to a policy.
func (o *Options) grantRecords(p *sandbox.Policy) {
	p.Create = append(p.Create, o.Metrics)
	p.Network = p.Network || cachestore.IsURL(o.Ledger)
}

// skip reports whether the ledger has a path. It is for cache verify and for runs that write nothing.
func (r *run) skip(_ context.Context, n *narinfo.Info) (bool, error) {
	return r.ledger.Find(hashPart(n), narinfo.HashText(n.NarHash)) != ledger.New, nil
}

// skipChange returns the skip function of a run that writes a cache: a changed path must still be there.
func (r *run) skipChange(bo *binarycache.RewriteOptions) func(context.Context, *narinfo.Info) (bool, error) {
	if bo.DryRun {
		return r.skip
	}
	return func(ctx context.Context, n *narinfo.Info) (bool, error) {
		state := r.ledger.Find(hashPart(n), narinfo.HashText(n.NarHash))
		switch {
		case state == ledger.New:
			return false, nil
		case bo.Output == nil:
			return state != ledger.Changed, nil // a changed path that has its old hash was put back by somebody
		case bo.Overlay && state == ledger.Unchanged:
			return true, nil
		}
		base := n.Base
		if bo.Rename != nil {
			base = bo.Rename(base)
		}
		_, err := bo.Output.Stat(ctx, narinfo.Name(base))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	}
}

func hashPart(n *narinfo.Info) string { return hashPartOf(narinfo.Name(n.Base)) }

// record writes a finished path to the ledger. An error ends the run.
func (r *run) record(res binarycache.Result, f *pathFound) {
	if r.ledger == nil {
		return
	}
	if line, ok := ledgerLine(&res, f); ok {
		if err := r.ledger.Add(line); err != nil {
			r.stop(err)
		}
	}
}

// ledgerLine returns the ledger line of a path. ok is false if the next run has to process the path again in any case.
func ledgerLine(res *binarycache.Result, f *pathFound) (line ledger.Line, ok bool) {
	line = ledger.Line{StorePath: res.StorePath, NarHash: sriOfNix(res.NarHash), Status: string(res.Status)}
	switch res.Status {
	case binarycache.Skipped, binarycache.Excluded:
		return line, false
	case binarycache.Missing:
		line.StorePath = hashPartOf(res.Info)
		return line, true
	case binarycache.Failed:
		line.Error = res.Err.Error()
		return line, res.StorePath != "" && isPermanent(res.Err)
	case binarycache.Changed:
		line.NewNarHash = sriOfNix(res.NewHash)
	case binarycache.Finished: // the last run was killed after it wrote the cache and before it wrote the ledger
		line.Status = string(binarycache.Unchanged)
		if res.NewHash != "" && res.NewHash != res.NarHash {
			line.Status, line.NewNarHash = string(binarycache.Changed), sriOfNix(res.NewHash)
		}
	}
	if f != nil {
		line.Signatures, line.Omitted = ledgerSignatures(f.Signatures)
		line.Omitted += f.Omitted
	}
	return line, true
}

// isPermanent reports whether a path will fail with err until the cache changes.
func isPermanent(err error) bool {
	var signature *filter.SignatureError
	return errors.As(err, &signature) || errors.Is(err, binarycache.ErrMismatch) || errors.Is(err, binarycache.ErrUntrusted) ||
		errors.Is(err, binarycache.ErrConflict) || errors.Is(err, fs.ErrNotExist)
}

// maxLedgerPaths limits the bytes of the file paths in a line. In memory, paths in deep directories share the
// directories' names; written out, they do not.
const maxLedgerPaths = 1 << 20

// ledgerSignatures selects the signatures that a ledger records: those that are invalid or were repaired.
func ledgerSignatures(list []filter.Signature) (kept []ledger.Signature, omitted int64) {
	left := maxLedgerPaths
	for i := range list {
		s := &list[i]
		if s.OK() && s.Status != macho.StatusRepaired {
			continue
		}
		if n := s.Path.Len(); n > left {
			omitted++
			continue
		} else {
			left -= n
		}
		kept = append(kept, ledger.Signature{Path: jsontext.String(s.Path.String()), Slice: s.Slice})
	}
	return kept, omitted
}

// metricsInterval is the time between two writes of the file of --metrics.
const metricsInterval = 15 * time.Second

// meters are the numbers for --metrics.
type meters struct {
	file string
	metrics.Values
}

// beginMetrics writes the file once, as a check, and then at every metricsInterval until the returned function is
// called.
func (r *run) beginMetrics(o *Options) (end func(error) error, err error) {
	if o.Metrics == "" {
		return func(error) error { return nil }, nil
	}
	r.meters = &meters{file: o.Metrics, Values: metrics.Values{
		Command: "cache " + r.rep.command, Shard: o.shardName(), Version: o.Version, Start: time.Now(), Paths: map[string]int64{},
	}}
	if err := r.writeMetrics(); err != nil {
		return nil, err
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(metricsInterval)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				if err := r.writeMetrics(); err != nil {
					r.Terminal.Warnf("%v", err)
				}
			}
		}
	}()
	return func(outcome error) error {
		close(stop)
		<-stopped
		r.mu.Lock()
		r.meters.End, r.meters.Success = time.Now(), outcome == nil
		r.mu.Unlock()
		return r.writeMetrics()
	}, nil
}

// writeMetrics replaces the file.
func (r *run) writeMetrics() error {
	out, err := atomicfile.Create(r.Cleanup, r.meters.file)
	if err == nil {
		r.mu.Lock()
		r.meters.Newest, r.meters.List, r.meters.Bytes = r.age.newest, r.age.listed, r.read.Load()
		err = r.meters.Write(out)
		r.mu.Unlock()
		if err == nil {
			err = out.Commit()
		}
		out.Abort()
	}
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

// measure counts a finished path. The caller holds run.mu.
func (m *meters) measure(res *binarycache.Result, f *pathFound) {
	if m == nil {
		return
	}
	m.Paths[string(res.Status)]++
	if f != nil && res.Err == nil {
		m.Slices += f.tally.Slices
		m.Invalid += f.tally.Invalid
		m.Repaired += f.result.Repaired
	}
}
