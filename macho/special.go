package macho

import "slices"

// Special slot -k of a CodeDirectory holds the hash of something that is not a page of code. To add a special slot, add
// an entry to specialSlots. If the slot does not hash a blob of the SuperBlob, also add a case to specialContent and
// one to checkSpecial of internal/audit: the check of a repair shares no code with the repair.
//
// The slots and the magics of their blobs are from xnu osfmk/kern/cs_blobs.h.
const (
	slotInfoPlist    = 1 // CSSLOT_INFOSLOT
	slotRequirements = 2 // CSSLOT_REQUIREMENTS
	slotResources    = 3 // CSSLOT_RESOURCEDIR
)

// specialSlots describes special slot -k at index k.
var specialSlots = [...]struct {
	name string // what the slot hashes, for people
	// magic is that of the blob that the slot hashes, which has the slot's number in the SuperBlob. 0: no blob is
	// known for this slot, or it hashes something else.
	magic uint32
	// needsSlot is set where the kernel refuses a signature that has the blob, but leaves the slot empty.
	needsSlot bool
}{
	slotInfoPlist:    {name: "Info.plist"},
	slotRequirements: {name: "the requirements", magic: 0xfade0c01}, // CSMAGIC_REQUIREMENTS
	slotResources:    {name: "_CodeSignature/CodeResources"},
	4:                {name: "the application"},                                             // CSSLOT_APPLICATION
	5:                {name: "the entitlements", magic: 0xfade7171, needsSlot: true},        // CSSLOT_ENTITLEMENTS
	6:                {name: "data specific to the kind of file"},                           // Security's cdRepSpecificSlot
	7:                {name: "the entitlements in DER", magic: 0xfade7172, needsSlot: true}, // CSSLOT_DER_ENTITLEMENTS
	8:                {name: "the launch constraints on itself", magic: 0xfade8181, needsSlot: true},
	9:                {name: "the launch constraints on its parent", magic: 0xfade8181, needsSlot: true},
	10:               {name: "the launch constraints on its responsible process", magic: 0xfade8181, needsSlot: true},
	11:               {name: "the library constraints", magic: 0xfade8181, needsSlot: true},
}

// lastSpecial is the greatest k of a special slot that is read.
const lastSpecial = len(specialSlots) - 1

// A SpecialSlot is the special slot -K of a CodeDirectory.
type SpecialSlot struct {
	K        int
	HashType HashType
	Digest   []byte // as long as digests of the hash type
}

// Name returns what the slot hashes, such as "the entitlements". It depends on K only.
func (s SpecialSlot) Name() string {
	if s.K <= 0 || s.K > lastSpecial {
		return "unknown"
	}
	return specialSlots[s.K].name
}

// specialContent returns where in the slice the content of special slot -k lies.
//
// Slot -1 is the hash of the section __TEXT,__info_plist, or of the Info.plist of a bundle. A CodeDirectory with a slot
// -3 seals a bundle's resources, and then the bundle's Info.plist, which is another file, takes precedence
// (BundleDiskRep::component in Security.framework).
func (s *slice) specialContent(g *signature, d *directory, k int) (Range, bool) {
	if k == slotInfoPlist {
		inBundle := slices.ContainsFunc(d.stored, func(s SpecialSlot) bool { return s.K == slotResources })
		return s.commands.infoPlist, s.commands.infoPlist.Len > 0 && !inBundle
	}
	for _, b := range g.blobs {
		if b.slot == uint32(k) {
			return Range{g.off + b.off, int64(b.length)}, true
		}
	}
	return Range{}, false
}

// external returns the slots of d whose content is another file of the bundle.
func (s *slice) external(g *signature, d *directory) []SpecialSlot {
	if d.hashType.size() == 0 {
		return nil
	}
	var list []SpecialSlot
	for _, stored := range d.stored {
		if stored.K != slotInfoPlist && stored.K != slotResources {
			continue
		}
		if _, inside := s.specialContent(g, d, stored.K); !inside {
			list = append(list, stored)
		}
	}
	return list
}
