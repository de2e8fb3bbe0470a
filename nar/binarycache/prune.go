package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// prune deletes what the work has replaced: first the narinfos (and listings) of store
// paths that have a new one, then the NARs that no narinfo names any more. A narinfo
// that cannot be read might name any of them, so then they all stay.
func (r *run) prune(ctx context.Context) error {
	candidates := map[string]bool{}
	for _, rec := range r.journal.records() {
		if rec.OldNAR != rec.NewNAR {
			candidates[rec.OldNAR] = true
		}
		if rec.In.Name == rec.Out.Name || !r.isDone(ctx, rec.In) {
			continue
		}
		b, err := load(ctx, r.in, rec.In.Name, maxInfo)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("prune: %w", err)
		}
		if identify(rec.In.Name, b) != rec.In {
			continue // somebody has put another there
		}
		if err := r.delete(ctx, rec.In.Name); err != nil {
			return err
		}
		if err := r.delete(ctx, strings.TrimSuffix(rec.In.Name, infoSuffix)+listSuffix); err != nil {
			return err
		}
	}
	if len(candidates) == 0 {
		return nil
	}
	for o, err := range r.in.List(ctx, "") {
		if err != nil {
			return fmt.Errorf("prune: %w", err)
		}
		if !isInfoName(o.Name) {
			continue
		}
		b, err := load(ctx, r.in, o.Name, maxInfo)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("prune: no NAR is deleted, for this narinfo might name it: %w", err)
		}
		n, err := parseInfo(b, r.cache.storeDir)
		if err != nil {
			return fmt.Errorf("prune: no NAR is deleted, for this narinfo might name it: %s: %w", o.Name, err)
		}
		delete(candidates, n.URL)
	}
	for _, name := range slices.Sorted(maps.Keys(candidates)) {
		if err := r.delete(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// delete deletes an object and counts it.
func (r *run) delete(ctx context.Context, name string) error {
	if _, err := r.in.Stat(ctx, name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := r.in.Delete(ctx, name); err != nil {
		return fmt.Errorf("prune: %w", err)
	}
	r.summary.Pruned++
	return nil
}
