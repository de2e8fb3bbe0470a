package binarycache

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"strings"
	"sync"
	"sync/atomic"

	"narseal/nar/binarycache/internal/order"
	"narseal/nar/binarycache/internal/realisation"
	"narseal/nar/binarycache/internal/spill"
	"narseal/nar/binarycache/internal/stream"
	"narseal/nar/binarycache/narinfo"
	"narseal/nar/storepath"
)

// Besides paths, a cache may have build logs (log/DERIVATION), realisations (realisations/ID.doi) and, for debuggers,
// links from a build ID to a NAR and a file in it (debuginfo/ID). They are copied to an Output, and updated:
//
//   - A realisation names a store path. If the path is renamed, the realisation names the new path, and signatures by
//     the secret keys replace the others. With TrustedKeys, one of them must have signed it.
//   - A debuginfo names a NAR. If the NAR has a new name, the debuginfo gets it. A debuginfo whose NAR is missing is
//     not written.
//   - A log has the name of a derivation, which the rules may rename.
//
// They are written after the paths that they name.
//
// An Overlay has none of them: its objects keep their names, so those in the cache are still right, and clients ask the
// cache, too. A run of some paths, by Hashes or Since, copies the realisations of the paths that are in the output.
// Realisations are named by derivation, so all of them are read. Only content-addressed paths have realisations; a run
// without such paths skips them. Nothing says which logs and debuginfos belong to the paths of such a run.
type others struct {
	*run
	nars order.Names
	seen sync.Map // whether NARs and narinfos are in the output; cleared when there are maxSeen
	n    int      // of seen
	err  error    // see failed

	addressed atomic.Bool // the run has a content-addressed path, so that there may be realisations
}

// Limits on these objects, in bytes, and on what is remembered of them.
const (
	maxOther  = 1 << 20 // a realisation, a debuginfo
	maxLog    = 1 << 30
	maxSeen   = 1 << 14
	maxWarned = 3 // of a directory
)

// ofSome reports whether the run works only on some paths of the cache, which the caller selects by name or by time.
func (r *run) ofSome() bool { return r.Hashes != nil || !r.Since.IsZero() }

// hasOthers reports whether the run handles these objects, and records whether there are debuginfos.
func (r *run) hasOthers(ctx context.Context) (bool, error) {
	if r.out == nil || r.DryRun || r.Overlay {
		return false, nil
	}
	if r.ofSome() {
		return !r.inPlace || r.Rename != nil, nil
	}
	r.others.nars.Text.Open = r.TempFile
	for _, err := range r.in.List(ctx, debugInfoDir) {
		if err != nil {
			break // a later listing returns it again, or there are none
		}
		r.others.nars.Wanted = true
		break
	}
	return r.others.nars.Wanted || !r.inPlace || r.Rename != nil, ctx.Err()
}

// finish works on the objects of each directory.
func (o *others) finish(ctx context.Context) error {
	dirs := []struct {
		name string
		work func(ctx context.Context, listed Object) error
	}{{logDir, o.log}, {realisationsDir, o.realisation}, {debugInfoDir, o.debugInfo}}
	if o.inPlace && o.nars.Wanted {
		if err := o.earlier(ctx); err != nil {
			return err
		}
	}
	for _, d := range dirs {
		if o.ofSome() && (d.name != realisationsDir || !o.addressed.Load()) ||
			o.inPlace && (d.name == logDir || d.name == realisationsDir && o.Rename == nil || d.name == debugInfoDir && o.nars.Len() == 0) {
			continue
		}
		if err := o.each(ctx, d.name, d.work); err != nil {
			return err
		}
	}
	return o.err
}

