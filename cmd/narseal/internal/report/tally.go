package report

import (
	"fmt"
	"io/fs"

	"github.com/dustin/go-humanize"

	"narseal/filter"
	"narseal/macho"
)

// Tally counts what a command examined.
type Tally struct {
	Entries        Entries
	Size           int64 // bytes in files
	Images, Slices int64 // signed images, and their slices
	Stale          int64 // slots, including special slots
	Hashed         int64 // bytes
	Invalid        int64 // slices with an invalid signature, or with a missing one
	Unsigned       int64 // of these, slices with a missing signature
	Failed         int64 // inputs and files in directories that could not be read
	Skipped        int64 // paths of a cache that were not read, because a ledger has them
	Mend           Mend  // how invalid signatures can be repaired
}

// Sum adds the numbers of another Tally.
func (n *Tally) Sum(o *Tally) {
	n.Entries.Regular += o.Entries.Regular
	n.Entries.Directory += o.Entries.Directory
	n.Entries.Symlink += o.Entries.Symlink
	n.Size += o.Size
	n.Images += o.Images
	n.Slices += o.Slices
	n.Stale += o.Stale
	n.Hashed += o.Hashed
	n.Invalid += o.Invalid
	n.Unsigned += o.Unsigned
	n.Failed += o.Failed
	n.Skipped += o.Skipped
	n.Mend.sum(&o.Mend)
}

// AddSlice counts a slice.
func (n *Tally) AddSlice(s *macho.Slice) {
	n.Slices++
	n.Stale += int64(staleSlots(s))
	if !s.OK() {
		n.Invalid++
		if s.Status.OK() {
			n.Unsigned++
		}
	}
}

func staleSlots(s *macho.Slice) int {
	n := 0
	for i := range s.CodeDirectories {
		n += len(s.CodeDirectories[i].Stale) + len(s.CodeDirectories[i].StaleSpecial)
	}
	return n
}

// AddFile counts a name in a directory. rep is nil if it is not a signed image.
func (n *Tally) AddFile(kind fs.FileMode, size int64, rep *macho.Report) {
	switch kind {
	case 0:
		n.Entries.Regular++
		n.Size += size
	case fs.ModeDir:
		n.Entries.Directory++
	case fs.ModeSymlink:
		n.Entries.Symlink++
	}
	if rep != nil {
		n.AddImage(rep)
	}
}

// AddImage counts a signed image, but not its slices.
func (n *Tally) AddImage(rep *macho.Report) {
	n.Images++
	n.Hashed += rep.Hashed
}

// AddResult counts the entries and images of an archive, but not its slices.
func (n *Tally) AddResult(res *filter.Result) {
	n.Entries.Regular += res.Regular
	n.Entries.Directory += res.Directory
	n.Entries.Symlink += res.Symlink
	n.Images += res.Images
	n.Hashed += res.Hashed
}

// String returns the numbers and the verdict in one line.
func (n *Tally) String() string {
	skipped := ""
	if n.Skipped > 0 {
		skipped = Plural(n.Skipped, "path", "paths") + " of the ledger skipped; "
	}
	return fmt.Sprintf("%s, %s, %s; %s; %s hashed; %s%s",
		Plural(n.Entries.Regular, "file", "files"), Plural(n.Images, "signed image", "signed images"), Plural(n.Slices, "slice", "slices"),
		Plural(n.Stale, "stale slot", "stale slots"), humanize.IBytes(uint64(n.Hashed)), skipped, n.Verdict())
}

// Verdict returns the result in a few words.
func (n *Tally) Verdict() string {
	var s string
	switch invalid := n.Invalid - n.Unsigned; {
	case invalid > 0 && n.Unsigned > 0:
		s = fmt.Sprintf("%s, %d missing", Plural(invalid, "invalid signature", "invalid signatures"), n.Unsigned)
	case invalid > 0:
		s = Plural(invalid, "invalid signature", "invalid signatures")
	case n.Unsigned > 0:
		s = Plural(n.Unsigned, "missing signature", "missing signatures")
	case n.Slices > 0:
		s = "every signature is valid"
	default:
		s = "no signature"
	}
	if n.Failed > 0 {
		s += "; " + Plural(n.Failed, "error", "errors")
	}
	return s
}

// Plural returns a number with its noun.
func Plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
