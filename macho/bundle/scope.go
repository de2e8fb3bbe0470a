package bundle

import "bytes"

// A Scope finds the directories that may be bundles, or hold what a bundle seals, by their names. Everything in them is
// to be given to Checker.AddFile or Checker.AddItem. The zero Scope is ready to use.
//
// Files that a bundle seals may come before its executable. So whoever reads a stream has to hash them before anything
// says that a bundle is there, and only names tell.
type Scope struct {
	inside bool
	depth  int // of the outermost such directory

	guess     bool // the root is taken for a bundle
	plist     bool // it has an Info.plist
	resources bool // the current directory is its Resources
	left      bool
}

// suffixes are those of bundles, from Apple's "Bundle Programming Guide" and the types of CoreServices.
var suffixes = map[string]bool{
	"app": true, "appex": true, "bundle": true, "component": true, "driver": true, "dext": true, "framework": true, "kext": true,
	"mdimporter": true, "pkg": true, "plugin": true, "prefPane": true, "qlgenerator": true, "saver": true, "service": true,
	"systemextension": true, "vst": true, "vst3": true, "wdgt": true, "xctest": true, "xpc": true, "action": true, "clap": true,
	"colorPicker": true, "ibplugin": true, "fs": true, "mailbundle": true, "slideSaver": true, "webplugin": true,
}

// Enter says that the next entry has this many directories around it and this name, and reports whether it is such a
// directory or lies in one.
func (s *Scope) Enter(depth int, name []byte, directory bool) bool {
	s.left = false
	if s.guess && !s.stays(depth, name, directory) {
		*s = Scope{left: true}
	}
	if s.inside && depth <= s.depth {
		s.inside = false
	}
	if !s.inside && directory && isBundleName(name) {
		s.inside, s.depth = true, depth
	}
	return s.inside
}

// EnterSigned says, after Enter for a directory, that it holds _CodeSignature, as whoever can list it knows. It reports
// whether Enter did not find it.
func (s *Scope) EnterSigned(depth int) bool {
	if s.inside {
		return false
	}
	*s = Scope{inside: true, depth: depth}
	return true
}

// EnterRoot is Enter for the root of a stream, a directory without a name. As nothing else says whether it is a bundle,
// it is taken for one until its names are past that of the Info.plist that every bundle has, or do not begin as names in
// bundles do: what lies in it is hashed until then, and in most packages that is nothing. Left then says so.
func (s *Scope) EnterRoot() bool {
	*s = Scope{inside: true, guess: true}
	return true
}

// Left reports whether the entry of the last Enter showed that the root is no bundle. Checker.Leave is then to be called.
func (s *Scope) Left() bool { return s.left }

// stays reports whether the root may be a bundle after this entry.
func (s *Scope) stays(depth int, name []byte, directory bool) bool {
	switch depth {
	case 1:
		s.resources = directory && string(name) == "Resources"
		s.plist = s.plist || !directory && string(name) == infoPlistName
		// Directories of several bundles, which are better looked at one by one.
		several := directory && (string(name) == "Applications" || string(name) == "Library")
		usual := len(name) > 0 && (name[0] >= 'A' || name[0] == '.')
		return s.plist || string(name) <= "Resources" && usual && !several
	case 2:
		s.plist = s.plist || s.resources && !directory && string(name) == infoPlistName
	}
	return true
}

func isBundleName(name []byte) bool {
	if string(name) == contentsName || string(name) == "Versions" {
		return true
	}
	dot := bytes.LastIndexByte(name, '.')
	return dot >= 0 && suffixes[string(name[dot+1:])]
}
