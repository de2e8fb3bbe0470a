package nixcli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"narseal/nar/storepath"
)

// Inside returns the reason why files at a path must not be replaced without Nix: the path is, contains or is inside
// the store directory of a Nix database, or is inside the directory .links of a store. For any other path, it returns
// "".
func Inside(path string, environ []string) string {
	real, err := filepath.Abs(path)
	if err != nil {
		return ""
	}
	if r, err := filepath.EvalSymlinks(real); err == nil {
		real = r
	}
	for at := real; ; at = filepath.Dir(at) {
		if filepath.Base(at) == ".links" && looksLikeStore(filepath.Dir(at)) {
			return "it is one of the files that a Nix store shares among its paths"
		}
		if isStore(at, environ) {
			return "it is in the Nix store " + at + ", whose database keeps the old hash"
		}
		if at == filepath.Dir(at) {
			break
		}
	}
	stores := []string{storepath.DefaultDir, environment(environ)["NIX_STORE_DIR"], filepath.Join(real, "store"), filepath.Join(real, "nix", "store")}
	for _, store := range stores {
		store = realOf(store)
		if strings.HasPrefix(store, strings.TrimSuffix(real, "/")+"/") && isStore(store, environ) {
			return "it contains the Nix store " + store + ", whose database keeps the old hashes"
		}
	}
	return ""
}

// IsStore reports whether dir is a store directory with a Nix database in ../var/nix.
func IsStore(dir string) bool { return hasDatabase(besideStore(dir)) }

// isStore reports whether a directory is the store directory of a Nix database.
func isStore(dir string, environ []string) bool {
	if hasDatabase(besideStore(dir)) {
		return filepath.Base(dir) == "store" || looksLikeStore(dir)
	}
	env := environment(environ)
	own := env["NIX_STORE_DIR"]
	if own == "" {
		own = storepath.DefaultDir
	}
	state := env["NIX_STATE_DIR"]
	return state != "" && hasDatabase(state) && realOf(own) == dir
}

// looksLikeStore reports whether a directory contains a store path or .links.
func looksLikeStore(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()
	for range maxLook {
		names, err := f.Readdirnames(100)
		if slices.ContainsFunc(names, func(name string) bool { return storepath.CheckBaseName(name) == nil || name == ".links" }) {
			return true
		}
		if err != nil {
			return false
		}
	}
	return false
}

// maxLook limits the names that looksLikeStore reads, in hundreds.
const maxLook = 10
