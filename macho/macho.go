// Package macho finds, verifies and repairs the code signatures that are embedded
// in Mach-O images.
//
// A signature holds one or more CodeDirectories, tables of the hashes of each page
// of the slice in front of it (code slots) and of other things (special slots).
// When bytes are changed after signing, the slots of the pages that hold them no
// longer match, and the kernel kills the process that touches such a page. Repair
// recomputes those slots and changes no other byte, so that an image that was
// rewritten after linking equals one that was linked with the new bytes.
//
// All of it is parsed by offsets from xnu's osfmk/kern/cs_blobs.h, and what is
// malformed is judged as the kernel (bsd/kern/ubc_subr.c) and Security.framework
// (libsecurity_codesigning/lib/codedirectory.cpp) judge it. Input is not trusted:
// memory and time stay in proportion to the bytes that are there, whatever lengths
// they claim.
package macho

// CMSPolicy is what Repair does with a slice that has a stale or touched slot and
// is signed by a certificate. The CMS blob signs the CodeDirectories, so that
// nobody but the certificate's owner can make such a signature hold again.
type CMSPolicy int

const (
	// CMSFail and CMSKeep leave the slice as it is and report StatusCMS. They
	// differ in what the caller makes of it: abort, or go on.
	CMSFail CMSPolicy = iota
	CMSKeep
	// CMSAdhoc turns the signature into an ad-hoc one, see Config.Repair.
	CMSAdhoc
)

// Config holds the options of Verify and Repair. The zero Config is ready to use.
type Config struct {
	// Jobs is how many goroutines may hash at a time, 0 for GOMAXPROCS. None is
	// started for a small image, and none is left when a call returns.
	Jobs  int
	OnCMS CMSPolicy
}

// Verify is Config{}.Verify.
func Verify(image Image) (*Report, error) { return Config{}.Verify(image) }

// Repair is Config{}.Repair.
func Repair(image Image, touched []Range) (*Report, error) { return Config{}.Repair(image, touched) }

// Verify checks every slot of every signature in image: all pages, and the
// special slots whose content lies in the image. It does not look at certificates:
// an untouched image signed by one is valid. It writes nothing. What is wrong with
// a signature stands in the report; an error is one of reading.
func (c Config) Verify(image Image) (*Report, error) {
	return c.run(image, (*job).verify)
}

// Repair recomputes the slots of the signatures in image that do not match.
//
// With touched it looks only at the slots whose page, blob or section shares a
// byte with one of these ranges, at a cost that goes with their number: a slot
// that was stale before stays so and is not reported (Verify tells). With nil it
// looks at everything.
//
// Nothing but those slots is written. What was written is then read back and
// checked by other code than wrote it; an error means that this failed, or reading
// or writing did, and that image must not be used. What cannot be repaired stands
// in the report with a reason, and nothing of that slice has been written. That
// may be a slice which no range touches: Slice.Touched tells.
//
// With CMSAdhoc a slice that is signed by a certificate and would need a repair
// becomes ad-hoc signed, its length and layout unchanged:
//
//   - The CMS blob becomes empty (length 8), what it held becomes zeros.
//   - CS_ADHOC is set, as codesign does for a signature without a certificate
//     (SecCodeSigner::Signer::prepare in Security.framework's signer.cpp); code
//     with that flag passes for validly signed without a look at the CMS blob
//     (SecStaticCode::verifySignature in StaticCode.cpp).
//   - CS_CHECK_EXPIRATION is cleared: it asks for the certificate's expiry.
//   - CS_REQUIRE_LV is cleared: library validation compares team identifiers, and
//     only a certificate vouches for one.
//   - The team identifier (teamOffset) and the platform byte are cleared: the one
//     must be the certificate's (verifySignature again), the other marks code that
//     Apple signed (platform in xnu's cs_blobs.h).
//   - The requirements become an empty set: a designated requirement that names
//     the certificate would not hold, and codesign --verify tests it.
//   - The slots are recomputed.
//
// What describes the code and not its signer stays: the hardened runtime
// (CS_RUNTIME), CS_HARD, CS_KILL, CS_RESTRICT and CS_ENFORCEMENT, which codesign
// keeps or sets for ad-hoc signatures too, the executable segment's flags,
// constraints and entitlements. macOS may still refuse to run code whose
// entitlements need a provisioning profile.
func (c Config) Repair(image Image, touched []Range) (*Report, error) {
	var ranges []Range
	if touched != nil {
		var err error
		if ranges, err = normalize(touched, image.Size()); err != nil {
			return nil, err
		}
	}
	return c.run(image, func(j *job) error { return j.repair(touched == nil, ranges) })
}
