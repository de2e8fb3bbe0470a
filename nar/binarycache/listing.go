package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"narseal/nar/binarycache/internal/listing"
	"narseal/nar/binarycache/narinfo"
	"narseal/nar/compression"
)

// writeListing has the listing beside a narinfo follow the NAR, from the old name to the new. A listing is for
// convenience: one that cannot follow is a warning.
func (r *run) writeListing(ctx context.Context, oldInfo, newInfo string, res *Result) error {
	name, newName := narinfo.ListingName(oldInfo), narinfo.ListingName(newInfo)
	inPlace := r.inPlace && name == newName
	if r.inPlace && r.Rename == nil {
		return nil
	}
	var out spill
	out.open = r.TempFile
	defer out.Close()
	o, err := r.renamedListing(ctx, name, &out, inPlace)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		var broken *listingError
		if !errors.As(err, &broken) {
			return err
		}
		res.Warnings = append(res.Warnings, fmt.Sprintf("%s does not follow: %v", name, broken.err))
		if inPlace {
			return asOutput(r.out.Delete(ctx, name, Condition{Version: o.Version}))
		}
		return nil
	}
	if inPlace && out.size == 0 {
		return nil
	}
	cond := Condition{New: true}
	if inPlace {
		cond = Condition{Version: o.Version}
	}
	o.Name, o.Size = newName, out.size
	_, err = r.out.Put(ctx, o, io.NewSectionReader(&out, 0, out.size), cond)
	if errors.Is(err, fs.ErrExist) {
		there, err := sumOf(ctx, r.out, newName, out.size)
		if err != nil {
			return asOutput(err)
		}
		want := newMeter()
		if _, err := io.Copy(want, io.NewSectionReader(&out, 0, out.size)); err != nil {
			return err
		}
		if there != want.sum() {
			res.Warnings = append(res.Warnings, fmt.Sprintf("%s does not follow: %s is there with other contents", name, newName))
		}
		return nil
	}
	return asOutput(err)
}

// A listingError is a listing that cannot follow its NAR.
type listingError struct{ err error }

func (e *listingError) Error() string { return e.err.Error() }

// renamedListing writes the listing with the rules applied to out, compressed as it was. If they change nothing it is
// written as it stands, or not at all if it stays in place.
func (r *run) renamedListing(ctx context.Context, name string, out *spill, inPlace bool) (Object, error) {
	changed := false
	if r.Rename != nil {
		f, o, err := r.in.Open(ctx, name)
		if err != nil {
			return o, err
		}
		changed, err = r.renameListing(ctx, f, o, out)
		f.Close()
		if err != nil || changed || inPlace {
			if !changed {
				out.reset()
			}
			return o, err
		}
		out.reset()
	}
	f, o, err := r.in.Open(ctx, name)
	if err != nil {
		return o, err
	}
	defer f.Close()
	n, err := io.Copy(out, io.LimitReader(contextReader{ctx, f}, listing.MaxSize+1))
	if err == nil && n > listing.MaxSize {
		err = &listingError{fmt.Errorf("too long: more than %d bytes", listing.MaxSize)}
	}
	return o, err
}

func (r *run) renameListing(ctx context.Context, f io.Reader, o Object, out *spill) (bool, error) {
	dec, e, err := decodeReader(contextReader{ctx, f}, o)
	if err != nil {
		return false, r.listingError(ctx, err)
	}
	defer dec.Close()
	if e == encoding(compression.Bzip2) {
		e = encoding(compression.Xz)
	}
	w, err := e.writer(out)
	if err != nil {
		return false, err
	}
	changed, err := listing.Rename(w, &boundedReader{dec, listing.MaxSize, "listing"}, r.Rename)
	if e := w.Close(); err == nil && e != nil {
		return changed, e
	}
	return changed, r.listingError(ctx, err)
}

// listingError tells an error of a listing from that of a run that ends.
func (r *run) listingError(ctx context.Context, err error) error {
	var temp *tempError
	if err == nil || ctx.Err() != nil || errors.As(err, &temp) {
		return err
	}
	return &listingError{err}
}
