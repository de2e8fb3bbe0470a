// Package macho finds, verifies and repairs the code signatures that are embedded in Mach-O images.
//
// A signature has one or more CodeDirectories. Each is a table of hashes: of every page of the slice before the
// signature (code slots) and of a few other things (special slots). Bytes that change after signing make the slots of
// their pages stale, and the kernel kills the process that touches such a page. Repair recomputes the stale slots and
// changes no other byte. An image that was rewritten after linking and then repaired is identical to one that was
// linked with the new bytes.
//
// Verify checks an image. Repair repairs all of it, RepairTouched only what the caller has changed. All three return a
// Report with an entry for each slice.
//
// A program that reads a file as it arrives asks IsMachO and Probe whether the file needs any of this, and FixedPrefix
// which bytes no repair changes. UnsignedSlices lists the slices of an unsigned file that do not run. DerivedRanges
// lists the bytes that are computed from the others.
//
// Input is not trusted: memory and time are proportional to the size of the input, whatever lengths it claims. The
// offsets are those of xnu's osfmk/kern/cs_blobs.h. An image is malformed if the kernel (bsd/kern/ubc_subr.c) or
// Security.framework (libsecurity_codesigning/lib/codedirectory.cpp) rejects its structure.
package macho

// CMSPolicy says what a repair does with a slice that needs one and is signed by a certificate. The CMS blob of such a
// slice signs the CodeDirectories, so only the owner of the certificate can make the signature valid again.
type CMSPolicy int

const (
	// CMSFail and CMSKeep leave the slice as it is and report StatusCMS. They differ in what a caller does then: abort
	// or continue.
	CMSFail CMSPolicy = iota
	CMSKeep
	// CMSAdhoc replaces the signature with an ad-hoc one, see Config.Repair.
	CMSAdhoc
)

// Config holds the options of Verify, Repair and RepairTouched. The zero Config is ready to use.
type Config struct {
	// Jobs is how many goroutines may hash at a time; 0 means GOMAXPROCS. A small image is hashed by the caller's
	// goroutine alone, and no goroutine is left when a call returns.
	Jobs  int
	OnCMS CMSPolicy
}

// Verify is Config{}.Verify.
func Verify(image Image) (*Report, error) { return Config{}.Verify(image) }

// Repair is Config{}.Repair.
func Repair(image Image) (*Report, error) { return Config{}.Repair(image) }

// RepairTouched is Config{}.RepairTouched.
func RepairTouched(image Image, touched []Range) (*Report, error) {
	return Config{}.RepairTouched(image, touched)
}

// Verify checks every slot of every signature in image: all pages, and the special slots whose content lies in the
// image. It does not check certificates: an image that is signed by one and has not changed since is valid. It writes
// nothing. The report says what is wrong with a signature; Verify fails only if image cannot be read.
func (c Config) Verify(image Image) (*Report, error) {
	return c.run(image, (*sliceJob).verify, nil)
}

// Repair recomputes every stale slot of the signatures in image, and writes nothing else.
//
// It reads back what it wrote and checks it with separate code. If this check, a read or a write fails, Repair returns
// an error, and image must not be used. The report gives the reason for each slice that cannot be repaired. Nothing is
// written to such a slice.
//
// With CMSAdhoc, a slice that needs a repair and is signed by a certificate becomes ad-hoc signed, and so do all slices
// of the file. The same happens if slices disagree on their signer, which the kernel refuses. Length and layout do not
// change:
//
//   - The CMS blob becomes empty (length 8), and zeros replace its contents.
//   - CS_ADHOC is set, as codesign does for a signature without a certificate (SecCodeSigner::Signer::prepare in
//     Security.framework's signer.cpp). Code with that flag counts as validly signed whatever the CMS blob holds
//     (SecStaticCode::verifySignature in StaticCode.cpp).
//   - CS_CHECK_EXPIRATION is cleared: it demands a check of the certificate's expiry.
//   - CS_REQUIRE_LV is cleared: library validation compares team identifiers, and only a certificate vouches for one.
//   - The team identifier (teamOffset) and the platform byte are cleared: the first must be the certificate's
//     (verifySignature again), the second marks code that Apple signed (platform in xnu's cs_blobs.h).
//   - The requirements become an empty set: a designated requirement that names the certificate would fail, and
//     codesign --verify tests it.
//   - The slots are recomputed.
//
// Fields that describe the code rather than its signer stay: the hardened runtime (CS_RUNTIME), CS_HARD, CS_KILL,
// CS_RESTRICT and CS_ENFORCEMENT, which codesign keeps or sets for ad-hoc signatures too, the flags of the executable
// segment, constraints and entitlements. macOS may still refuse to run code whose entitlements need a provisioning
// profile.
func (c Config) Repair(image Image) (*Report, error) {
	return c.repairSlices(image, true, nil)
}

// RepairTouched is Repair for an image that the caller has changed at the touched ranges, which need not be sorted. It
// checks only the slots whose page, blob or section shares a byte with one of them, so its cost depends on these slots
// alone. A slot that was stale before stays stale and is not reported; Verify reports it. Without ranges, nothing is
// checked.
//
// The report may list a slice as one that cannot be repaired even if no range touches it: see Slice.Touched.
func (c Config) RepairTouched(image Image, touched []Range) (*Report, error) {
	ranges, err := normalize(touched, image.Size())
	if err != nil {
		return nil, err
	}
	return c.repairSlices(image, false, ranges)
}
