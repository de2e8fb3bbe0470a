package binarycache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"narseal/nar/binarycache/narinfo"
	"narseal/nar/binarycache/state"
)

// Directories of a cache.
const (
	debugInfoDir    = "debuginfo"
	logDir          = "log"
	realisationsDir = "realisations"
)

const maxDebugInfo = 1 << 16 // bytes of an object in debugInfoDir

// A pruner deletes the objects that the work has replaced: first the narinfos (and listings) of store paths that have a
// new one, then the NARs that nothing names any more.
//
// A State can be forged, so its records are only hints. A narinfo is deleted if it has the recorded contents, the rules
// of this run give its path the recorded new name, and the narinfo of that name has the recorded contents. A NAR is a
// candidate if it has a NAR's name and was named by a narinfo that this run has read and replaced, or that an earlier
// run has replaced by one that the cache now has with the recorded contents.
//
// A candidate stays if any narinfo or debuginfo names it. All candidates stay if one of those cannot be read, because
// it might name them. Narinfos may be added meanwhile, so the store is listed again before each deletion, and new
// narinfos are read. The listing is skipped if the last one began less than twice its duration ago. Two cases remain: a
// narinfo that is published within twice the duration of a listing before the NAR that it names is deleted, and a
// narinfo whose writer saw the NAR before the deletion and publishes after it. No store can exclude the latter: keep
// such writers away.
type pruner struct {
	*run
	candidates map[string][]string // NARs, by narKey
	seen       map[uint64]bool     // narinfos and debuginfos that were read, by name and version
	seed       maphash.Seed
	listed     time.Time     // when the last listing began
	took       time.Duration // and how long it took
}

func (r *run) prune(ctx context.Context) error {
	p := &pruner{run: r, candidates: map[string][]string{}, seen: map[uint64]bool{}, seed: maphash.MakeSeed()}
	if err := p.collect(ctx); err != nil {
		return fmt.Errorf("prune: %w", err)
	}
	if len(p.candidates) == 0 {
		return nil
	}
	if err := p.look(ctx); err != nil {
		return err
	}
	names := slices.Concat(slices.Collect(maps.Values(p.candidates))...)
	slices.Sort(names)
	for _, name := range names {
		if err := p.deleteNAR(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// deleteNAR deletes a NAR if it is still a candidate.
func (p *pruner) deleteNAR(ctx context.Context, name string) error {
	o, err := p.in.Stat(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("prune: %w", err)
	}
	if time.Since(p.listed) > 2*p.took {
		if err := p.look(ctx); err != nil {
			return err
		}
	}
	if _, ok := p.candidates[narKey(name)]; !ok {
		return nil
	}
	if err := p.delete(ctx, name, Condition{Version: o.Version}); err != nil && !errors.Is(err, ErrChanged) {
		return fmt.Errorf("prune: %w", err)
	}
	return nil
}

// collect deletes narinfos and finds the NARs that may be deleted.
func (p *pruner) collect(ctx context.Context) error {
	for _, rec := range p.changes {
		if err := p.retire(ctx, rec); err != nil {
			return err
		}
		p.add(rec)
	}
	for rec, err := range p.State.Changes() {
		if err != nil {
			return err
		}
		now, _, err := p.recorded(ctx, rec.Out)
		if err != nil {
			return err
		}
		if now == nil {
			continue
		}
		if err := p.retire(ctx, rec); err != nil {
			return err
		}
		p.add(rec)
	}
	return nil
}

func (p *pruner) add(rec state.Record) {
	if rec.OldNAR != rec.NewNAR && narinfo.IsNAR(rec.OldNAR) {
		key := narKey(rec.OldNAR)
		if !slices.Contains(p.candidates[key], rec.OldNAR) {
			p.candidates[key] = append(p.candidates[key], rec.OldNAR)
		}
	}
}

// recorded returns the narinfo of a record if the cache still has it with these contents.
func (r *run) recorded(ctx context.Context, id state.ID) (*narinfo.Info, Object, error) {
	b, o, err := load(ctx, r.in, id.Name, narinfo.MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, o, nil
	}
	if err != nil || state.Identify(id.Name, b) != id {
		return nil, o, err
	}
	n, err := narinfo.ParseNamed(id.Name, b, r.cache.StoreDir)
	return n, o, err
}

// retire deletes the narinfo of a path that has a new one, and its listing.
func (p *pruner) retire(ctx context.Context, rec state.Record) error {
	if rec.In.Name == rec.Out.Name {
		return nil
	}
	old, o, err := p.recorded(ctx, rec.In)
	if err != nil || old == nil {
		return err
	}
	now, _, err := p.recorded(ctx, rec.Out)
	if err != nil || now == nil {
		return err
	}
	if out, _ := p.moved(old); out != rec.Out.Name || p.rename(old.Base) != now.Base {
		return nil
	}
	if err := p.delete(ctx, rec.In.Name, Condition{Version: o.Version}); errors.Is(err, ErrChanged) {
		return nil // another program has replaced it
	} else if err != nil {
		return err
	}
	return p.delete(ctx, narinfo.ListingName(rec.In.Name), Condition{})
}

// look removes from the candidates the NARs that a narinfo or debuginfo names which was not read before.
func (p *pruner) look(ctx context.Context) error {
	p.listed = time.Now()
	defer func() { p.took = time.Since(p.listed) }()
	for _, dir := range []string{"", debugInfoDir} {
		for o, err := range p.in.List(ctx, dir) {
			if errors.Is(err, fs.ErrNotExist) && dir != "" {
				break
			}
			if err != nil {
				return fmt.Errorf("prune: %w", err)
			}
			if dir == "" && !narinfo.IsName(o.Name) {
				continue
			}
			id := maphash.String(p.seed, o.Name+"\x00"+string(o.Version))
			if p.seen[id] && o.Version != "" {
				continue
			}
			if err := p.read(ctx, o.Name, dir); err != nil {
				return fmt.Errorf("prune: no NAR is deleted, because this object might name it: %w", err)
			}
			p.seen[id] = true
		}
	}
	return nil
}

// read removes from the candidates the NAR that an object names.
func (p *pruner) read(ctx context.Context, name, dir string) error {
	limit := int64(narinfo.MaxSize)
	if dir != "" {
		limit = maxDebugInfo
	}
	b, _, err := load(ctx, p.in, name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if dir == "" {
		n, err := narinfo.Parse(b, p.cache.StoreDir)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		delete(p.candidates, narKey(n.URL))
		return nil
	}
	// As Nix's index-debug-info writes it: {"archive":"../nar/HASH.nar.xz","member":"lib/debug/…"}.
	var link struct{ Archive string }
	if err := json.Unmarshal(b, &link); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	delete(p.candidates, narKey(path.Join(dir, link.Archive)))
	return nil
}

// delete deletes an object and counts it.
func (p *pruner) delete(ctx context.Context, name string, c Condition) error {
	err := p.in.Delete(ctx, name, c)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		p.summary.Pruned++
	}
	return err
}

// narKey returns the form of a name that is the same in stores that ignore case, and without a query: a server that serves
// the cache finds the same file with any.
func narKey(name string) string {
	file, _, _ := strings.Cut(name, "?")
	return strings.ToLower(file)
}
