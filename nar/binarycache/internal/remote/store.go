package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync"

	"narseal/nar/binarycache"
)

// A Backend sends the requests of a store. Each method makes a single try. Errors are of type *[Error], or those of the
// context.
type Backend interface {
	// URL returns the name of an object for messages, without credentials.
	URL(name string) string

	// Get reads an object from offset from on. If before is not nil, it is the Answer with the earlier bytes, and Get
	// returns an error if the object now has another version. The server may ignore from and begin at the first byte;
	// see Answer.From.
	Get(ctx context.Context, name string, from int64, before *Answer) (*Answer, error)

	// Head describes an object.
	Head(ctx context.Context, name string) (binarycache.Object, error)

	// Put writes an object. The condition is sent to the server, which may ignore it.
	Put(ctx context.Context, o binarycache.Object, body *Content, c binarycache.Condition) (binarycache.Version, error)

	// Delete deletes an object.
	Delete(ctx context.Context, name string, c binarycache.Condition) error
}

// An Answer is a response with an object.
type Answer struct {
	binarycache.Object // describes the whole object

	From  int64 // offset of Body in the object, in bytes
	Body  io.ReadCloser
	Since string // Last-Modified, if it tells versions apart; for the Backend
	// Young is an ETag that may stay the same if the object changes within the same second; for the Backend.
	Young binarycache.Version
}

// A Store implements [binarycache.Store] except for List. If the connection breaks, reading continues at the same
// offset, and fails if the object now has another version. Open reads an object of up to 256 KiB completely before it
// returns.
//
// If the server supports conditions, it checks them atomically with the change. The Store finds that out once, with a
// test object that it deletes again. If the server does not support them, the Store checks them right before the
// change, and Warnings says so.
type Store struct {
	backend   Backend
	transport *Transport

	probing sync.Mutex
	can     *abilities // nil: not yet known

	trying sync.Mutex
	small  string   // the name of the test object of isOfObject
	left   sync.Map // test objects that could not be deleted

	mu       sync.Mutex
	warnings []string
}

// NewStore returns a store.
func NewStore(b Backend, t *Transport) *Store {
	return &Store{backend: b, transport: t, small: probeName()}
}

// Warnings returns the warnings about the store that were not returned yet.
func (s *Store) Warnings() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.warnings
	s.warnings = nil
	return w
}

func (s *Store) warn(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warnings = append(s.warnings, s.transport.Hide(text))
}

// CheckName returns an error if name is not the name of an object.
func CheckName(op, name string) error {
	bad := !fs.ValidPath(name) || name == "." || strings.IndexByte(name, 0) >= 0 || len(name) > maxName
	for elem := range strings.SplitSeq(name, "/") {
		bad = bad || strings.HasPrefix(elem, ".")
	}
	if bad {
		return &fs.PathError{Op: op, Path: name[:min(len(name), maxName)], Err: fs.ErrInvalid}
	}
	return nil
}

// maxName is S3's limit for keys, in bytes.
const maxName = 1024

// fail adds the operation and the name of the object to an error.
func (s *Store) fail(op, name string, err error) error {
	return s.transport.Fail(op, s.backend.URL(name), err)
}

// maxWhole is the maximum size of objects that Open reads completely, in bytes.
const maxWhole = 256 << 10

// Open opens an object.
func (s *Store) Open(ctx context.Context, name string) (io.ReadCloser, binarycache.Object, error) {
	if err := CheckName("open", name); err != nil {
		return nil, binarycache.Object{}, err
	}
	var a *Answer
	var whole []byte
	k := getting.of(name)
	err := s.transport.try(ctx, k, func() (err error) {
		if a, err = s.backend.Get(ctx, name, 0, nil); err != nil {
			return err
		}
		if a.Size < 0 || a.Size > maxWhole {
			return nil
		}
		defer a.Body.Close()
		err = Soon(a.Body, func() error {
			whole, err = readWhole(a)
			return err
		})
		var slow *silentError
		if errors.As(err, &slow) {
			return Network(err)
		}
		return err
	})
	if err != nil {
		return nil, binarycache.Object{}, s.fail("open", name, err)
	}
	if a.Size >= 0 && a.Size <= maxWhole {
		s.transport.note(k, false)
		return memory{bytes.NewReader(whole)}, a.Object, nil
	}
	return &body{ctx: ctx, store: s, kind: k, first: a, now: a.Body}, a.Object, nil
}

// readWhole reads a small object.
func readWhole(a *Answer) ([]byte, error) {
	// Read one more byte, because the connection can be reused only after its end was seen.
	b := make([]byte, a.Size+1)
	switch n, err := io.ReadFull(a.Body, b); {
	case err == nil:
		return nil, &Error{Text: "the server has sent more than it announced", Again: true, Malformed: true}
	case int64(n) == a.Size && (err == io.ErrUnexpectedEOF || err == io.EOF):
		return b[:n:n], nil
	case err == io.EOF:
		return nil, Network(io.ErrUnexpectedEOF)
	default:
		return nil, Network(err)
	}
}

// memory is an object that was read completely.
type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

// Stat describes an object.
func (s *Store) Stat(ctx context.Context, name string) (o binarycache.Object, err error) {
	if err := CheckName("stat", name); err != nil {
		return o, err
	}
	if o, err = s.head(ctx, name); err != nil {
		return o, s.fail("stat", name, err)
	}
	return o, nil
}

func (s *Store) head(ctx context.Context, name string) (o binarycache.Object, err error) {
	err = s.transport.retry(ctx, describing.of(name), func() (err error) {
		o, err = s.backend.Head(ctx, name)
		return err
	})
	return o, err
}

// Delete deletes an object.
func (s *Store) Delete(ctx context.Context, name string, c binarycache.Condition) error {
	if err := CheckName("delete", name); err != nil {
		return err
	}
	if err := s.delete(ctx, name, c); err != nil {
		return s.fail("delete", name, err)
	}
	return nil
}

func (s *Store) delete(ctx context.Context, name string, c binarycache.Condition) error {
	o, err := s.head(ctx, name)
	if err != nil {
		return err
	}
	if c.Version != "" && o.Version != c.Version {
		return binarycache.ErrChanged
	}
	tries := 0
	err = s.transport.retry(ctx, deleting.of(name), func() error {
		if tries++; tries > 1 {
			// An earlier try may have deleted the object, and another writer may have put a new one since then.
			now, err := s.backend.Head(ctx, name)
			if err != nil {
				return err
			}
			if now.Version != o.Version {
				return &Error{Status: http.StatusPreconditionFailed}
			}
		}
		return s.backend.Delete(ctx, name, c)
	})
	var e *Error
	switch {
	case !errors.As(err, &e):
	case e.precondition():
		return binarycache.ErrChanged
	case e.Absent && !e.Denied && tries > 1:
		return nil // an earlier try deleted it, and its response was lost
	}
	return err
}
