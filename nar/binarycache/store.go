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
// A missing object is an error that wraps [io/fs.ErrNotExist], and what a store cannot do, such as listing, is one that
// wraps [errors.ErrUnsupported]. A store keeps every promise below or returns an error. All methods may be called at the
// same time.
//
// A Store may have a method Clean(context.Context) error. [Rewrite] calls it before it writes, to remove what runs that
// were killed have left half-written.
type Store interface {
	// Open opens an object for reading from its first byte, and describes what is read: the reader returns this version
	// whole, or an error. If it is an [io.ReaderAt] too, the object can be read several times at no cost; what comes
	// from any other reader is kept while it may be needed again.
	Open(ctx context.Context, name string) (io.ReadCloser, Object, error)

	// Stat describes an object.
	Stat(ctx context.Context, name string) (Object, error)

	// List goes through the objects that lie directly in a directory ("" for the top, "nar"), in no particular order.
	// It ends with the first error. A directory without objects may be missing.
	List(ctx context.Context, dir string) iter.Seq2[Object, error]

	// Put writes the object o.Name with o.Attributes and the o.Size bytes of body, durably and in one step: a reader
	// sees the whole object, or what had the name before. If body ends early, is longer or fails, nothing is written.
	// body stands at its first byte, and may be rewound to try again. Put returns the new version.
	Put(ctx context.Context, o Object, body io.ReadSeeker, c Condition) (Version, error)

	// Delete removes an object.
	Delete(ctx context.Context, name string, c Condition) error
}

// An Object describes one object of a Store.
type Object struct {
	Name    string
	Size    int64 // in bytes; -1 if that is known only after reading
	ModTime time.Time
	Version Version

	// Attributes are what a store keeps with the contents, by HTTP's names: Content-Encoding, Cache-Control and the
	// like. An object that replaces another gets those of the other. They are nil in a store that has none.
	Attributes map[string]string
}

// A Version stands for the contents that an object has at one time, like an ETag. Two versions of one object that are
// equal have the same contents. It is empty where a store does not know it.
type Version string

// A Condition must be true for Put or Delete to do anything. It is checked together with the change, in one step, as
// far as the store can: each says how far. The zero Condition is always true.
type Condition struct {
	// New: there must be no object of the name. Otherwise the error wraps [io/fs.ErrExist].
	New bool

	// Version, if not empty: the object must be there and have this version. Otherwise the error wraps [ErrChanged].
	Version Version
}

// ErrChanged is wrapped by the error of a Put or Delete whose object no longer has the version of the condition.
var ErrChanged = errors.New("somebody else has changed it meanwhile")

// A TempFile stores data that is too large for memory. It is usually an unnamed temporary file. It is an [io.ReaderAt],
// an [io.WriterAt] and an [io.Closer].
type TempFile = spill.File
