package narinfo

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"narseal/nar/storepath"
)

const (
	// CacheInfoName is the name of the object that makes a store a cache.
	CacheInfoName = "nix-cache-info"

	// Suffix ends the name of a narinfo: HASH.narinfo.
	Suffix = ".narinfo"

	listingSuffix = ".ls"
)

// otherDirs are the directories of a cache that hold no NARs.
var otherDirs = []string{"debuginfo", "log", "realisations"}

// Name is the name of the narinfo of a store path, by its base name or hash part.
func Name(base string) string { return base[:storepath.HashLen] + Suffix }

// ListingName is the name of the listing beside a narinfo.
func ListingName(info string) string { return strings.TrimSuffix(info, Suffix) + listingSuffix }

// IsListing tells the listings among the objects of a cache.
func IsListing(name string) bool {
	hash, ok := strings.CutSuffix(name, listingSuffix)
	return ok && storepath.CheckHash(hash) == nil
}

// IsName tells the narinfos among the objects of a cache.
func IsName(name string) bool {
	hash, ok := strings.CutSuffix(name, Suffix)
	return ok && storepath.CheckHash(hash) == nil
}

// maxObjectName is the longest name of an object in bytes: S3's limit for keys.
const maxObjectName = 1024

// IsNAR says whether a name can be that of a NAR: "nar/HASH.nar.xz", "HASH.nar", also with what some servers put
// behind a question mark. No other object of a cache has such a name.
//
// The name is part of a URL for some clients: one with a percent sign or a number sign would be another name there, maybe
// outside of the cache.
func IsNAR(name string) bool {
	if len(name) > maxObjectName || !fs.ValidPath(name) {
		return false
	}
	file, query, _ := strings.Cut(name, "?")
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || c == '\\' || c == '#' || c == '%' && i < len(file) {
			return false
		}
	}
	if strings.Contains(query, "/") {
		return false
	}
	first := true
	for elem := range strings.SplitSeq(file, "/") {
		if strings.HasPrefix(elem, ".") || first && slices.Contains(otherDirs, elem) {
			return false
		}
		first = false
	}
	_, suffix, ok := strings.Cut(path.Base(file), ".nar")
	return ok && slices.Contains(narSuffixes, suffix)
}

// narSuffixes are what may stand behind ".nar": what Nix and other caches write. A server takes a name that ends otherwise
// for something else, such as a page.
var narSuffixes = []string{"", ".xz", ".zst", ".zstd", ".gz", ".bz2", ".br", ".lz4", ".lz", ".lzip", ".lzma"}
