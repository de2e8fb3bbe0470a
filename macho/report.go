package macho

// Status is the result of Verify or a repair for a slice.
type Status string

const (
	StatusValid       Status = "valid"       // every slot that was checked matches
	StatusStale       Status = "stale"       // a slot does not match
	StatusRepaired    Status = "repaired"    // every slot that was stale has been recomputed
	StatusUnsigned    Status = "unsigned"    // no LC_CODE_SIGNATURE
	StatusCMS         Status = "cms"         // stale or touched, and signed by a certificate
	StatusMalformed   Status = "malformed"   // cannot be parsed, or leaves code uncovered
	StatusUnsupported Status = "unsupported" // an unknown hash type or version, or encrypted pages
	StatusRefused     Status = "refused"     // every hash matches, but the kernel refuses it; the reason names the rule
	StatusBundle      Status = "bundle"      // a file of its bundle is not the one that was sealed (package bundle)
)

// OK reports whether nothing is wrong with a slice of this status.
func (s Status) OK() bool {
	return s == StatusValid || s == StatusRepaired || s == StatusUnsigned
}

// Report is the result of Verify or a repair for an image.
type Report struct {
	// Slices has the slices of a fat image in the order of its table, or the only slice of a thin image. It is empty for
	// a file that is not a Mach-O image.
	Slices []Slice `json:"slices"`
	// Hashed is the number of bytes that were hashed, counted once for each CodeDirectory.
	Hashed int64 `json:"hashed"`
}

// OK reports whether nothing is wrong with any slice.
func (r *Report) OK() bool {
	for i := range r.Slices {
		if !r.Slices[i].OK() {
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
	Reason          string          `json:"reason"` // why it is not valid, or how it was repaired; may be empty

	// Touched is set by RepairTouched if a touched range lies in the slice, by Repair in every slice, and by package
	// bundle if a file of the bundle is touched.
	Touched bool `json:"-"`

	// NeedsSignature is set if the kernel runs this slice only with a signature: it is a program, dylib, bundle or
	// dylinker for macOS on arm64. If its status is StatusUnsigned, it does not run.
	NeedsSignature bool `json:"-"`

	// Warnings lists what some versions of the kernel or of dyld refuse. They do not affect the status.
	Warnings []string `json:"warnings,omitempty"`

	// MadeAdhoc is set by Report.Was if a repair has replaced a signature by a certificate.
	MadeAdhoc bool `json:"-"`

	// Regions lists the parts of the slice, sorted by offset. Report.Locate sets it.
	Regions []Region `json:"-"`

	// Notes lists what a caller found on stale pages, for its own reports.
	Notes []Note `json:"-"`

	// External holds the special slots of all CodeDirectories whose content is another file of a bundle. Verify does not
	// check them: package bundle compares them with the files.
	External []SpecialSlot `json:"-"`

	// Bundle lists the files that this slice seals and that do not match. It is nil if all match. Package bundle sets it.
	Bundle *SealedBundle `json:"bundle,omitempty"`
}

// Note is a text found in a slice.
type Note struct {
	Off  int64 // bytes from the start of the slice
	Text string
}

// SealedBundle is a bundle whose files differ from those that its main executable seals.
type SealedBundle struct {
	Path      string     `json:"path"` // of the base, such as /Applications/A.app/Contents
	Resources []Resource `json:"resources"`
}

// Resource is a file of a bundle that does not match.
type Resource struct {
	Path    string `json:"path"`    // from the base of the bundle
	Problem string `json:"problem"` // such as "changed", "missing" or "added"
}

// OK reports whether nothing is wrong with the slice: it has a valid signature, or none and needs none.
func (s *Slice) OK() bool {
	return s.Status.OK() && !(s.Status == StatusUnsigned && s.NeedsSignature)
}

// CodeDirectory is one of a signature's tables of hashes.
type CodeDirectory struct {
	Slot     uint32   `json:"slot"` // in the SuperBlob: 0, or 0x1000 and up for alternates
	HashType HashType `json:"hashType"`
	PageSize int64    `json:"pageSize"` // bytes; 0: one slot over everything
	Slots    int      `json:"slots"`    // number of code slots
	// Stale lists the pages whose slot did not match, in rising order; 0 is the first page of the slice. In a repaired
	// slice these slots were recomputed.
	Stale []int `json:"stale"`
	// StaleSpecial lists the special slots that did not match: k for special slot -k.
	StaleSpecial []int `json:"staleSpecial"`

	// CDHash and Identifier are set by Report.Identify.
	CDHash     []byte `json:"-"` // the first 20 bytes of the hash of the CodeDirectory
	Identifier string `json:"-"`
	// CDHashBefore is the CDHash before a repair. Report.Was sets it.
	CDHashBefore []byte `json:"-"`
}
