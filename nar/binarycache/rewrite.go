package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/nix-community/go-nix/pkg/nixhash"

	"narseal/nar/compression"
)

// open reads a task's narinfo.
func (r *run) open(ctx context.Context, t task, res *Result) (*info, infoID, error) {
	b, err := load(ctx, r.in, t.name, maxInfo)
	if err != nil {
		return nil, infoID{}, err
	}
	n, err := parseInfo(b, r.cache.storeDir)
	if err == nil && infoName(n.base) != t.name {
		err = fmt.Errorf("in StorePath: %s belongs into %s", n.StorePath, infoName(n.base))
	}
	if err != nil {
		return nil, infoID{}, fmt.Errorf("%s: %w", t.name, err)
	}
	res.StorePath = n.StorePath
	return n, identify(t.name, b), r.checkTrust(n)
}

// checkTrust says whether a trusted key has signed the narinfo.
func (r *run) checkTrust(n *info) error {
	if len(r.TrustedKeys) == 0 {
		return nil
	}
	print := n.fingerprint()
	for _, key := range r.TrustedKeys {
		for _, sig := range n.Signatures {
			if key.Verify(print, sig) {
				return nil
			}
		}
	}
	return fmt.Errorf("%s: %w", n.StorePath, ErrUntrusted)
}

// filter passes the NAR of n through Filter, checks it, and returns what came out.
func (r *run) filter(ctx context.Context, n *info, p Path, dst, copyTo io.Writer) (out sum, err error) {
	c, err := openNAR(ctx, r.in, n, copyTo)
	if err != nil {
		return out, err
	}
	defer c.Close()
	if !p.Again && !p.Retry {
		c.progress = r.Read
	}
	m := newMeter()
	if dst == nil {
		dst = m
	} else {
		dst = io.MultiWriter(m, dst)
	}
	if r.Filter != nil {
		p.StorePath, p.NarSize, p.Compression = n.StorePath, int64(n.NarSize), n.compression
		err = r.Filter(ctx, &p, dst, c)
	} else {
		_, err = io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{c}, make([]byte, 256<<10))
	}
	return m.sum(), c.finish(err)
}

// narHash is what the narinfo states, in the usual form.
func narHash(n *info) string { return n.NarHash.Format(nixhash.NixBase32, true) }

