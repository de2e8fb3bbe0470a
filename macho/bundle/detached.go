package bundle

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"narseal/macho"
	"narseal/macho/internal/spelling"
)

// A main executable that is not a Mach-O image, such as a script, has no room for a signature. The signature is then in
// files beside the list of resources, each with the contents of one slot (CodeDirectory::canonicalSlotName in
// Security.framework's codedirectory.cpp).
const (
	directoryName    = "CodeDirectory"
	alternatePrefix  = "CodeRequirements-" // 1 to 5
	signatureFile    = "CodeSignature"     // CMS signature by a certificate; an empty file: ad hoc
	maxAlternates    = 5
	slotAlternates   = 0x1000
	requirementsName = "CodeRequirements"

	// maxDirectory is the maximum size of a CodeDirectory that is read, in bytes, and maxSpecial that of its special
	// slots. 11 are known.
	maxDirectory = 1 << 20
	maxSpecial   = 64
)

// slotFiles has the names of the files that special slots hash, besides Info.plist and the list.
var slotFiles = map[int]string{
	2: requirementsName, 4: "CodeTopDirectory", 5: "CodeEntitlements", 6: "CodeRepSpecific", 7: "CodeEntitlementDER",
}

// components holds the names of all files in which Security.framework looks for parts of a signature, besides the list.
var components = spelling.NewTable(directoryName, signatureFile, requirementsName, alternatePrefix+"1", alternatePrefix+"2", alternatePrefix+"3",
	alternatePrefix+"4", alternatePrefix+"5", slotFiles[4], slotFiles[5], slotFiles[6], slotFiles[7])

// components returns the reason why a bundle whose main executable is an image is not checked, or "". Security.framework
// looks for what its signature lacks in files, and refuses a signature of both (BundleDiskRep::component in its
// bundlediskrep.cpp). Nothing seals these files.
func (b *openBundle) components(c *Checker) string {
	from, cut := c.tree.from(b.depth)
	for i := from; i < len(c.tree.files); i++ {
		path := c.tree.files[i].Path[cut:]
		if dir, name := splitPath(path); dir == codeResourcesDir[1:] && components.Name(name) != "" {
			return "the main executable has a signature of its own, and " + path + " may be part of another"
		}
	}
	return ""
}

// isDirectoryFile reports whether a file of this name may be a CodeDirectory.
func isDirectoryFile[T string | []byte](name T) bool {
	if len(name) == len(alternatePrefix)+1 && string(name[:len(name)-1]) == alternatePrefix {
		n := name[len(name)-1]
		return n >= '1' && n < '1'+maxAlternates
	}
	return string(name) == directoryName
}

// detached is a CodeDirectory in a separate file.
type detached struct {
	macho.CodeDirectory
	limit    int64
	special  []macho.SpecialSlot // only non-empty slots
	present  map[int]bool        // non-empty slots by K
	slots    []byte              // digests of the pages
	hashSize int
}

const (
	magicDirectory  = 0xfade0c02 // CSMAGIC_CODEDIRECTORY
	versionScatter  = 0x20100
	versionLimit64  = 0x20300
	versionKnown    = 0x20600 // the latest version
	directoryHeader = 44      // bytes, of the first version
)

var (
	errShort    = errors.New("the CodeDirectory is cut short")
	errPageSize = errors.New("the page size is neither 4096 bytes nor that of the file")
)

