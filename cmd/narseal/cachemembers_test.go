package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"narseal/nar/binarycache/cachetest"
	"narseal/nar/compression"
	"narseal/nar/nartest"
)

// writeMember adds a store path to a cache, without Nix.
func writeMember(t testing.TB, dir, base string, nar []byte, c compression.Type, refs []string) {
	t.Helper()
	if err := addMember(dir, base, nar, c, refs); err != nil {
		t.Fatal(err)
	}
}

func addMember(dir, base string, nar []byte, c compression.Type, refs []string) error {
	return cachetest.Write(dir, cachetest.Path{Base: base, NAR: nar, Compression: c, References: refs})
}

// cmdMkcache adds a store path, with the file or directory PATH in it, to a cache:
//
//	mkcache CACHE HASH-NAME COMPRESSION PATH [REFERENCE…]
func cmdMkcache(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: mkcache CACHE HASH-NAME COMPRESSION PATH [REFERENCE...]")
	}
	root, err := readNode(ts.MkAbs(args[3]))
	ts.Check(err)
	ts.Check(addMember(ts.MkAbs(args[0]), args[1], nartest.Tree(root), compression.Type(args[2]), args[4:]))
}
