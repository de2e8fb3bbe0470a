package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"narseal/nar/binarycache/internal/encoding"
	"narseal/nar/binarycache/internal/stream"
	"narseal/nar/binarycache/narinfo"
	"narseal/nar/binarycache/state"
)

// Rewrite passes every NAR of a cache through Filter. A path whose contents change gets a new NAR, and then a narinfo
// that names it. The narinfo has the new sizes and hashes; Rename is applied to StorePath, References (sorted again)
// and Deriver; signatures that no longer match are dropped, as is a CA that does not match the new contents; every
// secret key signs. Everything else in it stays. A path that does not change keeps its files; if there is an Output,
// they are copied. A NAR in the Output is named by the hash of its file, as by Nix, whatever the cache calls it.
//
// A narinfo is replaced only if it is still the one that was read; otherwise the work on its path starts again. No
// other object is ever replaced but one that has only the first bytes of what is written, which is left from an upload
// that broke off: if the output already has an object of that name with other contents, the path fails
// with ErrConflict.
//
// A renamed store path gets a narinfo of another name. The old one stays, unless Prune is set. Such paths come after
// all others and never take the name of another path: a path that keeps its name has precedence over a renamed one, and
// if several paths would get the same name, none gets it.
//
// A narinfo of a new name, in an Output or of a renamed path, is written after those that it refers to, if this run
// writes them. If one of those fails, the narinfo is written with a warning, so that the rest of the cache can be used.
//
// The listing of the store, the reading of narinfos and the work on NARs overlap. Each narinfo is read once. Memory
// grows with the number of paths that change or are renamed and, with an Output, by about 50 bytes for each path, and 150
// more for one that waits for its references.
//
// Logs, realisations and debuginfos are copied to an Output, unless it is an Overlay. If Hashes or Since select the
// paths of the run, only realisations are. If an object that they name has a new name, they are changed, in place too;
// those that would name a missing NAR or path are left out. The directories of these objects are listed for that.
//
// If a path fails, its Result says why; it stays as it was and does not stop the others. Rewrite returns an error only
// if the run as a whole fails: if the cache cannot be listed or written. After a run that was interrupted, or in which
// paths failed, the next run with the same State only checks the finished paths.
func Rewrite(ctx context.Context, s Store, o RewriteOptions) (sum Summary, err error) {
	r := &run{RewriteOptions: o, in: s, out: o.Output}
	r.work = r.rewrite
	r.renamed.text.Open = o.TempFile
	if r.out == nil {
		r.out, r.inPlace = s, true
	} else if o.Prune {
		return sum, errors.New("prune: only possible in place")
	}
	if o.DryRun {
		err = r.run(ctx)
		return r.summary, err
	}
	if r.inPlace && o.Once && o.State == nil {
		return sum, errNoState
	}
	if c, ok := r.out.(interface{ Clean(context.Context) error }); ok {
		if err := c.Clean(ctx); err != nil {
			return sum, asOutput(err)
		}
	}
	if err = r.run(ctx); err == nil && o.Prune {
		err = r.prune(ctx)
	}
	if err == nil && r.summary.Paths[Failed] == 0 && !(r.inPlace && o.Once) {
		err = o.State.Finish()
	}
	return r.summary, err
}

// maxTries is how often the work on a path is started while other programs replace its narinfo.
const maxTries = 5

func (r *run) rewrite(ctx context.Context, t *task, res *Result) error {
	err := r.rewriteOnce(ctx, t, false, res)
	if !errors.Is(err, ErrChanged) {
		return err
	}
	*res = Result{Info: t.name}
	return r.rewriteAgain(ctx, t, res)
}

// rewriteAgain repeats the work on a path whose narinfo another program has replaced.
func (r *run) rewriteAgain(ctx context.Context, t *task, res *Result) error {
	for try := 2; ; try++ {
		err := r.rewriteOnce(ctx, t, true, res)
		if try == maxTries || !errors.Is(err, ErrChanged) {
			return err
		}
		*res = Result{Info: t.name}
	}
}

