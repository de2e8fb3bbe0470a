package binarycache

import (
	"context"
	"io"
	"iter"
	"time"
)

// A Store holds the objects of a binary cache by name, such as "nix-cache-info",
// "HASH.narinfo" and "nar/HASH.nar.xz". Names are relative, slash-separated paths
// without "." and "..". An object that is missing is an [io/fs.ErrNotExist].
//
// All methods may be called at the same time.
type Store interface {
	// Open opens an object for reading, from its first byte.
	Open(ctx context.Context, name string) (io.ReadCloser, error)

	// Stat describes an object.
	Stat(ctx context.Context, name string) (Object, error)

	// List goes through the objects directly in a folder ("" for the top, "nar"),
	// in no particular order. It ends with the first error.
	List(ctx context.Context, folder string) iter.Seq2[Object, error]

	// Create begins an object whose name is not known yet.
	Create(ctx context.Context) (Pending, error)

	// Delete removes an object. One that is missing is no error.
	Delete(ctx context.Context, name string) error
}

// An Object describes one object of a Store.
type Object struct {
	Name    string
	Size    int64
	ModTime time.Time
}

// A Pending object is being written, and nobody sees it yet.
type Pending interface {
	io.Writer

	// Commit gives the object its name, in one step and durably: a reader sees
	// the whole object, or what had the name before.
	Commit(name string) error

	// Abort gives the object up. After Commit it does nothing.
	Abort()
}

// An exclusive Store can be kept for one run at a time.
type exclusive interface {
	// Exclusive locks the store, or says that somebody else has. It returns a
	// folder where the run keeps its state until release.
	Exclusive() (folder string, release func() error, err error)
}
