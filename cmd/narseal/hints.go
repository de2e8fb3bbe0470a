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

// hintFor says what can be done about errors of the packages below cmd; it may be empty.
func hintFor(err error) string {
	var invalid *filter.SignatureError
	var rename *filter.RenameError
	var remote interface{ Hint() string }
	switch {
	case errors.As(err, &remote) && remote.Hint() != "":
		return remote.Hint()
	case errors.As(err, &invalid):
		return hintForSignature(invalid)
	case errors.As(err, &rename):
		if rename.IsClash() {
			return ""
		}
		return "the entry belongs before one that is already written; --spool copies the input to a temporary file first, so that it can move"
	case errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(err.Error(), "not a binary cache: "):
		return "a cache is what nix copy --to file:///DIR makes; narseal verify and repair --in-place take any directory"
	case errors.Is(err, spill.ErrFull):
		return "a larger --hold-memory SIZE lets more of them wait"
	case errors.Is(err, state.ErrFull):
		return "--shard 0/16, 1/16 and so on work on one part of the cache each, and each remembers its own changes"
	case errors.Is(err, binarycache.ErrConflict):
		return "rules that swap paths need another cache to write: --output CACHE; a path that is not meant is left out by --exclude"
	}
	return ""
}

// hintForSignature says what can be done about an image whose signature cannot be repaired.
func hintForSignature(e *filter.SignatureError) string {
	if e.Slice.Status == macho.StatusCMS {
		return "--on-cms adhoc replaces the certificate's signature by an ad-hoc one, --on-cms keep passes the broken image on"
	}
	return "--on-cms keep passes the image on as it is"
}

// versionString is the stamped version, or what the build knows of itself.
func versionString() string {
	if version != "devel" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return version
}