// rewriteOnce does the work on a path. If again is set, it reads the narinfo again.
func (r *run) rewriteOnce(ctx context.Context, t *task, again bool, res *Result) error {
	w, err := r.open(ctx, t, again, res)
	if w != nil {
		defer w.planned.End()
	}
	if err != nil || res.Status == Excluded {
		return err
	}
	if skip, err := r.skip(ctx, w.info, res); err != nil || skip {
		return err
	}
	if err := r.referencesFirst(ctx, t, w); err != nil {
		return err
	}
	if finished, err := r.isFinished(ctx, w, res); err != nil || finished {
		return err
	}
	if err := r.checkTrust(w.info); err != nil {
		return err
	}
	if w.out != t.name {
		if err := r.checkName(ctx, t, w.info); err != nil {
			return err
		}
	}
	if w.file, err = r.openFile(ctx, r.in, w.info, true, r.TempFile); err != nil {
		return err
	}
	defer w.file.Close()
	content, err := r.firstPass(ctx, w)
	if err != nil {
		return err
	}
	if err := r.decide(w, content, res); err != nil {
		return err
	}
	if r.Overlay && res.Status == Unchanged {
		return nil
	}
	if !r.inPlace || w.out != t.name {
		if finished, err := r.isThere(ctx, w, res); err != nil || finished {
			return err
		}
	}
	switch {
	case r.DryRun:
		return nil
	case res.Status == Unchanged && r.inPlace:
		if r.State.Made(w.id) {
			res.Status = Finished
		}
		return nil
	}
	return r.write(ctx, w, content, res)
}

// A pathWork is the work on one path.
type pathWork struct {
	name     string            // of the narinfo
	out      string            // its new name
	object   Object            // the narinfo
	encoding encoding.Encoding // of the narinfo in the store
	id       state.ID
	text     []byte
	info     *narinfo.Info
	next     *narinfo.Info // the new narinfo
	file     *narFile

	planned  stream.Planned
	replaced *Object // the narinfo in an overlay that this path replaces

	sum  narinfo.Sum // of the file
	pass Path        // how the filter was called
}

// expectedUpload returns how many bytes are written for a path, as far as that is known before its NAR is read.
func (r *run) expectedUpload(n *narinfo.Info) int64 {
	if r.inPlace || r.DryRun || r.Overlay {
		return 0
	}
	return min(n.FileSize, maxFileSize(n.NarSize))
}

// open reads a task's narinfo, or returns errLater.
func (r *run) open(ctx context.Context, t *task, again bool, res *Result) (*pathWork, error) {
	w := &pathWork{name: t.name}
	w.planned.Announce = func(n int64) { r.plan(0, n) }
	var err error
	if t.renamedInfo != nil && !again {
		w.object, w.encoding = t.object, t.encoding
		w.text, err = r.renamed.read(t.renamedInfo)
	} else {
		w.text, w.object, w.encoding, err = r.load(ctx, t.name, res)
	}
	if err != nil {
		return nil, err
	}
	if w.info, err = r.parseInfo(t.name, w.text, res); err != nil {
		return nil, err
	}
	if r.excludes(w.info, res) {
		return w, nil
	}
	if w.info.CA != "" {
		r.others.addressed.Store(true)
	}
	w.id = state.Identify(t.name, w.text)
	var moved bool
	w.out, moved = r.moved(w.info)
	switch {
	case t.renamedInfo != nil && w.out != t.out:
		return nil, fmt.Errorf("%s: %w, to another path", t.name, ErrChanged)
	case t.renamedInfo != nil && !again:
		w.planned.Is(w.info.NarSize + r.expectedUpload(w.info)) // announced when it was found
	default:
		w.planned.Add(w.info.NarSize + r.expectedUpload(w.info))
	}
	if moved && t.renamedInfo == nil {
		return nil, r.renamed.add(t.name, w.out, w.object, w.encoding, w.text)
	}
	if !moved && r.Hashes != nil && r.Rename != nil && !r.inPlace {
		r.renamed.keeps(t.name)
	}
	return w, nil
}

// firstPass checks a NAR and finds out whether it changes.
func (r *run) firstPass(ctx context.Context, w *pathWork) (content narinfo.Sum, err error) {
	for {
		content, err = r.filter(ctx, w, nil)
		if w.pass.Retry || !errors.Is(err, ErrRetry) {
			return content, err
		}
		w.pass.Retry = true
	}
}

// filter passes the NAR through Filter, checks it, and returns the sum of the output.
func (r *run) filter(ctx context.Context, w *pathWork, dst io.Writer) (out narinfo.Sum, err error) {
	c, err := w.file.check(ctx)
	if err != nil {
		return out, err
	}
	defer c.Close()
	switch {
	case w.pass.Again:
		c.progress = w.planned.Count(r.Written)
	case !w.pass.Retry:
		c.progress = w.planned.Count(r.Read)
	}
	m := stream.NewMeter()
	if dst == nil {
		dst = m
	} else {
		dst = io.MultiWriter(m, dst)
	}
	if r.Filter != nil {
		p := pathOf(w.info)
		p.Again, p.Retry = w.pass.Again, w.pass.Retry
		err = r.Filter(ctx, p, dst, c)
	} else {
		_, err = io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{c}, make([]byte, 256<<10))
	}
	if err = c.finish(err); err == nil {
		w.sum = c.fileSum.Sum()
	}
	return m.Sum(), err
}

