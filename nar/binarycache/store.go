package binarycache

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"narseal/nar/binarycache/internal/spill"
)

// A Store holds the objects of a binary cache by name, such as "nix-cache-info", "HASH.narinfo" and "nar/HASH.nar.xz".
// A name is a relative, slash-separated path without empty elements and without elements that begin with ".".
//
// For a missing object, methods return an error that wraps [io/fs.ErrNotExist], and for an operation that the store
// does not support, such as listing, one that wraps [errors.ErrUnsupported]. If an error concerns only this object,
// because of its name, its size, its contents or what is there instead, it wraps [io/fs.ErrInvalid]: a run goes on with
// other objects after it. A store keeps every promise below or returns an error. All methods may be called concurrently.
//
// A Store may have a method Clean(context.Context) error. [Rewrite] calls it before it writes, to remove partial
// objects that killed runs have left.
type Store interface {
	// Open opens an object for reading from its first byte, and describes it: the reader returns all of this version, or
	// an error. If the reader is also an [io.ReaderAt], the object can be read several times at no cost; the contents of
	// any other reader are kept while they may be needed again.
	Open(ctx context.Context, name string) (io.ReadCloser, Object, error)

	// Stat describes an object.
	Stat(ctx context.Context, name string) (Object, error)

	// List iterates over the objects directly in a directory ("" for the top, "nar"), in no particular order. It ends
	// with the first error. A directory without objects may be missing.
	List(ctx context.Context, dir string) iter.Seq2[Object, error]

	// Put writes the object o.Name with o.Attributes and the o.Size bytes of body, durably and in one step: a reader sees
	// the whole object, or the previous one of that name. If body is shorter or longer than that, or fails, nothing is
	// written. body is at its first byte, and may be rewound to try again. Put returns the new version.
	Put(ctx context.Context, o Object, body io.ReadSeeker, c Condition) (Version, error)

	// Delete removes an object.
	Delete(ctx context.Context, name string, c Condition) error
}

// An Object describes one object of a Store.
type Object struct {
	Name    string
	Size    int64 // in bytes; -1 if it is known only after reading
	ModTime time.Time
	Version Version

	// Attributes are values that a store keeps with the contents, by the names of HTTP headers: Content-Encoding,
	// Cache-Control and the like. An object that replaces another gets its attributes. They are nil in a store that has
	// none.
	Attributes map[string]string
}

// A Version identifies the contents of an object at one time, like an ETag. If two versions of an object are equal, so
// are the contents. It is empty if the store does not know it.
type Version string

// A Condition must be true for Put or Delete to do anything. It is checked together with the change, in one step, if
// the store can do that: each store documents it. The zero Condition is always true.
type Condition struct {
	// New: there must be no object of that name. Otherwise the error wraps [io/fs.ErrExist].
	New bool

	// Version, if not empty: the object must exist and have this version. Otherwise the error wraps [ErrChanged].
	Version Version
}

// ErrChanged is wrapped by the error of a Put or Delete whose object no longer has the version of the condition.
var ErrChanged = errors.New("another program has changed it meanwhile")

// A TempFile stores data that is too large for memory. It is usually an unnamed temporary file. It is an [io.ReaderAt],
// an [io.WriterAt] and an [io.Closer].
type TempFile = spill.File
