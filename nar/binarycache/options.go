package binarycache

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"
	"golang.org/x/sync/semaphore"

	"narseal/nar/binarycache/narinfo"
	"narseal/nar/binarycache/state"
	"narseal/nar/compression"
)

// Options are the options that [VerifyOptions] and [RewriteOptions] share: which paths to work on, and how to report on
// them.
type Options struct {
	// TrustedKeys, if not empty, lists the keys of which one must have signed each path that is read.
	TrustedKeys []signature.PublicKey

	// Hashes, if not nil, lists the hash parts of the paths to work on, and the store is not listed. A path without a
	// narinfo is Missing. An error of the iterator ends the run.
	Hashes iter.Seq2[string, error]

	// Exclude, if not nil, reports whether to leave out a path: it is not read, changed or copied. Exclude is called with
	// a hash part before the narinfo is read, and then with the base name.
	Exclude func(base string) bool

	// Select, if not nil, reports whether to work on the path with a listed hash part. It does not apply to Hashes.
	Select func(hash string) bool

	// Skip, if not nil, reports whether the path of a narinfo is already finished. Many goroutines call it concurrently.
	Skip func(ctx context.Context, n *narinfo.Info) (bool, error)

	// Since, if not zero, skips narinfos that have not changed after that time.
	Since time.Time

	// Jobs is how many paths are worked on at a time; 0 means one.
	Jobs int

	// Memory limits the memory of decoders and compressors of all paths together; a path waits until it gets its part.
	// MemorySize is the number of bytes that Memory had at first. A NAR whose decoder needs more is an error. nil means
	// 256 MiB.
	Memory     *semaphore.Weighted
	MemorySize int64

	// Done is called for each path, one at a time.
	Done func(Result)

	// Planned, if not nil, is called whenever the extent of the work changes, one call at a time. paths is how many paths
	// were found so far; bytes is how much is read and written, in total, for those whose narinfo was read. bytes can
	// decrease, for example when a path fails. The last call has the totals.
	Planned func(paths int, bytes int64)

	// Read, if not nil, is called with the number of bytes of NARs that were read for the first time. Many goroutines
	// call it concurrently.
	Read func(n int)

	// Written, if not nil, is called with the number of bytes of NARs that were read again, to be compressed, or written
	// to a cache. Many goroutines call it concurrently.
	Written func(n int)
}

// VerifyOptions are the options of [Verify].
type VerifyOptions struct {
	Options

	// Inspect, if not nil, reads a NAR from src. The NAR is checked against its narinfo only afterwards: ignore what
	// Inspect found if the Result of the path has an error. Several calls run at the same time.
	Inspect func(ctx context.Context, p *Path, src io.Reader) error
}

// RewriteOptions are the options of [Rewrite].
type RewriteOptions struct {
	Options

	// Filter reads a NAR from src to its end and writes its replacement to dst. The NAR is checked against its narinfo
	// only afterwards: ignore what Filter found if the Result of the path has an error. Its output must be the same each
	// time: a NAR that changes is filtered once to find out that it does, and Again to write it. Several calls run at the
	// same time. nil copies src to dst.
	Filter func(ctx context.Context, p *Path, dst io.Writer, src io.Reader) error

	// Rename applies the rules to text with store paths or base names, and keeps its length. nil means no rules.
	Rename func(string) string

	// Output is the cache to write. nil changes the cache in place.
	Output Store

	// Overlay writes to Output only what changes, and a nix-cache-info that makes clients ask it first: its Priority is
	// this one or, for 0, 10 below that of the input, which is 50 if the input does not set it. An existing
	// nix-cache-info stays. A narinfo that one of SecretKeys has signed is replaced if its path now has other contents in
	// the input.
	Overlay  bool
	Priority int

	// State records what earlier runs of the same work have finished. Without it, a run works on every path.
	State *state.State

	// Once says that doing the work twice differs from doing it once, as with a rule that swaps two hashes. Such work is
	// done in place only with a State, which then keeps its record of changes forever.
	Once bool

	// SecretKeys sign the narinfos that change.
	SecretKeys []signature.SecretKey

	// Compression of NARs that change; "" keeps that of the old NAR (bzip2, which cannot be written, becomes xz). Level
	// is as in [compression.Options].
	Compression compression.Type
	Level       int

	// TempFile returns a file for data that is too large for memory: a new NAR, until its size and hash are known, and a
	// NAR from a store that cannot read it twice. With nil, they stay in memory, however large they are.
	TempFile func() (TempFile, error)

	// Warn, if not nil, is called for logs, realisations and debuginfos that are left out of an Output.
	Warn func(text string)

	// DryRun changes nothing. Results say what would change.
	DryRun bool

	// Prune deletes, in place, the objects that this and earlier runs of the same State have replaced: NARs that no
	// narinfo or debuginfo names any more, and narinfos of store paths that have a new one.
	Prune bool
}

// A Path is one of a cache's store paths.
type Path struct {
	StorePath   string
	NarSize     int64
	Compression compression.Type
	Again       bool // Filter has read this NAR to its end before, and it is now written
	Retry       bool // Filter has requested this with ErrRetry
	Finished    bool // an earlier run has made this NAR: Filter only inspects it, and its output is not used
}

// Status says how a path ended.
type Status string

const (
	Failed    Status = "failed"    // Result.Err says why; the path is as it was
	Verified  Status = "verified"  // by Verify
	Unchanged Status = "unchanged" // and copied, if there is another Output
	Changed   Status = "changed"   // or would be, in a DryRun
	Finished  Status = "finished"  // already, by an earlier run; and checked again
	Skipped   Status = "skipped"   // as Skip says
	Missing   Status = "missing"   // of Hashes, without a narinfo
	Excluded  Status = "excluded"  // by Exclude
)

// A Result describes how the work on a path ended.
type Result struct {
	Info      string // the narinfo's name
	StorePath string // "" if the narinfo cannot be read
	Status    Status
	Err       error
	Warnings  []string
	Modified  time.Time // of the narinfo that was read, if the store knows it

	NarHash string // sha256:…, of the contents, as its narinfo states it

	// Of a path that changed:
	NewStorePath string // maybe the same
	NewHash      string // of the new contents
	FileSize     int64  // of the new file
}

// A Summary counts the paths of a run by how they ended.
type Summary struct {
	Paths  map[Status]int
	Pruned int // objects deleted
	Others int // logs, realisations and debuginfos written
}

// ErrRetry, wrapped by an error of Filter, makes Rewrite call Filter once more for this NAR, from its beginning and
// with a new dst.
var ErrRetry = errors.New("to be tried in another way")

// Sentinels, wrapped by the errors of Results.
var (
	ErrMismatch  = errors.New("does not match its narinfo")
	ErrUntrusted = errors.New("not signed by a trusted key")
	ErrConflict  = errors.New("another path has this name")
)

// errNoState is the error of work that must be done only once but has no State to record it.
var errNoState = errors.New("these rules undo themselves when they are applied twice: in place they need a State")
