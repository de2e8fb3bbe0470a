package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nix-community/go-nix/pkg/nixbase32"
	"github.com/rogpeppe/go-internal/testscript"

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
	var file bytes.Buffer
	w, err := compression.Compress(&file, c, compression.Options{})
	if err != nil {
		return err
	}
	if _, err := w.Write(nar); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	sum := func(b []byte) string {
		h := sha256.Sum256(b)
		return nixbase32.EncodeToString(h[:])
	}
	url := "nar/" + sum(file.Bytes()) + ".nar" + c.Extension()
	info := fmt.Sprintf("StorePath: /nix/store/%s\nURL: %s\nCompression: %s\nFileHash: sha256:%s\nFileSize: %d\nNarHash: sha256:%s\nNarSize: %d\nReferences: %s\n",
		base, url, c, sum(file.Bytes()), file.Len(), sum(nar), len(nar), strings.Join(refs, " "))
	if err := os.MkdirAll(filepath.Join(dir, "nar"), 0o777); err != nil {
		return err
	}
	for name, content := range map[string]string{"nix-cache-info": "StoreDir: /nix/store\n", url: file.String(), base[:32] + ".narinfo": info} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666); err != nil {
			return err
		}
	}
	return nil
}

// cmdMkcache adds a store path, with the file or folder PATH in it, to a cache:
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
