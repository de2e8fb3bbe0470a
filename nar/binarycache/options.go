package binarycache

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"narseal/nar/compression"
)

// Options of [Verify] and [Rewrite].
type Options struct {
	// Filter reads a NAR from src to its end and, in Rewrite, writes what is to be
	// in its place to dst. The NAR is checked against its narinfo only after it
	// was read: what Filter concludes counts only if the path's Result has no
	// error. It must give the same output each time: a NAR that changes is
	// filtered once to see that it does, and Again to write it.
	// Several calls run at the same time. nil passes everything on.
	Filter func(ctx context.Context, p *Path, dst io.Writer, src io.Reader) error

	// Rename applies the rules to text that holds store paths or their base names,
	// and keeps its length. nil is no rules.
	Rename func(string) string

	// Work stands for everything that decides what Filter and Rename do. A run
	// that was cut short is continued by one of the same Work. "" is not continued.
	Work string

	// Once says that doing Work twice is not the same as doing it once, as with a
	// rule that swaps two hashes. Then the cache, if it is changed in place, keeps a
	// record of what has changed also after the end, and no run does it again.
	Once bool

	// Output is the cache to write. nil changes the cache in place.
	Output Store

	// SecretKeys sign what changes.
	SecretKeys []signature.SecretKey

	// TrustedKeys, if there are any, have to have signed every path that is read.
	TrustedKeys []signature.PublicKey

	// Since and Hashes limit the work to narinfos changed after a time, and to
	// those of these hash parts (if not nil).
	Since  time.Time
	Hashes map[string]bool

	// Compression of NARs that change; "" is as before (bzip2, which cannot be
	// written, becomes xz). Level is as in [compression.Options].
	Compression compression.Type
	Level       int

	// Jobs is how many paths are worked on at a time, 0 for one.
	Jobs int

	// DryRun changes nothing. Results say what would change.
	DryRun bool

	// Prune deletes, in place, what a run has replaced: NARs that no narinfo names
	// any more, and the narinfos of store paths that have a new one.
	Prune bool

	// Done is called for each path, one at a time.
	Done func(Result)

	// Planned, if not nil, is called once, with the number of paths and the bytes
	// of their NARs; and Read for bytes of NARs that were read for the first time,
	// by many goroutines at once.
	Planned func(paths int, bytes int64)
	Read    func(n int)
}

// A Path is one of a cache's store paths.
type Path struct {
	StorePath   string
	NarSize     int64
	Compression compression.Type
	Again       bool // Filter has seen this NAR to its end before, and it is being written
	Retry       bool // Filter has asked for this by ErrRetry
}

// Status says how a path ended.
type Status string

const (
	Failed    Status = "failed"    // Result.Err says why; the path is as it was
	Verified  Status = "verified"  // by Verify
	Unchanged Status = "unchanged" // and copied, if there is another Output
	Changed   Status = "changed"   // or would be, in a DryRun
	Finished  Status = "finished"  // already, by a run that was cut short
)

// A Result is what became of a path.
type Result struct {
	Info      string // the narinfo's name
	StorePath string // "" if the narinfo cannot be read
	Status    Status
	Err       error
	Warnings  []string

	// Of a path that changed:
	NewStorePath     string // maybe the same
	NarHash, NewHash string // sha256:…, of the contents
	FileSize         int64  // of the new file
}

// A Summary counts the paths of a run by how they ended.
type Summary struct {
	Paths  map[Status]int
	Pruned int // objects deleted
}

// ErrRetry, wrapped by an error of Filter, has Filter called once more for this NAR,
// from its beginning and with a new dst.
var ErrRetry = errors.New("to be tried in another way")

// Sentinels, wrapped by the errors of Results.
var (
	ErrMismatch  = errors.New("does not match its narinfo")
	ErrUntrusted = errors.New("not signed by a trusted key")
	ErrConflict  = errors.New("another path has this name")
)
