// Package binarycache verifies and rewrites Nix binary caches: narinfo files and
// the NARs that they name, in a [Store] of objects.
//
// Nothing in a cache is trusted before it is checked: a NAR's file and contents must have the sizes and hashes in its
// narinfo.
//
// A cache stays valid throughout a rewrite. A new NAR is an object of its own, named by its hash; a narinfo is replaced
// in one step, once the NAR that it names exists; a new narinfo is written after those that it refers to; and a NAR is
// deleted only when no narinfo names it.
//
// Formats: narinfo and nix-cache-info consist of lines of "Key: value"
// (https://nix.dev/manual/nix/latest/protocols/nix-archive and src/libstore/nar-info.cc in Nix); HASH.ls files are JSON
// (https://nix.dev/manual/nix/latest/store/types/http-binary-cache-store, write-nar-listing).
package binarycache
