package binarycache

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"narseal/nar/binarycache/internal/encoding"
	"narseal/nar/binarycache/internal/listing"
	"narseal/nar/binarycache/internal/spill"
	"narseal/nar/binarycache/internal/stream"
	"narseal/nar/binarycache/narinfo"
	"narseal/nar/compression"
)

var errLongListing = fmt.Errorf("too long: more than %d bytes", listing.MaxSize)

// writeListing updates the listing beside a narinfo to match the NAR. unpack opens the contents of a new NAR; it is nil
// if the NAR is the old one. A listing is a convenience, so one that cannot be updated causes only a warning.
func (r *run) writeListing(ctx context.Context, w *pathWork, unpack func() (io.ReadCloser, error), res *Result) error {
	name, newName := narinfo.ListingName(w.name), narinfo.ListingName(w.out)
	inPlace := r.inPlace && name == newName
	if r.Rename == nil {
		unpack = nil // no names or sizes have changed
	}
	if inPlace && unpack == nil {
		return nil
	}
	out := spill.Buffer{Open: r.TempFile}
	defer out.Close()
	l := &listingWork{run: r, name: name, out: &out, limit: min(listing.MaxSize, freeListing+2*min(w.info.NarSize, listing.MaxSize))}
	changed, err := false, error(nil)
	if unpack != nil {
		changed, err = l.rename(ctx, unpack)
	}
	if err == nil && !changed && !inPlace {
		err = l.copy(ctx)
	}
	var broken *listingError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.As(err, &broken):
		res.Warnings = append(res.Warnings, fmt.Sprintf("%s does not follow: %v", name, broken.err))
		if inPlace {
			if err := r.out.Delete(ctx, name, Condition{Version: l.object.Version}); err != nil {
				res.Warnings = append(res.Warnings, fmt.Sprintf("%s cannot be deleted: %v", name, err))
			}
		}
		return ctx.Err()
	case err != nil || inPlace && !changed:
		return err
	}
	cond := Condition{New: true}
	if inPlace {
		cond = Condition{Version: l.object.Version}
	}
	there, err := l.put(ctx, newName, cond)
	if err == nil && !there {
		res.Warnings = append(res.Warnings, fmt.Sprintf("%s does not follow: %s is there with other contents", name, newName))
	}
	return err
}

// A listingError says why a listing cannot be updated.
type listingError struct{ err error }

func (e *listingError) Error() string { return e.err.Error() }

// A listingWork is the work on one listing.
type listingWork struct {
	*run
	name     string
	object   Object
	encoding encoding.Encoding
	style    listing.Style
	out      *spill.Buffer // the new listing
	limit    int64         // of the text that is read, in bytes: an entry takes more bytes in the NAR
}

// rename applies the rules to the listing and reports whether they change it. If they reorder entries, or the listing
// cannot be read, it is generated from the NAR.
func (l *listingWork) rename(ctx context.Context, unpack func() (io.ReadCloser, error)) (changed bool, err error) {
	f, o, err := l.in.Open(ctx, l.name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	l.object = o
	changed, err = l.renameText(ctx, f)
	var broken *listingError
	if !errors.As(err, &broken) {
		return changed, err
	}
	l.out.Reset()
	nar, err := unpack()
	if err != nil {
		return false, err
	}
	defer nar.Close()
	return true, l.write(ctx, func(w io.Writer) error { return listing.Write(w, nar, l.style) })
}

// renameText applies the rules to the text of a listing.
func (l *listingWork) renameText(ctx context.Context, f io.Reader) (changed bool, err error) {
	packed := &stream.Counter{R: stream.WithContext(ctx, f)}
	dec, e, err := decodeReader(packed, l.object, l.limit)
	if err != nil {
		l.object.Attributes = without(l.object.Attributes, encoding.Header) // the new listing will have none
		return false, l.listingError(ctx, err)
	}
	defer dec.Close()
	if l.encoding = e; e.ReadOnly() {
		l.encoding = encoding.Encoding(compression.Xz)
	}
	text := bufio.NewReader(stream.BoundRatio(stream.Bound(dec, l.limit, fmt.Errorf("more than %d bytes", l.limit)), packed, freeListing, maxListingRatio))
	first, _ := text.Peek(16) // the next read returns an error again
	l.style = listing.StyleOf(first)
	err = l.write(ctx, func(w io.Writer) (err error) {
		changed, err = listing.Rename(w, text, l.Rename)
		return err
	})
	if !changed {
		l.out.Reset()
	}
	return changed, err
}

// write calls f to write the new listing, which is compressed like the old one.
func (l *listingWork) write(ctx context.Context, f func(w io.Writer) error) error {
	w, err := l.encoding.NewWriter(l.out)
	if err != nil {
		return err
	}
	err = l.listingError(ctx, f(stream.BoundWriter(w, listing.MaxSize, errLongListing)))
	if e := w.Close(); err == nil {
		err = e
	}
	return err
}

// copy copies the listing unchanged.
func (l *listingWork) copy(ctx context.Context) error {
	f, o, err := l.in.Open(ctx, l.name)
	if err != nil {
		return err
	}
	defer f.Close()
	l.object = o
	n, err := io.Copy(l.out, io.LimitReader(stream.WithContext(ctx, f), listing.MaxSize+1))
	if err == nil && n > listing.MaxSize {
		err = &listingError{errLongListing}
	}
	return err
}

// put writes the new listing. It returns false if a different one exists.
func (l *listingWork) put(ctx context.Context, name string, c Condition) (bool, error) {
	o := l.object
	o.Name, o.Size = name, l.out.Size()
	body := func() io.ReadSeeker { return io.NewSectionReader(l.out, 0, l.out.Size()) }
	var err error
	if c.New {
		_, err = l.putNew(ctx, o, body)
	} else {
		_, err = l.run.out.Put(ctx, typed(o), body(), c)
		err = asOutput(err)
	}
	switch {
	case o.Attributes[encoding.Header] != "" && errors.Is(err, errors.ErrUnsupported):
		return l.putPlain(ctx, o, c)
	case errors.Is(err, ErrConflict):
		return false, nil
	}
	return true, err
}

// putPlain writes the new listing to a store that does not keep a Content-Encoding.
func (l *listingWork) putPlain(ctx context.Context, o Object, c Condition) (bool, error) {
	dec, _, err := decodeReader(stream.WithContext(ctx, io.NewSectionReader(l.out, 0, l.out.Size())), o, listing.MaxSize)
	if err != nil {
		return true, err
	}
	defer dec.Close()
	text := &spill.Buffer{Open: l.TempFile}
	defer text.Close()
	if _, err := io.Copy(text, stream.Bound(dec, listing.MaxSize, errLongListing)); err != nil {
		return true, err
	}
	p := *l
	p.out = text
	p.object.Attributes = without(o.Attributes, encoding.Header)
	return p.put(ctx, o.Name, c)
}

// A listing of a few KB can expand to one that takes minutes to read. Real ones expand about 20:1; one that expands
// more than this is not read.
const (
	maxListingRatio = 256
	freeListing     = 4 << 20 // bytes that are allowed at any ratio and for any NAR
)

// listingError marks an error as one of the listing, unless it ends the run.
func (r *run) listingError(ctx context.Context, err error) error {
	var temp *spill.Error
	if err == nil || ctx.Err() != nil || errors.As(err, &temp) {
		return err
	}
	return &listingError{err}
}
