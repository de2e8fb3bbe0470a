package nar

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/nix-community/go-nix/pkg/nixbase32"
	"github.com/nix-community/go-nix/pkg/nixhash"
)

// A ContentAddress is the SHA-256 from which the store path of a content-addressed archive is computed. It is the hash
// of the whole archive, or of all of it except what depends on that path.
type ContentAddress [sha256.Size]byte

// String returns the address as in a narinfo's CA field: "fixed:r:sha256:" and 52 characters of base 32.
func (a ContentAddress) String() string {
	return "fixed:r:sha256:" + nixbase32.EncodeToString(a[:])
}

// StorePath returns the store path with this name in the store directory dir. The references are store paths in dir
// without the path itself; self says whether it refers to itself. (Nix, makeFixedOutputPath and makeStorePath in
// src/libstore/store-api.cc.)
func (a ContentAddress) StorePath(dir, name string, references []string, self bool) string {
	references = slices.Clone(references)
	slices.Sort(references)
	parts := append([]string{"source"}, slices.Compact(references)...)
	if self {
		parts = append(parts, "self")
	}
	parts = append(parts, "sha256", hex.EncodeToString(a[:]), dir, name)
	sum := sha256.Sum256([]byte(strings.Join(parts, ":")))
	return dir + "/" + nixbase32.EncodeToString(nixhash.CompressHash(sum[:], 20)) + "-" + name
}
