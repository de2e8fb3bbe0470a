package filter

import (
	"errors"
	"fmt"

	"narseal/filter/refs"
	"narseal/filter/rules"
	"narseal/filter/spill"
	"narseal/macho"
	"narseal/macho/bundle"
	"narseal/nar"
)

// A Config describes a run. The zero Config copies an archive unchanged.
type Config struct {
	Rules      *rules.Set // nil: nothing is replaced
	Signatures SignatureOptions
	// Spill says where images, deferred entries, and bundles that may have to be sealed again are kept. Its limit applies
	// to images and to deferred entries. Of bundles, at most 4 MiB are in memory, if Open is not nil.
	Spill spill.Options
	// Bundles, if not nil, bounds the memory for bundles of all runs that have it, beside a MiB for each of them. A run
	// waits while others have it all.
	Bundles *bundle.Pool
	// Unpack, if not nil, makes the run search packed contents for the Rules. They cannot be replaced there: see
	// Observer.Hidden.
	Unpack   *refs.Unpack
	Observer Observer
}

// SignatureOptions say what happens to code signatures.
type SignatureOptions struct {
	Repair RepairMode
	OnCMS  macho.CMSPolicy
	// Verify verifies every signed image, even if the run has no other reason to hash it.
	Verify bool
	// Unsigned reports slices that need a signature but have none, even in images without any signature. Such images are
	// not kept.
	Unsigned bool
	// Locate sets the Regions of invalid slices.
	Locate bool
	Jobs   int // goroutines that hash; 0: GOMAXPROCS
}

// A RepairMode says which signatures are repaired.
type RepairMode int

const (
	// RepairTouched recomputes the slots of the pages and blobs that the rules changed, and repairs the seals of bundles
	// whose files they changed.
	RepairTouched RepairMode = iota
	// RepairAll recomputes every slot that does not match, and repairs every seal.
	RepairAll
	// RepairNone leaves signatures alone. Images that the rules change are still verified, and counted in
	// Result.Invalid.
	RepairNone
)

// An Observer is a set of functions that a run calls, each of which may be nil. They are called by one goroutine, in
// the order of the archive, except that a slice that seals files of its bundle comes at the end of the bundle's
// directory. Paths are those of the input.
type Observer struct {
	// Entry is called for each entry, before its contents. path returns the entry's path for display: only the end of a
	// long one.
	Entry func(path func() string)
	// Changed is called for each entry that the rules changed.
	Changed func(Change)
	// Signature is called for each slice that was verified or repaired, and for those that SignatureOptions.Unsigned
	// reports.
	Signature func(Signature)
	// Invalid is called for each slice that Result.Invalid counts, except the one of a *SignatureError.
	Invalid func(Signature)
	// Hidden is called for each occurrence of the Rules in packed contents. Reference.Hash is the number of the rule.
	// An error ends the run.
	Hidden func(*refs.Reference) error

	// BeginArchive and EndArchive are called for each archive of an export stream. EndArchive gets the trailer of the
	// output.
	BeginArchive func()
	EndArchive   func(*nar.Trailer, *Result)
}

// A Signature is the state of one slice of a signed image in the output.
type Signature struct {
	Path nar.Path `json:"path"`
	macho.Slice
}

// A Change says what the rules changed in an entry.
type Change struct {
	Path     nar.Path `json:"path"`
	Contents bool     `json:"contents"`
	Target   bool     `json:"target"`
	Name     bool     `json:"name"`
}

// A Result counts what a run did.
type Result struct {
	Regular, Directory, Symlink int64   // entries
	Counts                      []int64 // replacements, by rule
	Images, Slices              int64   // signed images, and their slices, that were verified or repaired
	Hashed                      int64   // bytes, once for every CodeDirectory
	Repaired                    int64   // slices
	// Unsigned is the number of reported slices that need a signature but have none.
	Unsigned int64
	// Invalid is the number of slices with an invalid signature that the run touched (in the image, or in a file of
	// its bundle) or was asked to repair.
	Invalid int64
}

// Replacements returns the number of replacements by all rules.
func (r *Result) Replacements() int64 {
	var n int64
	for _, c := range r.Counts {
		n += c
	}
	return n
}

// add adds the counts of another run.
func (r *Result) add(o *Result) {
	r.Regular += o.Regular
	r.Directory += o.Directory
	r.Symlink += o.Symlink
	r.Images += o.Images
	r.Slices += o.Slices
	r.Hashed += o.Hashed
	r.Repaired += o.Repaired
	r.Unsigned += o.Unsigned
	r.Invalid += o.Invalid
	for i, n := range o.Counts {
		r.Counts[i] += n
	}
}

// A SignatureError reports an image whose signature the run cannot repair, but has made invalid or was asked to repair.
type SignatureError struct {
	Path  nar.Path
	Slice macho.Slice
}

func (e *SignatureError) Error() string {
	why := e.Slice.Reason
	if why == "" {
		why = string(e.Slice.Status)
	}
	return fmt.Sprintf("repair %q: %s slice at offset %d: %s", e.Path.Short(), e.Slice.Arch, e.Slice.Offset, why)
}

// A RenameError reports a renamed entry that belongs before entries already written, or whose new name another entry
// has.
type RenameError struct {
	Path     nar.Path // of the entry, in the input
	From, To string
	Err      error // a *nar.OrderError
}

func (e *RenameError) Error() string {
	return fmt.Sprintf("rename %q to %q: %v", e.Path.Short(), e.To, e.Err)
}

func (e *RenameError) Unwrap() error { return e.Err }

// IsClash reports whether another entry has the new name. Then no order of the entries helps.
func (e *RenameError) IsClash() bool {
	var order *nar.OrderError
	return errors.As(e.Err, &order) && order.Name == order.Last
}
