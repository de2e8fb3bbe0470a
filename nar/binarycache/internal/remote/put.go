package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"narseal/nar/binarycache"
)

// Put writes an object. It reads the body to its end before it sends the first byte. If reading fails, or the size
// differs, it sends nothing.
func (s *Store) Put(ctx context.Context, o binarycache.Object, body io.ReadSeeker, c binarycache.Condition) (binarycache.Version, error) {
	if err := CheckName("put", o.Name); err != nil {
		return "", err
	}
	v, err := s.put(ctx, o, body, c)
	if err != nil {
		if s.isOfObject(ctx, o.Name, err) {
			err = &objectError{err}
		}
		return "", s.fail("put", o.Name, err)
	}
	return v, nil
}

// An objectError means that the server refuses only this object, for its name, size or contents, and accepts others. It
// wraps fs.ErrInvalid, as [binarycache.Store] requires.
type objectError struct{ error }

func (e *objectError) Unwrap() error        { return e.error }
func (e *objectError) Is(target error) bool { return target == fs.ErrInvalid }

// isOfObject reports whether an error of Put concerns only this object, by trying whether the server accepts another
// one in the same directory. The status does not tell: 403 may come from a virus scanner, and 504 from a slow upload.
func (s *Store) isOfObject(ctx context.Context, name string, err error) bool {
	var e *Error
	if ctx.Err() != nil || !errors.As(err, &e) || e.Status == 0 && e.Err == nil {
		return false
	}
	// The name is always the same, so that at most one object is left over if it cannot be deleted.
	s.trying.Lock()
	defer s.trying.Unlock()
	o, content, err := newProbe(ctx, path.Join(path.Dir(name), s.small))
	if err == nil {
		_, err = s.backend.Put(ctx, o, content, binarycache.Condition{})
	}
	if err != nil {
		return false
	}
	s.deleteProbe(ctx, o.Name)
	return true
}

func (s *Store) put(ctx context.Context, o binarycache.Object, body io.ReadSeeker, c binarycache.Condition) (v binarycache.Version, err error) {
	wanted, isNew := c, c.New
	if c, err = s.check(ctx, o.Name, o.Size, wanted); err != nil {
		return "", err
	}
	content, err := measure(ctx, body, o.Size)
	if err != nil {
		return "", err
	}
	if o.Attributes[contentEncoding] != "" {
		if can, err := s.abilities(ctx); err != nil {
			return "", err
		} else if !can.encoding {
			return "", fmt.Errorf("the server does not keep %s: %w", contentEncoding, errors.ErrUnsupported)
		}
	}
	for again := 0; ; again++ {
		tries := 0
		err = s.transport.retry(ctx, putting.of(o.Name), func() (err error) {
			if tries++; tries > 1 && c != wanted {
				// Check again what the server does not check, since it may have changed while a busy server was waited
				// for.
				if err := s.recheck(ctx, o.Name, wanted); err != nil {
					return err
				}
			}
			v, err = s.backend.Put(ctx, o, content, c)
			return err
		})
		var e *Error
		if err == nil || !errors.As(err, &e) || !e.precondition() && !(c.Version != "" && e.Absent && !e.Denied) {
			return v, err
		}
		if tries == 1 {
			break
		}
		// An earlier try may have written the object although its response was lost, or only a part of it before the
		// connection broke.
		there, whole, part, err := s.compare(ctx, o.Name, content)
		if err != nil || whole {
			return there, err
		}
		if !part || again == maxBroken {
			break
		}
		wanted = binarycache.Condition{Version: there}
		if c, err = s.check(ctx, o.Name, o.Size, wanted); err != nil {
			return "", err
		}
	}
	if isNew {
		return "", fs.ErrExist
	}
	return "", binarycache.ErrChanged
}

// maxBroken is the maximum number of times that a partial object is overwritten.
const maxBroken = 4

// recheck checks a condition before another try. It returns the same error as a server that checks the condition
// itself.
func (s *Store) recheck(ctx context.Context, name string, c binarycache.Condition) error {
	o, err := s.backend.Head(ctx, name)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !missing:
		return err
	case c.New && !missing, c.Version != "" && (missing || o.Version != c.Version):
		return &Error{Status: http.StatusPreconditionFailed}
	}
	return nil
}

// compare reports whether an object has this content, or only the beginning of it.
func (s *Store) compare(ctx context.Context, name string, c *Content) (v binarycache.Version, whole, part bool, err error) {
	r, o, err := s.Open(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, false, nil
	}
	if err != nil {
		return "", false, false, err
	}
	defer r.Close()
	own, err := c.Reader()
	if err != nil {
		return "", false, false, err
	}
	n, err := io.Copy(&same{own}, io.LimitReader(r, c.Size+1))
	if errors.Is(err, errOther) {
		return o.Version, false, false, nil
	}
	return o.Version, n == c.Size, n < c.Size, err
}

var errOther = errors.New("other contents")

// A same accepts only the bytes that r has.
type same struct{ r io.Reader }

func (s *same) Write(p []byte) (int, error) {
	b := make([]byte, len(p))
	if _, err := io.ReadFull(s.r, b); err == io.EOF || err == io.ErrUnexpectedEOF || err == nil && !bytes.Equal(b, p) {
		return 0, errOther
	} else if err != nil {
		return 0, err
	}
	return len(p), nil
}

// lookFirst is a size in bytes. Before a larger new object is sent, a request checks whether it already exists.
const lookFirst = 1 << 20

