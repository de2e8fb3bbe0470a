package binarycache

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"narseal/nar/storepath"
)

// Names of objects.
const (
	cacheInfoName = "nix-cache-info"
	infoSuffix    = ".narinfo"
	listSuffix    = ".ls"
	debugInfoDir  = "debuginfo"
)

// otherDirs are the directories of a cache that hold no NARs.
var otherDirs = []string{debugInfoDir, "log", "realisations"}

// infoName is the name of the narinfo of a store path, by its base name or hash part.
func infoName(base string) string { return base[:storepath.HashLen] + infoSuffix }

// listName is the name of the listing beside a narinfo.
func listName(info string) string { return strings.TrimSuffix(info, infoSuffix) + listSuffix }

// isInfoName tells the narinfos among the objects of a cache.
func isInfoName(name string) bool {
	hash, ok := strings.CutSuffix(name, infoSuffix)
	return ok && storepath.CheckHash(hash) == nil
}

// maxObjectName is the longest name of an object in bytes: S3's limit for keys.
const maxObjectName = 1024

// isNARName says whether a name can be that of a NAR: "nar/HASH.nar.xz", "HASH.nar", also with what some servers put
// behind a question mark. No other object of a cache has such a name.
func isNARName(name string) bool {
	if len(name) > maxObjectName || !fs.ValidPath(name) {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || c == '\\' {
			return false
		}
	}
	first := true
	for elem := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(elem, ".") || first && slices.Contains(otherDirs, elem) {
			return false
		}
		first = false
	}
	_, rest, ok := strings.Cut(path.Base(name), ".nar")
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '?') &&
		!strings.HasSuffix(name, infoSuffix) && !strings.HasSuffix(name, listSuffix)
}

// narKey is a name as stores see it that take upper and lower case for the same.
func narKey(name string) string { return strings.ToLower(name) }
