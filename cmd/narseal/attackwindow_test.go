package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
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

// smallWindows is a cache of 1,000 NARs of 120 bytes, each in a frame that asks for a window of 128 MiB.
func smallWindows(t *testing.T, dir string) string {
	files := map[string]string{"nix-cache-info": "StoreDir: /nix/store\n"}
	for i := range 1000 {
		data := nartest.Tree(nartest.File(fmt.Sprint(i)))
		hash := fmt.Sprintf("%s%03d", hashA[:29], i)
		files["nar/"+hash+".nar.zst"] = wideFrame(string(data), 27)
		files[hash+".narinfo"] = fmt.Sprintf("StorePath: /nix/store/%s-x\nURL: nar/%s.nar.zst\nCompression: zstd\nNarHash: %s\nNarSize: %d\n",
			hash, hash, narinfo.HashText(sha256.Sum256(data)), len(data))
	}
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o777), os.WriteFile(name, []byte(text), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// membersOfWindows is a tar archive of 2,000 members of a few bytes that ask for windows of 128 MiB.
func membersOfWindows() []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range 2000 {
		member := wideFrame(fmt.Sprint(i), 27)
		err := w.WriteHeader(&tar.Header{Name: fmt.Sprint(i), Typeflag: tar.TypeReg, Size: int64(len(member))})
		if err == nil {
			_, err = io.WriteString(w, member)
		}
		if err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return nartest.Tree(nartest.File(b.String()))
}

// manyArchives is an export stream of 400,000 archives of an empty file.
func manyArchives() []byte { return exports(400_000, nartest.Tree(nartest.File(""))) }

// exports is an export stream of an archive that has several store paths.
func exports(paths int, archive []byte) []byte {
	word := func(b []byte, n uint64) []byte { return binary.LittleEndian.AppendUint64(b, n) }
	text := func(b []byte, s string) []byte {
		b = append(word(b, uint64(len(s))), s...)
		return append(b, make([]byte, -len(s)&7)...)
	}
	var b []byte
	for i := range paths {
		b = append(word(b, 1), archive...)
		b = text(word(b, 0x4558494e), fmt.Sprintf("/nix/store/%s%06d-x", hashA[:26], i))
		b = word(text(word(b, 0), ""), 0) // no references, no deriver, no signature
	}
	return word(b, 0)
}

// wideTree is a directory of 200,000 empty files with long names.
func wideTree(t *testing.T, dir string) string {
	return emptyFiles(t, dir, strings.Repeat("n", 240))
}

func harmlessWide(t *testing.T, dir string, _ int64) string { return emptyFiles(t, dir, "") }

func emptyFiles(t *testing.T, dir, tail string) string {
	for i := range 200_000 {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%06d", i)+tail))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return dir
}
