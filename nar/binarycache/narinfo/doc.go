// Package narinfo reads and writes the small files of a binary cache: HASH.narinfo and nix-cache-info. Both consist of
// lines of "Key: value" (src/libstore/nar-info.cc in Nix). Unknown keys and the order of keys are preserved.
package narinfo
