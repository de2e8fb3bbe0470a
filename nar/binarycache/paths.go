package binarycache

import (
	"fmt"
	"strings"

	"github.com/nix-community/go-nix/pkg/nixbase32"
	"github.com/nix-community/go-nix/pkg/storepath"
)

const (
	hashLen = 32  // of a store path's hash part
	nameMax = 211 // of its name, StorePath::MaxPathLen in Nix's src/libstore/path.hh
)

// checkBaseName checks the HASH-NAME of a store path.
func checkBaseName(s string) error {
	if len(s) < hashLen+2 || s[hashLen] != '-' { // which storepath.Validate lets pass
		return fmt.Errorf("store path %q: want HASH-NAME with a hash of %d characters", s, hashLen)
	}
	if n := len(s) - hashLen - 1; n > nameMax {
		return fmt.Errorf("store path %q: a name of %d characters, at most %d are allowed", s, n, nameMax)
	}
	if err := storepath.Validate(storepath.StoreDir + "/" + s); err != nil {
		return fmt.Errorf("store path %q: %w", s, err)
	}
	return nil
}

// splitStorePath returns the base name of a path in the store dir.
func splitStorePath(dir, p string) (string, error) {
	base, ok := strings.CutPrefix(p, dir+"/")
	if !ok {
		return "", fmt.Errorf("store path %q is not in %s, the cache's store", p, dir)
	}
	return base, checkBaseName(base)
}

const infoSuffix = ".narinfo"

// infoName is the name of the narinfo of a store path, by its base name.
func infoName(base string) string { return base[:hashLen] + infoSuffix }

// isInfoName tells the narinfos among the objects of a cache.
func isInfoName(name string) bool {
	h, ok := strings.CutSuffix(name, infoSuffix)
	return ok && len(h) == hashLen && nixbase32.ValidateString(h) == nil
}