// earlier records the names of NARs that earlier runs have changed.
func (o *others) earlier(ctx context.Context) error {
	for rec, err := range o.State.Changes() {
		if err != nil {
			return err
		}
		if now, _, err := o.recorded(ctx, rec.Out); err != nil || now == nil {
			continue // another program has changed it
		}
		if err := o.nars.Add(rec.OldNAR, rec.NewNAR); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// failed keeps the first error of reading the output for the end of the run: the other objects are still written.
func (o *others) failed(err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = cmp.Or(o.err, err)
	return err
}

// each works on the objects of a directory, several at a time.
func (o *others) each(ctx context.Context, dir string, work func(ctx context.Context, listed Object) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	objects := make(chan Object)
	var workers sync.WaitGroup
	var left atomic.Int64
	for range max(1, o.Jobs) {
		workers.Go(func() {
			for listed := range objects {
				err := narinfo.CheckObjectName(listed.Name)
				if err == nil {
					err = work(ctx, listed)
				}
				var oe *outputError
				switch {
				case err == nil:
				case errors.As(err, &oe):
					cancel(err)
				case ctx.Err() == nil && left.Add(1) <= maxWarned:
					o.warn(fmt.Sprintf("%s is left out: %v", listed.Name, err))
				}
			}
		})
	}
	for object, err := range o.in.List(ctx, dir) {
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errors.ErrUnsupported) {
				cancel(fmt.Errorf("list %s: %w", dir, err))
			}
			break
		}
		select {
		case objects <- object:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(objects)
	workers.Wait()
	if n := left.Load() - maxWarned; n > 0 {
		o.warn(fmt.Sprintf("%d more objects of %s are left out", n, dir))
	}
	return context.Cause(ctx)
}

// selects reports whether this run works on the object with this hash part.
func (o *others) selects(hash string) bool { return o.Select == nil || o.Select(hash) }

func (r *run) warn(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Warn != nil {
		r.Warn(text)
	}
}

// written counts an object.
func (o *others) written() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.summary.Others++
}

// log copies a log.
func (o *others) log(ctx context.Context, listed Object) error {
	dir, base := path.Split(listed.Name)
	if hash := base[:min(len(base), storepath.HashLen)]; storepath.CheckHash(hash) == nil && !o.selects(hash) {
		return nil
	}
	// The name of a derivation, and a suffix that some builders add.
	if to := o.run.rename(base); storepath.CheckBaseName(strings.TrimSuffix(to, ".bz2")) == nil {
		base = to
	}
	return o.copyLog(ctx, listed, dir+base)
}

// isFree reports whether a name is free in the output, or has fewer than size bytes.
func (o *others) isFree(ctx context.Context, name string, size int64) (bool, error) {
	there, err := o.out.Stat(ctx, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, o.failed(err)
	}
	return err != nil || there.Size >= 0 && there.Size < size, nil
}

// copyLog copies a log unchanged.
func (o *others) copyLog(ctx context.Context, listed Object, to string) error {
	if free, err := o.isFree(ctx, to, listed.Size); err != nil || !free {
		return err
	}
	f, object, err := o.in.Open(ctx, listed.Name)
	if err != nil {
		return err
	}
	defer f.Close()
	at, ok := f.(io.ReaderAt)
	if !ok || object.Size < 0 {
		text := &spill.Buffer{Open: o.TempFile}
		defer text.Close()
		n, err := io.Copy(text, io.LimitReader(stream.WithContext(ctx, f), maxLog+1))
		if err != nil {
			return err
		}
		if n > maxLog {
			return fmt.Errorf("too long: more than %d bytes", maxLog)
		}
		object.Size, at = n, text
	}
	object.Name = to
	return o.add(ctx, object, at)
}

// add writes an object unchanged, if its name is free, or has only the first bytes of it.
func (o *others) add(ctx context.Context, object Object, content io.ReaderAt) error {
	shared, err := o.putNew(ctx, object, func() io.ReadSeeker { return io.NewSectionReader(content, 0, object.Size) })
	if shared || errors.Is(err, ErrConflict) || errors.Is(err, ErrChanged) {
		return nil // somebody was faster
	}
	if err == nil {
		o.written()
	}
	return err
}

// isThere reports whether the output has an object.
func (o *others) isThere(ctx context.Context, name string) (bool, error) {
	if there, ok := o.seen.Load(name); ok {
		return there.(bool), nil
	}
	_, err := o.out.Stat(ctx, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, o.failed(err)
	}
	o.mu.Lock()
	if o.n++; o.n > maxSeen {
		o.seen.Clear()
		o.n = 0
	}
	o.mu.Unlock()
	o.seen.Store(name, err == nil)
	return err == nil, nil
}

// debugInfo changes a debuginfo to name the NAR by its new name. Nix's index-debug-info writes
// {"archive":"../nar/HASH.nar.xz","member":"lib/debug/…"}.
func (o *others) debugInfo(ctx context.Context, listed Object) error {
	j, err := o.loadJSON(ctx, listed.Name)
	if err != nil {
		return err
	}
	var archive string
	if err := json.Unmarshal(j.members["archive"], &archive); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	old := path.Join(debugInfoDir, archive)
	nar, err := o.nars.Get(old)
	if err != nil {
		return err
	}
	if nar == "" {
		if o.inPlace {
			return nil
		}
		nar = old
	}
	if !narinfo.IsNAR(nar) {
		return fmt.Errorf("archive %q: not a NAR of the cache", archive)
	}
	there, err := o.isThere(ctx, nar)
	if err != nil {
		return err
	}
	switch {
	case !there && (o.inPlace || o.Select != nil): // the run that writes the NAR handles it
		return nil
	case !there:
		return fmt.Errorf("%s, which it names, is not in the output", nar)
	case nar == old:
		return o.copyJSON(ctx, j)
	}
	if j.members["archive"], err = json.Marshal("../" + nar); err != nil {
		return err
	}
	return o.replace(ctx, j, j.members)
}

// realisation renames the store path of a realisation, and those of the outputs that it depends on.
func (o *others) realisation(ctx context.Context, listed Object) error {
	j, err := o.loadJSON(ctx, listed.Name)
	if err != nil {
		return err
	}
	dir, base, err := realisation.OutPath(listed.Name, j.members)
	if err != nil {
		return err
	}
	if o.Exclude != nil && (o.Exclude(base[:storepath.HashLen]) || o.Exclude(base)) {
		return nil // it stays, or is left out like its path
	}
	if !o.selects(base[:storepath.HashLen]) {
		return nil
	}
	to := o.run.rename(base)
	if err := storepath.CheckBaseName(to); err != nil {
		return fmt.Errorf("outPath %q after the rules: %w", dir+base, err)
	}
	there, err := o.isThere(ctx, narinfo.Name(to))
	if err != nil {
		return err
	}
	if !there && (o.inPlace || o.ofSome()) {
		return nil
	} else if !there {
		return fmt.Errorf("%s, which it names, is not in the output", to)
	}
	next := maps.Clone(j.members)
	if next["outPath"], err = json.Marshal(dir + to); err != nil {
		return err
	}
	next["dependentRealisations"] = json.RawMessage(o.run.rename(string(j.members["dependentRealisations"])))
	same := to == base && string(next["dependentRealisations"]) == string(j.members["dependentRealisations"])
	if same && o.inPlace {
		return nil
	}
	if err := realisation.CheckTrust(j.members, o.TrustedKeys); err != nil {
		return err
	}
	if same {
		return o.copyJSON(ctx, j)
	}
	if j.members["dependentRealisations"] == nil {
		delete(next, "dependentRealisations")
	}
	if next["signatures"], err = realisation.Sign(next, o.SecretKeys); err != nil {
		return err
	}
	return o.replace(ctx, j, next)
}
