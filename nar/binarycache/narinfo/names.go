package narinfo

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"narseal/nar/compression"
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

// Limits of names, in bytes.
const (
	maxObjectName  = 1024 // S3's limit for keys
	maxElementName = 255  // what file systems allow between two slashes
)

// IsNAR reports whether a name can be that of a NAR: "nar/HASH.nar.xz", "HASH.nar", and either with a query after a
// question mark, which some servers add. No other object of a cache has such a name, nor can one lie below it: the
// directories in it have no dot, and are not called nix-cache-info.
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
	elems := strings.Split(name, "/")
	for i, elem := range elems {
		if len(elem) > maxElementName || elem[0] == '.' {
			return false
		}
		dir := strings.ToLower(elem) // some file systems ignore case
		if i < len(elems)-1 && (strings.Contains(dir, ".") || dir == CacheInfoName || i == 0 && slices.Contains(otherDirs, dir)) {
			return false
		}
	}
	_, suffix, ok := strings.Cut(path.Base(file), ".nar")
	return ok && slices.Contains(narSuffixes, suffix)
}

// FileName returns the name of a file that takes the place of the NAR's file n.URL, or is a copy of it, and has the sum
// sum. It is what Nix calls it, HASH.nar.xz with the hash of the file, in the same directory; in another cache in nar/, or
// outside a directory as before.
//
// So the name in another cache depends only on the contents. What the first cache calls the file might be a name that the
// other one cannot have, or one that belongs to a file of other contents there.
func (n *Info) FileName(sum Sum, c compression.Type, elsewhere bool) string {
	dir, file := path.Split(n.URL)
	if elsewhere && dir != "" {
		dir = "nar/"
	}
	file, _, _ = strings.Cut(file, "?")
	_, suffix, _ := strings.Cut(file, ".nar")
	if c != n.Compression {
		suffix = c.Extension()
	}
	return dir + strings.TrimPrefix(sum.String(), sha256Prefix) + ".nar" + suffix
}

// narSuffixes are the suffixes after ".nar" that Nix and other caches write. A server may take a name with another
// suffix for something else, such as a page.
var narSuffixes = []string{"", ".xz", ".zst", ".zstd", ".gz", ".bz2", ".br", ".lz4", ".lz", ".lzip", ".lzma"}

// ContentType returns the content type with which Nix uploads an object (src/libstore/binary-cache-store.cc), or "".
func ContentType(name string) string {
	dir, _, _ := strings.Cut(name, "/")
	switch {
	case name == CacheInfoName:
		return "text/x-nix-cache-info"
	case IsName(name):
		return "text/x-nix-narinfo"
	case IsListing(name), dir == "debuginfo", dir == "realisations":
		return "application/json"
	case dir == "log":
		return "text/plain; charset=utf-8"
	case IsNAR(name):
		return "application/x-nix-nar"
	}
	return ""
}

// maxBase is how long the last element of a name may be in every directory, in bytes.
const maxBase = 255

// CheckObjectName returns an error unless every store can have an object of this name.
func CheckObjectName(name string) error {
	base := path.Base(name)
	if !fs.ValidPath(name) || strings.HasPrefix(base, ".") || len(base) > maxBase {
		return errors.New("not a name that every store can have")
	}
	return nil
}
