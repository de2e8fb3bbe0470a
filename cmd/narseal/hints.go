package main

import (
	"errors"
	"io/fs"
	"runtime/debug"
	"strings"

	"narseal/filter"
	"narseal/filter/spill"
	"narseal/macho"
	"narseal/nar/binarycache"
	"narseal/nar/binarycache/state"
)

// hintFor returns the hint for an error of a package outside of cmd, or "".
func hintFor(err error) string {
	var invalid *filter.SignatureError
	var rename *filter.RenameError
	var remote interface{ Hint() string }
	switch {
	case errors.As(err, &remote) && remote.Hint() != "":
		return remote.Hint()
	case errors.As(err, &invalid):
		return hintForSignature(invalid)
	case errors.Is(err, spill.ErrFull):
		return "use a larger --hold-memory SIZE"
	case errors.As(err, &rename):
		if rename.IsClash() {
			return ""
		}
		return "the entry must move ahead of one that is already written; --spool makes that possible, with a temporary copy of the input"
	case errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(err.Error(), "not a binary cache: "):
		return "nix copy --to file:///DIR creates a cache; for other directories, use narseal verify and repair --in-place"
	case errors.Is(err, state.ErrFull):
		return "use --shard 0/16, 1/16 and so on: each works on one part of the cache, and has its own state"
	case errors.Is(err, binarycache.ErrConflict):
		return "rules that swap paths need another cache to write to: --output CACHE; --exclude leaves out a path"
	}
	return ""
}

// hintForSignature returns the hint for an image whose signature cannot be repaired.
func hintForSignature(e *filter.SignatureError) string {
	if e.Slice.Status == macho.StatusCMS {
		return "--on-cms adhoc replaces the certificate's signature with an ad-hoc one; --on-cms keep passes the image through with an invalid signature"
	}
	return "--on-cms keep passes the image through unchanged"
}

// versionString returns the stamped version, or else the version in the build info.
func versionString() string {
	if version != "devel" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return version
}