func (r *run) verify(ctx context.Context, t task, res *Result) error {
	n, _, err := r.open(ctx, t, res)
	if err != nil {
		return err
	}
	c, err := openNAR(ctx, r.in, n, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	c.progress = r.Read
	if r.Filter != nil {
		err = r.Filter(ctx, &Path{StorePath: n.StorePath, NarSize: int64(n.NarSize), Compression: n.compression}, io.Discard, c)
	}
	res.Status, res.NarHash = Verified, narHash(n)
	return c.finish(err)
}

func (r *run) rewrite(ctx context.Context, t task, res *Result) error {
	n, in, err := r.open(ctx, t, res)
	if r.inPlace && r.journal.made(in) || r.isDone(ctx, in) {
		res.Status = Finished
		return nil
	}
	if err != nil {
		return err
	}
	if r.taken[t.out] && t.out != t.name {
		return fmt.Errorf("%s: %w: two paths would become %s", n.StorePath, ErrConflict, t.out)
	}

	content, pass, copied, err := r.firstPass(ctx, n)
	if copied != nil {
		defer copied.Abort()
	}
	if err != nil {
		return err
	}
	res.NarHash, res.NewHash = narHash(n), content.String()

	next, err := r.next(n, content, res)
	if err != nil {
		return err
	}
	res.NewStorePath = next.StorePath
	changed := res.NarHash != res.NewHash
	same := !changed && slices.Equal(next.lines, n.lines)
	if res.Status = Changed; same {
		res.Status = Unchanged
	}
	out := infoName(next.base)
	if out != t.name {
		if finished, err := r.isThere(ctx, out, next); err != nil || finished {
			res.Status = Finished
			return err
		}
	}
	if r.DryRun {
		return nil
	}
	if same && r.inPlace {
		return asOutput(r.journal.add(record{In: in, Out: in}))
	}
	switch {
	case changed:
		if copied != nil {
			copied.Abort()
		}
		if err := r.writeNAR(ctx, n, next, pass, content, res); err != nil {
			return err
		}
	case copied != nil:
		if err := asOutput(copied.Commit(n.URL)); err != nil {
			return err
		}
	}
	if next.fingerprint() != n.fingerprint() {
		if err := r.sign(next, res); err != nil {
			return err
		}
	}
	if err := r.writeListing(ctx, t.name, out, res); err != nil {
		return err
	}
	b := next.encode()
	if err := r.journal.add(record{In: in, Out: identify(out, b), OldNAR: n.URL, NewNAR: next.URL}); err != nil {
		return asOutput(err)
	}
	return r.put(ctx, out, b)
}

// firstPass sees what a NAR becomes, and checks it. If there is another cache to
// write, the NAR's file is copied meanwhile, for most NARs do not change.
func (r *run) firstPass(ctx context.Context, n *info) (content sum, pass Path, copied *upload, err error) {
	for {
		var copyTo io.Writer
		if !r.inPlace && !r.DryRun {
			if copied, err = r.newUpload(ctx); err != nil {
				return content, pass, nil, err
			}
			copyTo = copied
		}
		content, err = r.filter(ctx, n, pass, nil, copyTo)
		if pass.Retry || !errors.Is(err, ErrRetry) {
			return content, pass, copied, err
		}
		pass.Retry = true
		if copied != nil {
			copied.Abort()
		}
	}
}

// isDone says whether the journal has a result for a narinfo, and the cache has it.
func (r *run) isDone(ctx context.Context, in infoID) bool {
	rec, ok := r.journal.find(in)
	if !ok {
		return false
	}
	b, err := load(ctx, r.out, rec.Out.Name, maxInfo)
	return err == nil && identify(rec.Out.Name, b) == rec.Out
}

// isThere says whether the cache that is written has the narinfo already. Another
// one of that name is a conflict.
func (r *run) isThere(ctx context.Context, name string, want *info) (bool, error) {
	b, err := load(ctx, r.out, name, maxInfo)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	got, err := parseInfo(b, r.cache.storeDir)
	if err == nil && got.fingerprint() == want.fingerprint() {
		return true, nil
	}
	return false, fmt.Errorf("renamed to %s: %w: the cache has a %s of other contents", want.StorePath, ErrConflict, name)
}

// next is the narinfo of what a path becomes, but for its file and signatures.
func (r *run) next(n *info, content sum, res *Result) (*info, error) {
	next := &info{lines: slices.Clone(n.lines)}
	dir := strings.TrimSuffix(n.StorePath, n.base)
	next.set("StorePath", dir+r.rename(n.base), "")
	if len(n.References) > 0 {
		refs := make([]string, len(n.References))
		moved := false
		for i, ref := range n.References {
			refs[i] = r.rename(ref)
			moved = moved || refs[i] != ref
		}
		if moved {
			slices.Sort(refs)
			next.set("References", strings.Join(slices.Compact(refs), " "), "NarSize")
		}
	}
	if n.Deriver != "" {
		next.set("Deriver", r.rename(n.Deriver), "References")
	}
	changed := res.NarHash != res.NewHash
	if changed {
		next.set("NarHash", content.String(), "")
		next.set("NarSize", strconv.FormatInt(content.size, 10), "")
	}
	if err := next.reparse(r.cache.storeDir); err != nil {
		return nil, fmt.Errorf("%s after the rules: %w", n.StorePath, err)
	}
	if next.fingerprint() != n.fingerprint() && next.drop("Sig") && len(r.SecretKeys) == 0 {
		res.Warnings = append(res.Warnings, "its signatures are void and dropped, and no secret key signs it")
	}
	if (changed || next.StorePath != n.StorePath) && next.drop("CA") {
		res.Warnings = append(res.Warnings, "no longer content-addressed: CA: "+n.CA+" is dropped")
	}
	return next, next.reparse(r.cache.storeDir)
}

// reparse brings the fields up to date with the lines.
func (n *info) reparse(dir string) error {
	fresh, err := parseInfo(n.encode(), dir)
	if err != nil {
		return err
	}
	*n = *fresh
	return nil
}

// sign signs with every secret key.
func (r *run) sign(n *info, res *Result) error {
	print := n.fingerprint()
	for _, key := range r.SecretKeys {
		sig, err := key.Sign(nil, print)
		if err != nil {
			return fmt.Errorf("sign %s: %w", n.StorePath, err)
		}
		n.lines = append(n.lines, line{"Sig", "Sig: " + sig.String()})
	}
	return nil
}

// writeNAR writes the NAR that n's becomes, which is known to be content.
func (r *run) writeNAR(ctx context.Context, n, next *info, pass Path, content sum, res *Result) error {
	c := r.Compression
	if c == "" {
		c = n.compression
	}
	if c == compression.Bzip2 {
		c = compression.Xz
	}
	p, err := r.newUpload(ctx)
	if err != nil {
		return err
	}
	defer p.Abort()
	file := newMeter()
	w, err := compression.Compress(io.MultiWriter(file, p), c,
		compression.Options{Level: r.Level, Workers: max(1, runtime.GOMAXPROCS(0)/max(1, r.Jobs))})
	if err != nil {
		return err
	}
	pass.Again = true
	got, err := r.filter(ctx, n, pass, w, nil)
	if err == nil && got != content {
		err = fmt.Errorf("%s: filtered again, the NAR has become %s, and was %s", n.StorePath, got, content)
	}
	if err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	s := file.sum()
	folder, old := path.Split(n.URL)
	_, suffix, _ := strings.Cut(old, ".")
	if c != n.compression {
		suffix = "nar" + c.Extension()
	}
	hash := strings.TrimPrefix(s.String(), "sha256:")
	next.setFile(s, folder+hash+"."+suffix, c)
	if err := next.reparse(r.cache.storeDir); err != nil {
		return err
	}
	res.FileSize = s.size
	return asOutput(p.Commit(next.URL))
}

// An upload is a Pending whose errors are outputErrors.
type upload struct{ Pending }

func (r *run) newUpload(ctx context.Context) (*upload, error) {
	p, err := r.out.Create(ctx)
	if err != nil {
		return nil, asOutput(err)
	}
	return &upload{p}, nil
}

func (u *upload) Write(p []byte) (int, error) {
	n, err := u.Pending.Write(p)
	return n, asOutput(err)
}
