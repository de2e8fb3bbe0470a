package resources

import (
	"strings"
	"unicode/utf8"
)

// known maps the expressions that present and earlier versions of codesign write (BundleDiskRep::defaultResourceRules
// in Security.framework's bundlediskrep.cpp) to functions that match the same paths. Almost all lists have only these,
// and the functions are much faster than expressions.
var known = map[string]func(path string) bool{
	`.*`:                           func(string) bool { return true },
	`^`:                            func(string) bool { return true },
	`^.*`:                          func(string) bool { return true },
	`^[^/]+$`:                      func(p string) bool { return p != "" && !strings.Contains(p, "/") },
	`^Resources/`:                  func(p string) bool { return strings.HasPrefix(p, "Resources/") },
	`^Resources/Base\.lproj/`:      func(p string) bool { return strings.HasPrefix(p, "Resources/Base.lproj/") },
	`^Base\.lproj/`:                func(p string) bool { return strings.HasPrefix(p, "Base.lproj/") },
	`^Resources/.*\.lproj/`:        func(p string) bool { return inLocalization(p, "Resources/") },
	`^.*\.lproj/`:                  func(p string) bool { return inLocalization(p, "") },
	`^Info\.plist$`:                func(p string) bool { return p == infoPlistName },
	`^version\.plist$`:             func(p string) bool { return p == "version.plist" },
	`^version.plist$`:              func(p string) bool { return isVersion(p, "version") },
	`^embedded\.provisionprofile$`: func(p string) bool { return p == "embedded.provisionprofile" },
	`^PkgInfo$`:                    func(p string) bool { return p == "PkgInfo" },
	`.*\.dSYM($|/)`:                func(p string) bool { return strings.HasSuffix(p, ".dSYM") || strings.Contains(p, ".dSYM/") },
	`^(.*/)?\.DS_Store$`:           func(p string) bool { return p == ".DS_Store" || strings.HasSuffix(p, "/.DS_Store") },
	`^.*/.*\.pkg/`:                 isInPackage,

	`^Resources/.*\.lproj/locversion.plist$`: func(p string) bool { return isLocalVersion(p, "Resources/") },
	`^.*\.lproj/locversion.plist$`:           func(p string) bool { return isLocalVersion(p, "") },

	`^(Frameworks|SharedFrameworks|PlugIns|Plug-ins|XPCServices|Helpers|MacOS|Library/(Automator|Spotlight|LoginItems))/`: isCodePlace,

	// The App Store adds keys to applications for iOS.
	`^(Frameworks/[^/]+\.framework/|PlugIns/[^/]+\.appex/|PlugIns/[^/]+\.appex/Frameworks/[^/]+\.framework/|())SC_Info/[^/]+\.(sinf|supf|supp)$`: isStoreKey,
	`^Watch/[^/]+\.app/(Frameworks/[^/]+\.framework/|PlugIns/[^/]+\.appex/|PlugIns/[^/]+\.appex/Frameworks/[^/]+\.framework/)SC_Info/[^/]+\.(sinf|supf|supp)$`: func(p string) bool {
		rest, ok := strings.CutPrefix(p, "Watch/")
		if ok {
			rest, ok = cutDirectory(rest, ".app")
		}
		return ok && !strings.HasPrefix(rest, storeKeys) && isStoreKey(rest)
	},
}

const storeKeys = "SC_Info/"

const infoPlistName = "Info.plist"

// inLocalization reports whether a path is below dir in a directory whose name ends in .lproj.
func inLocalization(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	return ok && strings.Contains(rest, ".lproj/")
}

// isVersion matches name.plist, in which the dot stands for any character.
func isVersion(s, name string) bool {
	dot, ok := strings.CutPrefix(s, name)
	if ok {
		dot, ok = strings.CutSuffix(dot, "plist")
	}
	return ok && utf8.RuneCountInString(dot) == 1
}

// isLocalVersion reports whether a path below dir is the locversion.plist of a localization.
func isLocalVersion(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	i := strings.LastIndex(rest, ".lproj/")
	return ok && i >= 0 && isVersion(rest[i+len(".lproj/"):], "locversion")
}

// isInPackage reports whether a path is in a package below another directory.
func isInPackage(path string) bool {
	_, rest, ok := strings.Cut(path, "/")
	return ok && strings.Contains(rest, ".pkg/")
}

// isCodePlace reports whether a path is in a directory for nested code.
func isCodePlace(path string) bool {
	dir, rest, ok := strings.Cut(path, "/")
	if ok && dir == "Library" {
		dir, _, ok = strings.Cut(rest, "/")
		return ok && (dir == "Automator" || dir == "Spotlight" || dir == "LoginItems")
	}
	switch dir {
	case "Frameworks", "SharedFrameworks", "PlugIns", "Plug-ins", "XPCServices", "Helpers", "MacOS":
		return ok
	}
	return false
}

// isStoreKey reports whether a file contains a key of the App Store, for the bundle or for a framework or extension in
// it.
func isStoreKey(path string) bool {
	if rest, ok := strings.CutPrefix(path, "PlugIns/"); ok {
		if path, ok = cutDirectory(rest, ".appex"); !ok {
			return false
		}
	}
	if rest, ok := strings.CutPrefix(path, "Frameworks/"); ok {
		if path, ok = cutDirectory(rest, ".framework"); !ok {
			return false
		}
	}
	name, ok := strings.CutPrefix(path, storeKeys)
	name, suffix, _ := cutLast(name, ".")
	return ok && name != "" && !strings.Contains(name, "/") && (suffix == "sinf" || suffix == "supf" || suffix == "supp")
}

// cutDirectory cuts off the first directory of a path if its name is longer than suffix and ends in it.
func cutDirectory(path, suffix string) (below string, ok bool) {
	dir, below, ok := strings.Cut(path, "/")
	return below, ok && len(dir) > len(suffix) && strings.HasSuffix(dir, suffix)
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