// parseDetached parses a CodeDirectory. Every length in it is checked against the file's.
func parseDetached(slot uint32, b []byte) (*detached, error) {
	be := binary.BigEndian
	at := func(off int) int64 { return int64(be.Uint32(b[off:])) }
	if len(b) < directoryHeader {
		return nil, errShort
	}
	version := uint32(at(8))
	switch {
	case at(0) != magicDirectory:
		return nil, fmt.Errorf("the magic is %08x, want %08x", at(0), magicDirectory)
	case at(4) != int64(len(b)):
		return nil, fmt.Errorf("the CodeDirectory has %d bytes, its file %d", at(4), len(b))
	case version>>16 != versionKnown>>16:
		return nil, fmt.Errorf("version %#x is unknown", version)
	case version >= versionScatter && len(b) < 48, version >= versionLimit64 && len(b) < 64:
		return nil, errShort
	case version >= versionScatter && at(44) != 0:
		return nil, errors.New("the CodeDirectory has a scatter list, which that of a file cannot have")
	}
	d := &detached{hashSize: int(b[36]), limit: at(32), present: map[int]bool{}}
	d.Slot, d.HashType = slot, macho.HashType(b[37])
	if version >= versionLimit64 {
		if limit := be.Uint64(b[56:]); limit != 0 {
			d.limit = int64(min(limit, 1<<62))
		}
	}
	if d.HashType < macho.SHA1 || d.HashType > macho.SHA384 {
		return nil, fmt.Errorf("hash type %d is unknown", b[37])
	}
	if want := hashSizes[d.HashType]; d.hashSize != want {
		return nil, fmt.Errorf("a digest has %d bytes, want %d", d.hashSize, want)
	}
	if err := d.readSlots(b, at(16), at(24), at(28)); err != nil {
		return nil, err
	}
	if name := at(20); name < int64(len(b)) {
		text, _, _ := bytes.Cut(b[name:], []byte{0})
		d.Identifier = string(text)
	}
	sum := d.HashType.New()
	sum.Write(b)
	d.CDHash = sum.Sum(nil)[:20]
	return d, nil
}

var hashSizes = [...]int{macho.SHA1: 20, macho.SHA256: 32, macho.SHA256Truncated: 20, macho.SHA384: 48}

// pageSize is the only page size that Security.framework uses for files other than images (segmentedPageSize).
const pageSize = 4096

func (d *detached) readSlots(b []byte, offset, special, code int64) error {
	size := int64(d.hashSize)
	if special > maxSpecial {
		return fmt.Errorf("it has %d special slots, more than %d", special, maxSpecial)
	}
	if offset > int64(len(b)) || special*size > offset || code*size > int64(len(b))-offset {
		return errShort
	}
	pages := int64(1)
	switch b[39] {
	case 0:
	case 12:
		d.PageSize, pages = pageSize, (d.limit+pageSize-1)/pageSize
	default:
		return errPageSize
	}
	if d.limit == 0 {
		pages = 0
	}
	if code != pages {
		return fmt.Errorf("it has slots of %d pages, want %d for a code limit of %d", code, pages, d.limit)
	}
	d.CodeDirectory.Slots = int(code)
	d.slots = b[offset : offset+code*size]
	for k := int64(1); k <= special; k++ {
		stored := b[offset-k*size:][:size]
		if len(bytes.Trim(stored, "\x00")) > 0 {
			d.special = append(d.special, macho.SpecialSlot{K: int(k), HashType: d.HashType, Digest: stored})
			d.present[int(k)] = true
		}
	}
	return nil
}

// slotOfFile returns the slot of the CodeDirectory in a file with this name.
func slotOfFile(name string) uint32 {
	if n, ok := strings.CutPrefix(name, alternatePrefix); ok {
		return slotAlternates + uint32(n[0]-'1')
	}
	return 0
}

const tooDeep = "the bundle is too deep"

// detachedTooDeep reports a file that may be a CodeDirectory but is too deep for its bundle to be compared.
func (c *Checker) detachedTooDeep(path func() string) {
	if !c.CheckResources || c.Script == nil {
		return
	}
	text := path()
	dir, name := splitPath(text)
	if root, ok := strings.CutSuffix(dir, codeResourcesDir); ok && isDirectoryFile(name) {
		s := macho.Slice{Arch: archNone, Status: macho.StatusValid, Signature: "none"}
		mark(&s, "not checked: "+tooDeep, c.Reseal != nil)
		s.Bundle = &macho.SealedBundle{Path: cmp.Or(root, "/"), Resources: []macho.Resource{{Path: signaturePath(name), Problem: "not checked: " + tooDeep}}}
		c.Script(text, s)
	}
}
