package bundle

import (
	"cmp"
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

	// maxDirectory is the maximum size of a CodeDirectory that is read, in bytes.
	maxDirectory = 1 << 20
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
