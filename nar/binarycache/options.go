package binarycache

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"narseal/nar/binarycache/narinfo"
	"narseal/nar/binarycache/state"
	"narseal/nar/compression"
)

// Options are what [VerifyOptions] and [RewriteOptions] share: which paths of a cache, and what is reported of them.
type Options struct {
	// TrustedKeys, if there are any, must have signed every path that is read.
	TrustedKeys []signature.PublicKey

	// Hashes, if not nil, are the hash parts of the paths to work on; the store is not listed then. A path without a
	// narinfo is Missing. An error of the iterator ends the run.
	Hashes iter.Seq2[string, error]

	// Exclude, if not nil, leaves paths out: they are not read, changed or copied. It is called with a hash part before
	// the narinfo is read, and with the base name after that.
	Exclude func(base string) bool

	// Select, if not nil, says of a hash part that is listed whether its path is worked on. It does not apply to Hashes.
	Select func(hash string) bool

	// Skip, if not nil, says of a narinfo that was read whether its path is finished. It is called by many goroutines at
	// once.
	Skip func(ctx context.Context, n *narinfo.Info) (bool, error)

	// Since, if not zero, skips the narinfos that were not changed after it.
	Since time.Time

	// Jobs is how many paths are worked on at a time, 0 for one.
	Jobs int

	// Done is called for each path, one at a time.
	Done func(Result)

	// Planned, if not nil, is called whenever more is known of the work, one call at a time: how many paths were found
	// so far, and how many bytes are read and written of those whose narinfo was read, done or not. It can become less,
	// as when a path fails. The last call has the totals.
	Planned func(paths int, bytes int64)

	// Read, if not nil, is called for bytes of NARs that were read for the first time, by many goroutines at once.
	Read func(n int)

	// Written, if not nil, is called for bytes of NARs that were read again, to be compressed, or written to a cache, by
	// many goroutines at once.
	Written func(n int)
}

// VerifyOptions are the options of [Verify].
type VerifyOptions struct {
	Options

	// Inspect, if not nil, reads a NAR from src. The NAR is checked against its narinfo only after it was read: what
	// Inspect concludes counts only if the Result of the path has no error. Several calls run at the same time.
	Inspect func(ctx context.Context, p *Path, src io.Reader) error
}

// RewriteOptions are the options of [Rewrite].
type RewriteOptions struct {
	Options

	// Filter reads a NAR from src to its end and writes to dst what is to replace it. The NAR is checked against its
	// narinfo only after it was read: what Filter concludes counts only if the Result of the path has no error. It must
	// give the same output each time: a NAR that changes is filtered once to see that it does, and Again to write it.
	// Several calls run at the same time. nil passes everything on.
	Filter func(ctx context.Context, p *Path, dst io.Writer, src io.Reader) error

	// Rename applies the rules to text that holds store paths or their base names, and keeps its length. nil is no
	// rules.
	Rename func(string) string

	// Output is the cache to write. nil changes the cache in place.
	Output Store

	// Overlay writes to Output only what changes, and a nix-cache-info by which clients ask it first: its Priority is
	// this one or, if it is 0, 10 below that of the input, which is 50 if the input names none. A nix-cache-info that is
	// there stays. A narinfo that one of SecretKeys has signed is replaced when its path has other contents in the input.
	Overlay  bool
	Priority int

	// State is what earlier runs of the same work have finished. Without one, a run does the work of every path.
	State *state.State

	// Once says that doing the work twice is not the same as doing it once, as with a rule that swaps two hashes. Such
	// work is done in place only with a State, which then keeps for good what has changed.
	Once bool

	// SecretKeys sign what changes.
	SecretKeys []signature.SecretKey

	// Compression of NARs that change; "" is as before (bzip2, which cannot be written, becomes xz). Level is as in
	// [compression.Options].
	Compression compression.Type
	Level       int

	// TempFile returns a file for what is too large for memory: a NAR that is written, until its size and hash are
	// known, and one that is read from a store that cannot read it twice. nil keeps it in memory, however large it is.
	TempFile func() (TempFile, error)

	// Warn, if not nil, is called for what is left out of an Output besides paths: logs, realisations and debuginfos.
	Warn func(text string)

	// DryRun changes nothing. Results say what would change.
	DryRun bool

	// Prune deletes, in place, what this and earlier runs of the same State have replaced: NARs that no narinfo and no
	// debuginfo names any more, and the narinfos of store paths that have a new one.
	Prune bool
}

// A Path is one of a cache's store paths.
type Path struct {
	StorePath   string
	NarSize     int64
	Compression compression.Type
	Again       bool // Filter has seen this NAR to its end before, and it is being written
	Retry       bool // Filter has asked for this by ErrRetry
	Finished    bool // an earlier run has made this NAR: Filter only inspects it, and what it writes is not used
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

// A Result is what became of a path.
type Result struct {
	Info      string // the narinfo's name
	StorePath string // "" if the narinfo cannot be read
	Status    Status
	Err       error
	Warnings  []string
	Modified  time.Time // of the narinfo that was read, as far as the store knows

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

// ErrRetry, wrapped by an error of Filter, has Filter called once more for this NAR, from its beginning and with a new
// dst.
var ErrRetry = errors.New("to be tried in another way")

// Sentinels, wrapped by the errors of Results.
var (
	ErrMismatch  = errors.New("does not match its narinfo")
	ErrUntrusted = errors.New("not signed by a trusted key")
	ErrConflict  = errors.New("another path has this name")
)

// errNoState is the error of work that must be done once and has nothing to remember it by.
var errNoState = errors.New("these rules undo themselves when they are applied twice: in place they need a State")
