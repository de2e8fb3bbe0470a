package main

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"narseal/nar/binarycache/narinfo"
	"narseal/nar/nartest"
)

// wideFrame is a zstd frame of a text, of which it says that it takes a window of 1<<log bytes.
func wideFrame(text string, log int) string {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, byte(log-10) << 3}
	block := binary.LittleEndian.AppendUint32(nil, uint32(len(text))<<3|1) // the last one, as it is
	return string(append(b, block[:3]...)) + text
}

// windowInfos has 400 compressed narinfos with windows of 8 and 128 MiB.
func windowInfos(t *testing.T, dir string) string {
	data := nartest.Tree(nartest.File("x"))
	files := map[string]string{"nix-cache-info": "StoreDir: /nix/store\n", "nar/x.nar": string(data)}
	for i := range 400 {
		hash := fmt.Sprintf("%s%03d", hashA[:29], i)
		text := fmt.Sprintf("StorePath: /nix/store/%s-x\nURL: nar/x.nar\nCompression: none\nNarHash: %s\nNarSize: %d\n",
			hash, narinfo.HashText(sha256.Sum256(data)), len(data))
		files[hash+".narinfo"] = wideFrame(text, 23+i%2*4)
	}
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o777), os.WriteFile(name, []byte(text), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
