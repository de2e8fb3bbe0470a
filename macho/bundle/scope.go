package bundle

import "bytes"

// A Scope finds directories that may be bundles, or may contain files that a bundle seals, by their names. The caller
// passes everything in them to Checker.AddFile or Checker.AddItem. The zero Scope is ready to use.
//
// Files that a bundle seals may come before its executable. So a reader of a stream must hash them before it knows
// whether there is a bundle. Until then, only names suggest one.
type Scope struct {
	inside bool
	depth  int // of the outermost such directory

	guess     bool // the root is treated as a bundle
	plist     bool // it has an Info.plist
	framework bool // it has what only a framework has there
	resources bool // the current directory is its Resources
	left      bool
}

// suffixes has the suffixes of bundles, from Apple's "Bundle Programming Guide" and the types of CoreServices.
var suffixes = map[string]bool{
	"app": true, "appex": true, "bundle": true, "component": true, "driver": true, "dext": true, "framework": true, "kext": true,
	"mdimporter": true, "pkg": true, "plugin": true, "prefPane": true, "qlgenerator": true, "saver": true, "service": true,
	"systemextension": true, "vst": true, "vst3": true, "wdgt": true, "xcframework": true, "xctest": true, "xpc": true, "action": true, "clap": true,
	"colorPicker": true, "ibplugin": true, "fs": true, "mailbundle": true, "slideSaver": true, "webplugin": true,
}

// Enter takes the depth and the name of the next entry, and reports whether it is such a directory or is inside one.
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

// EnterSigned says that the directory of the last Enter contains _CodeSignature. It is for callers that can list
// directories. It reports whether Enter had not recognized the directory.
func (s *Scope) EnterSigned(depth int) bool {
	if s.inside {
		return false
	}
	*s = Scope{inside: true, depth: depth}
	return true
}

// EnterRoot is like Enter, for the root of a stream, a directory without a name. Since a bundle cannot be recognized by
// its name, the root counts as one until its sorted entries have passed the name of the Info.plist that every bundle
// has, or until the name of an entry is unlike those in bundles. Files are hashed until then; most packages have none
// before that point. The root of a framework is recognized by its symlink Resources, or its Versions. Left reports when
// this happens.
func (s *Scope) EnterRoot() bool {
	*s = Scope{inside: true, guess: true}
	return true
}

// Left reports whether the entry of the last Enter showed that the root is not a bundle. The caller must then call
// Checker.Leave.
func (s *Scope) Left() bool { return s.left }

// stays reports whether the root may be a bundle after this entry.
func (s *Scope) stays(depth int, name []byte, directory bool) bool {
	switch depth {
	case 1:
		s.resources = directory && string(name) == "Resources"
		s.plist = s.plist || !directory && string(name) == infoPlistName
		s.framework = s.framework || string(name) == "Versions" && directory || string(name) == resourcesName && !directory
		// Directories that contain several bundles, which are better checked separately.
		several := directory && (string(name) == "Applications" || string(name) == "Library")
		usual := len(name) > 0 && (name[0] >= 'A' || name[0] == '.')
		switch known.Name(string(name)) {
		case contentsName, supportFiles, wrapperDir, wrapperLink:
			return true
		}
		return s.plist || s.framework || string(name) <= "Resources" && usual && !several
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