// decide sets the new narinfo and the status of a path, whose new contents are known.
func (r *run) decide(w *pathWork, content narinfo.Sum, res *Result) (err error) {
	res.NarHash, res.NewHash = narinfo.HashText(w.info.NarHash), content.String()
	if w.next, err = r.next(w.info, content, res); err != nil {
		return err
	}
	res.NewStorePath = w.next.StorePath
	if res.Status = Changed; res.NarHash == res.NewHash && w.next.SameText(w.info) {
		res.Status = Unchanged
	}
	return nil
}

// isFinished reports whether an earlier run has already done the work on a path, and checks its result.
func (r *run) isFinished(ctx context.Context, w *pathWork, res *Result) (bool, error) {
	if r.inPlace && r.Once && r.State.Made(w.id) {
		// Doing the work again would undo it, whatever else is wrong.
		if !r.isOwn(w.info) {
			if err := r.checkTrust(w.info); err != nil {
				return false, err
			}
		}
		return true, r.checkFinished(ctx, w, w.info, res)
	}
	rec, ok := r.State.Find(w.id)
	if !ok || r.inPlace && rec.Out.Name == w.name || rec.Out.Name != w.out {
		return false, nil
	}
	if err := r.checkTrust(w.info); err != nil {
		return false, err
	}
	b, _, err := load(ctx, r.out, rec.Out.Name, narinfo.MaxSize)
	if err != nil || state.Identify(rec.Out.Name, b) != rec.Out {
		return false, nil
	}
	n, err := narinfo.ParseNamed(rec.Out.Name, b, r.cache.StoreDir)
	if err != nil || !r.isOwn(n) && r.checkTrust(n) != nil {
		return false, nil
	}
	err = r.checkFinished(ctx, w, n, res)
	if errors.Is(err, ErrMismatch) || errors.Is(err, fs.ErrNotExist) {
		return false, nil // it is made again
	}
	if err == nil {
		err = r.others.nars.Add(w.info.URL, n.URL)
	}
	return err == nil, err
}

// isOwn reports whether one of the secret keys has signed a narinfo.
func (r *run) isOwn(n *narinfo.Info) bool {
	keys := make([]signature.PublicKey, len(r.SecretKeys))
	for i, key := range r.SecretKeys {
		keys[i] = key.ToPublicKey()
	}
	return n.SignedBy(keys)
}

// checkFinished checks a NAR of the output, and lets Filter inspect it.
func (r *run) checkFinished(ctx context.Context, w *pathWork, n *narinfo.Info, res *Result) error {
	err := r.inspectNAR(ctx, r.out, n, w.planned.Count(r.Read), func(nar io.Reader) error {
		if r.Filter == nil {
			return nil
		}
		p := pathOf(n)
		p.StorePath, p.Finished = res.StorePath, true
		return r.Filter(ctx, p, io.Discard, nar)
	})
	if err == nil {
		res.Status = Finished
	}
	return err
}

// isThere reports whether the output already has the narinfo, and checks its NAR. A different narinfo of that name is a
// conflict.
func (r *run) isThere(ctx context.Context, w *pathWork, res *Result) (bool, error) {
	b, o, e, err := loadText(ctx, r.out, w.out, narinfo.MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	got, err := narinfo.ParseNamed(w.out, b, r.cache.StoreDir)
	if err != nil || r.Overlay && got.NarHash != w.next.NarHash && r.isOwn(got) {
		w.replaced = &o // perhaps: see checkReplaced
		return false, nil
	}
	if got.Fingerprint() != w.next.Fingerprint() || got.Deriver != w.next.Deriver || got.CA != w.next.CA {
		what := w.info.StorePath
		if w.out != w.name {
			what = "renamed to " + w.next.StorePath
		}
		return false, fmt.Errorf("%s: %w: the cache has a %s of other contents", what, ErrConflict, w.out)
	}
	if r.DryRun {
		res.Status = Finished
		return true, nil
	}
	if err := r.inspectNAR(ctx, r.out, got, nil, func(io.Reader) error { return nil }); err != nil {
		return false, err
	}
	res.Status = Finished
	if w.next.Fingerprint() != w.info.Fingerprint() && len(r.SecretKeys) > 0 && !r.isOwn(got) {
		// It was made without the key, or by another program.
		if err := got.Sign(r.SecretKeys); err != nil {
			return false, err
		}
		if _, err := putText(ctx, r.out, o, got.Encode(), e, Condition{Version: o.Version}); err != nil {
			return false, asOutput(err)
		}
		res.Status = Changed
	}
	return true, r.others.nars.Add(w.info.URL, got.URL)
}