// check returns the part of a condition that the server checks, and checks the rest itself.
func (s *Store) check(ctx context.Context, name string, size int64, c binarycache.Condition) (binarycache.Condition, error) {
	if c == (binarycache.Condition{}) {
		return c, nil
	}
	can, err := s.abilities(ctx)
	if err != nil {
		return c, err
	}
	if can.ifNew && can.ifMatch && (!c.New || size <= lookFirst) {
		return c, nil
	}
	if c.New && (!can.ifNew || size > lookFirst) {
		if _, err := s.head(ctx, name); err == nil {
			return c, fs.ErrExist
		} else if !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
		c.New = can.ifNew
	}
	if c.Version != "" && !can.ifMatch {
		o, err := s.head(ctx, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
		if err != nil || o.Version != c.Version {
			return c, binarycache.ErrChanged
		}
		c.Version = ""
	}
	return c, nil
}

// abilities describes a server's support for conditions and attributes.
type abilities struct {
	ifNew, ifMatch bool
	encoding       bool // it stores Content-Encoding
}

// ProbePrefix begins the names of test objects. No object of a cache has such a name.
const ProbePrefix = "narseal-probe-"

// IsProbe reports whether name is the name of a test object.
func IsProbe(name string) bool {
	digits, ok := strings.CutPrefix(name, ProbePrefix)
	_, err := hex.DecodeString(digits)
	return ok && err == nil && len(digits) == 2*probeBytes
}

// probeBytes is the number of random bytes in the name of a test object, in hexadecimal.
const probeBytes = 8

const probeText = "narseal writes this to see whether the server checks If-Match and If-None-Match. It can be deleted.\n"

// contentEncoding is the attribute without which clients cannot decode a compressed object.
const contentEncoding = "Content-Encoding"

// noVersion is a version that no object has.
const noVersion = binarycache.Version("00000000000000000000000000000000")

// abilities finds out what the server supports, with a test object.
func (s *Store) abilities(ctx context.Context) (abilities, error) {
	s.probing.Lock()
	defer s.probing.Unlock()
	if s.can != nil {
		return *s.can, nil
	}
	can, err := s.probe(ctx)
	var e *Error
	switch {
	case errors.As(err, &e) && e.Denied:
		s.warn(fmt.Sprintf("%s: could not test whether the server checks If-Match: %v; "+
			"what another program writes at the same moment may be lost", s.backend.URL(""), err))
	case err != nil:
		return can, err
	case !can.ifNew || !can.ifMatch:
		var ignored []string
		if !can.ifNew {
			ignored = append(ignored, "If-None-Match")
		}
		if !can.ifMatch {
			ignored = append(ignored, "If-Match")
		}
		s.warn(fmt.Sprintf("%s: the server ignores %s: narseal checks right before it writes, "+
			"but what another program writes at the same moment may be lost", s.backend.URL(""), strings.Join(ignored, " and ")))
	}
	s.can = &can
	return can, nil
}

func probeName() string {
	b := make([]byte, probeBytes)
	rand.Read(b)
	return ProbePrefix + hex.EncodeToString(b)
}

// newProbe returns a small test object.
func newProbe(ctx context.Context, name string) (binarycache.Object, *Content, error) {
	o := binarycache.Object{Name: name, Size: int64(len(probeText)), Attributes: map[string]string{"Content-Type": "text/plain"}}
	content, err := measure(ctx, strings.NewReader(probeText), o.Size)
	return o, content, err
}

func (s *Store) deleteProbe(ctx context.Context, name string) {
	ctx = context.WithoutCancel(ctx) // the run may already have ended
	err := s.transport.retry(ctx, deleting.of(name), func() error { return s.backend.Delete(ctx, name, binarycache.Condition{}) })
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return
	}
	if _, warned := s.left.LoadOrStore(name, true); !warned {
		s.warn(fmt.Sprintf("%s: this test object is left over, since it could not be deleted: %v", s.backend.URL(name), err))
	}
}

func (s *Store) probe(ctx context.Context) (can abilities, err error) {
	o, content, err := newProbe(ctx, probeName())
	if err != nil {
		return can, err
	}
	o.Attributes[contentEncoding] = "br"
	// refused writes with a condition, and reports whether the server refused it.
	refused := func(c binarycache.Condition) (v binarycache.Version, no bool, err error) {
		err = s.transport.retry(ctx, putting.of(o.Name), func() (err error) {
			v, err = s.backend.Put(ctx, o, content, c)
			return err
		})
		var e *Error
		if errors.As(err, &e) && e.precondition() {
			return "", true, nil
		}
		return v, false, err
	}
	if _, _, err := refused(binarycache.Condition{}); err != nil {
		return can, err
	}
	defer s.deleteProbe(ctx, o.Name)
	if _, can.ifNew, err = refused(binarycache.Condition{New: true}); err != nil {
		if !unknown(err) {
			return can, err
		}
		can.ifNew = false
	}
	if _, can.ifMatch, err = refused(binarycache.Condition{Version: noVersion}); err != nil {
		if !unknown(err) {
			return can, err
		}
		can.ifMatch = false
	}
	now, err := s.head(ctx, o.Name)
	if err != nil {
		return can, err
	}
	can.encoding = now.Attributes[contentEncoding] == "br"
	if can.ifMatch = can.ifMatch && now.Version != ""; can.ifMatch {
		// The server must also accept the present version.
		_, no, err := refused(binarycache.Condition{Version: now.Version})
		if err != nil {
			return can, err
		}
		can.ifMatch = !no
	}
	return can, nil
}

// unknown reports whether a server does not support a header.
func unknown(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Status == 400 || e.Status == 501)
}
