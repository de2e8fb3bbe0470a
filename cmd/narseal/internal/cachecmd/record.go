package cachecmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/cachestore"
	"narseal/cmd/narseal/internal/jsontext"
	"narseal/cmd/narseal/internal/ledger"
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
	work.Shard, work.Closure = o.Shard, o.Closure
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

// recorded calls f with an open ledger for work.
func (r *run) recorded(ctx context.Context, o *Options, work ledger.Options, f func() error) error {
	if err := r.openLedger(ctx, o, work); err != nil {
		return err
	}
	defer r.ledger.Close() // if run did not close it
	return f()
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
