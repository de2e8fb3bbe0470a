package binarycache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"

	"narseal/nar/binarycache/internal/encoding"
	"narseal/nar/binarycache/internal/spill"
	"narseal/nar/binarycache/internal/stream"
	"narseal/nar/binarycache/narinfo"
	"narseal/nar/binarycache/state"
	"narseal/nar/compression"
)

// write writes the new objects of a path: its NAR, its listing, and then its narinfo.
func (r *run) write(ctx context.Context, w *pathWork, content narinfo.Sum, res *Result) error {
	var nar upload
	var unpack func() (io.ReadCloser, error) // opens the new NAR
	switch {
	case res.NarHash != res.NewHash:
		made := &spill.Buffer{Open: r.TempFile}
		defer made.Close()
		w.planned.Add(w.info.NarSize) // it is read again
		if err := r.makeNAR(ctx, w, content, made, res); err != nil {
			return err
		}
		body := func() io.ReadSeeker { return io.NewSectionReader(made, 0, made.Size()) }
		nar = upload{w.next.URL, made.Size(), body}
		unpack = func() (io.ReadCloser, error) {
			return r.memory.Decompress(ctx, stream.WithContext(ctx, body()))
		}
	case !r.inPlace:
		if name := w.info.FileName(w.sum, w.info.Compression, true); name != w.info.URL {
			w.next.SetFile(w.sum, name, w.info.Compression)
			if err := w.next.Reparse(r.cache.StoreDir); err != nil {
				return err
			}
		}
		nar = upload{w.next.URL, w.sum.Size, func() io.ReadSeeker { return w.file.content(ctx, w.sum) }}
	}
	w.planned.Add(nar.size - r.expectedUpload(w.info))
	shared, err := r.upload(ctx, w, &nar)
	if err != nil {
		return err
	}
	if w.next.Fingerprint() != w.info.Fingerprint() {
		if err := w.next.Sign(r.SecretKeys); err != nil {
			return err
		}
	}
	if err := r.writeListing(ctx, w, unpack, res); err != nil {
		return err
	}
	if err := r.parkPath(ctx, w, res); err != nil {
		return err
	}
	if err := r.publish(ctx, w, res); err != nil {
		return err
	}
	if !shared {
		return nil
	}
	// The NAR existed before. Another program may have deleted it meanwhile, because no narinfo named it.
	if _, err := r.out.Stat(ctx, nar.name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_, err = r.upload(ctx, w, &nar)
	return err
}

// An upload is an object to put. If the name is empty, there is none.
type upload struct {
	name string
	size int64
	body func() io.ReadSeeker
}

// upload puts a NAR under its name, unless an identical object exists: then shared is true.
func (r *run) upload(ctx context.Context, w *pathWork, u *upload) (shared bool, err error) {
	if u.name == "" {
		return false, nil
	}
	first := u.body()
	body := w.planned.CountBody(first, u.size, r.Written)
	shared, err = r.putNew(ctx, Object{Name: u.name, Size: u.size, Attributes: without(w.file.attributes, encoding.Header)}, func() io.ReadSeeker {
		b := body
		body = u.body()
		return b
	})
	if c, ok := first.(*stream.SameContent); ok && c.Err != nil {
		return false, c.Err
	}
	if errors.Is(err, ErrConflict) {
		return false, fmt.Errorf("%s: %w than the %s that belongs there", w.next.StorePath, err, w.info.URL)
	}
	return shared, err
}

// putNew puts an object, unless an identical one exists: then shared is true. One that has only the first bytes of it is left
// from an upload that broke off, and is replaced; any other is a conflict. That what is there cannot be read is an error of this
// object alone.
func (r *run) putNew(ctx context.Context, o Object, body func() io.ReadSeeker) (shared bool, err error) {
	for c := (Condition{New: true}); ; {
		if _, err = r.out.Put(ctx, typed(o), body(), c); !errors.Is(err, fs.ErrExist) {
			return false, asOutput(err)
		}
		got, version, err := sumOf(ctx, r.out, o.Name, o.Size)
		if err != nil {
			return false, err
		}
		want := stream.NewMeter()
		if _, err := io.CopyN(want, body(), min(got.Size, o.Size)); err != nil {
			return false, err
		}
		if got != want.Sum() {
			return false, fmt.Errorf("%w: the cache has a %s of other contents", ErrConflict, o.Name)
		}
		if got.Size == o.Size {
			return true, nil
		}
		c = Condition{Version: version}
	}
}

// makeNAR makes the new NAR of a path, whose sum must be content, and sets its file in the new narinfo.
func (r *run) makeNAR(ctx context.Context, w *pathWork, content narinfo.Sum, made *spill.Buffer, res *Result) error {
	c := r.Compression
	if c == "" {
		c = w.info.Compression
	}
	if c.ReadOnly() {
		c = compression.Xz
	}
	file := stream.NewMeter()
	o := compression.Options{Level: r.Level, Workers: max(1, runtime.GOMAXPROCS(0)/max(1, r.Jobs)), Size: content.Size}
	z, err := compression.Compress(io.MultiWriter(file, made), c, o)
	if err != nil {
		return err
	}
	w.file.compressor = o.Memory(c)
	defer func() { w.file.compressor = 0 }()
	w.pass.Again = true
	got, err := r.filter(ctx, w, z)
	switch {
	case err == nil && got != content:
		return fmt.Errorf("%s: filtering the NAR again gave %s, want %s", w.info.StorePath, got, content)
	case errors.Is(err, compression.ErrSize):
		return fmt.Errorf("%s: filtering the NAR again gave more than %s: %w", w.info.StorePath, content, err)
	case err != nil:
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	s := file.Sum()
	w.next.SetFile(s, w.info.FileName(s, c, !r.inPlace), c)
	res.FileSize = s.Size
	return w.next.Reparse(r.cache.StoreDir)
}

// publish records the change and writes the narinfo.
func (r *run) publish(ctx context.Context, w *pathWork, res *Result) error {
	b := w.next.Encode()
	rec := state.Record{In: w.id, Out: state.Identify(w.out, b), OldNAR: w.info.URL, NewNAR: w.next.URL}
	if err := r.State.Add(rec); err != nil {
		return asOutput(err)
	}
	cond := Condition{New: true}
	if w.replaced != nil {
		if err := r.checkReplaced(ctx, w, b); err != nil {
			return err
		}
		cond = Condition{Version: w.replaced.Version}
	} else if r.inPlace && w.out == w.name {
		var err error
		if cond, err = r.unchanged(ctx, w); err != nil {
			return err
		}
	}
	o := w.object
	o.Name = w.out
	_, err := putText(ctx, r.out, typed(o), b, w.encoding, cond)
	if cond.New && errors.Is(err, fs.ErrExist) {
		// Another program was faster.
		there, err := r.isThere(ctx, w, res)
		if err == nil && !there {
			err = fmt.Errorf("%s: %w", w.out, ErrChanged) // and has removed it again
		}
		return err
	}
	if err == nil {
		err = r.others.nars.Add(w.info.URL, w.next.URL)
	}
	if err == nil && r.Prune {
		r.mu.Lock()
		r.changes = append(r.changes, rec)
		r.mu.Unlock()
	}
	return asOutput(err)
}

// checkReplaced returns an error unless the narinfo that is replaced by the text b was cut off when it was written or, in an
// overlay, describes contents that the input had before.
func (r *run) checkReplaced(ctx context.Context, w *pathWork, b []byte) error {
	old, _, err := load(ctx, r.out, w.out, narinfo.MaxSize)
	if err != nil || bytes.HasPrefix(b, old) {
		return err
	}
	if n, err := narinfo.ParseNamed(w.out, old, r.cache.StoreDir); err != nil || !r.Overlay || !r.isOwn(n) {
		return fmt.Errorf("%s: %w: the cache has a %s of other contents", w.info.StorePath, ErrConflict, w.out)
	}
	return nil
}

// unchanged returns the condition that a narinfo is still the one that was read. If the store has no versions, the
// narinfo is read again now, which leaves a gap until the new one is written.
func (r *run) unchanged(ctx context.Context, w *pathWork) (Condition, error) {
	if w.object.Version != "" {
		return Condition{Version: w.object.Version}, nil
	}
	b, _, err := load(ctx, r.out, w.name, narinfo.MaxSize)
	if err == nil && string(b) != string(w.text) {
		err = fmt.Errorf("%s: %w", w.name, ErrChanged)
	}
	return Condition{}, err
}
