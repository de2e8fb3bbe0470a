package resources

import (
	"strings"
	"unicode/utf8"
)

// known has the expressions that codesign writes (BundleDiskRep::defaultResourceRules in Security.framework's
// bundlediskrep.cpp), or wrote, and what they match. Almost every list has these and no other, and the functions take a
// small part of the time of expressions.
var known = map[string]func(path string) bool{
	`.*`:                           func(string) bool { return true },
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
}

const infoPlistName = "Info.plist"

// inLocalization reports whether a path below dir lies in a directory whose name ends in .lproj.
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

// isLocalVersion reports whether a path below dir is that of the locversion.plist of a localization.
func isLocalVersion(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	i := strings.LastIndex(rest, ".lproj/")
	return ok && i >= 0 && isVersion(rest[i+len(".lproj/"):], "locversion")
}

// isInPackage reports whether a path lies in a package below another directory.
func isInPackage(path string) bool {
	_, rest, ok := strings.Cut(path, "/")
	return ok && strings.Contains(rest, ".pkg/")
}

// isCodePlace reports whether a path lies in a directory for nested code.
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
