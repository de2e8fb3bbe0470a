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

// otherDirs are the directories of a cache that contain no NARs.
var otherDirs = []string{"debuginfo", "log", "realisations"}

// Name returns the name of the narinfo of a store path, given its base name or hash part.
func Name(base string) string { return base[:storepath.HashLen] + Suffix }

// ListingName returns the name of the listing beside a narinfo.
func ListingName(info string) string { return strings.TrimSuffix(info, Suffix) + listingSuffix }

// IsListing reports whether the object of this name is a listing.
func IsListing(name string) bool {
	hash, ok := strings.CutSuffix(name, listingSuffix)
	return ok && storepath.CheckHash(hash) == nil
}

// IsName reports whether the object of this name is a narinfo.
func IsName(name string) bool {
	hash, ok := strings.CutSuffix(name, Suffix)
	return ok && storepath.CheckHash(hash) == nil
}

// maxObjectName is the longest name of an object in bytes: S3's limit for keys.
const maxObjectName = 1024

// IsNAR reports whether a name can be that of a NAR: "nar/HASH.nar.xz", "HASH.nar", and either with a query after a
// question mark, which some servers add. No other object of a cache has such a name.
//
// The name is part of a URL for some clients: with a percent sign or a number sign, it would be another name there,
// perhaps outside the cache.
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

// narSuffixes are the suffixes after ".nar" that Nix and other caches write. A server may take a name with another
// suffix for something else, such as a page.
var narSuffixes = []string{"", ".xz", ".zst", ".zstd", ".gz", ".bz2", ".br", ".lz4", ".lz", ".lzip", ".lzma"}
