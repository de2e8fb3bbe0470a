package macho

// Status is what Verify or Repair found of a slice.
type Status string

const (
	StatusValid       Status = "valid"       // every slot that was looked at holds
	StatusStale       Status = "stale"       // a slot does not match
	StatusRepaired    Status = "repaired"    // every slot that did not match was recomputed
	StatusUnsigned    Status = "unsigned"    // no LC_CODE_SIGNATURE
	StatusCMS         Status = "cms"         // stale or touched, and signed by a certificate
	StatusMalformed   Status = "malformed"   // cannot be parsed, or does not cover what it must
	StatusUnsupported Status = "unsupported" // an unknown hash type or version, or encrypted pages
	StatusBundle      Status = "bundle"      // a file of its bundle is not the one that it seals (package bundle)
)

// OK reports whether nothing is wrong with a slice of this status.
func (s Status) OK() bool {
	return s == StatusValid || s == StatusRepaired || s == StatusUnsigned
}

// Report is what Verify or Repair found of an image.
type Report struct {
	// Slices are those of a fat image in the order of its table, or the one of
	// a thin image. A file that is no Mach-O image has none.
	Slices []Slice `json:"slices"`
	// Hashed is the number of bytes that were hashed, counted once for every
	// CodeDirectory.
	Hashed int64 `json:"hashed"`
}

// OK reports whether nothing is wrong with any slice.
func (r *Report) OK() bool {
	for i := range r.Slices {
		if !r.Slices[i].Status.OK() {
			return false
		}
	}
	return true
}

// Slice is one architecture of an image.
type Slice struct {
	Arch            string          `json:"arch"`
	Offset          int64           `json:"offset"` // bytes from the start of the image
	Status          Status          `json:"status"`
	Signature       string          `json:"signature"` // linker-signed, adhoc, cms or none
	CodeDirectories []CodeDirectory `json:"codeDirectories"`
	Reason          string          `json:"reason"` // why it is not valid; empty when there is nothing to say

	// Touched is set by Repair where a touched range lies in the slice, and in
	// every slice when everything is to be repaired; and by package bundle where the file is.
	Touched bool `json:"-"`

	// Regions, by rising offset, are what lies in the slice. Report.Locate sets
	// them.
	Regions []Region `json:"-"`

	// External holds the special slots whose content is another file of a bundle, of all CodeDirectories. They are
	// not part of the check: package bundle compares them with the files.
	External []SpecialSlot `json:"-"`
}

// CodeDirectory is one of a signature's tables of hashes.
type CodeDirectory struct {
	Slot     uint32   `json:"slot"` // in the SuperBlob: 0, or 0x1000 and up for alternates
	HashType HashType `json:"hashType"`
	PageSize int64    `json:"pageSize"` // bytes; 0: one slot over everything
	Slots    int      `json:"slots"`    // number of code slots
	// Stale holds, in rising order, the pages (0 is the first of the slice)
	// whose slot did not match. In a repaired slice these were recomputed.
	Stale []int `json:"stale"`
	// StaleSpecial holds likewise k for each special slot -k.
	StaleSpecial []int `json:"staleSpecial"`
}
