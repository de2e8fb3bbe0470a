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
	if s.inside && depth <= s.depth {
		s.inside = false
	}
	if !s.inside && directory && isBundleName(name) {
		s.inside, s.depth = true, depth
	}
	return s.inside
}

func isBundleName(name []byte) bool {
	if string(name) == "Contents" || string(name) == "Versions" {
		return true
	}
	dot := bytes.LastIndexByte(name, '.')
	return dot >= 0 && suffixes[string(name[dot+1:])]
}
