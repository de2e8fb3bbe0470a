package main

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"debug/macho"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"howett.net/plist"

	"narseal/nar"
	"narseal/nar/nartest"
)

// TestRealBundlesSealed changes nearly every file of bundles that others published. A repair seals them again: a checker
// that shares nothing with narseal finds nothing. Changed back and repaired, they are byte for byte what they were.
func TestRealBundlesSealed(t *testing.T) {
	root := realBundlesDir(t)
	for path, problem := range realBundles {
		original := map[string][]byte{}
		dir := filepath.Join(root, path)
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				name, _ := filepath.Rel(dir, path)
				original[filepath.ToSlash(name)], err = os.ReadFile(path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		added, _, _ := strings.Cut(problem, ": ")
		delete(original, added)
		main := strings.TrimSuffix(filepath.Base(path), ".framework")
		if found := checkFlat(t, original, main); len(found) > 0 {
			t.Fatalf("%s as published: %q", path, found)
		}
		changed, n := map[string][]byte{}, 0
		for name, data := range original {
			changed[name] = changeReal(t, name, data)
			if !bytes.Equal(changed[name], data) {
				n++
			}
		}
		if n < len(original)-1 {
			t.Fatalf("%s: only %d of %d files changed", path, n, len(original))
		}
		if found := checkFlat(t, changed, main); len(found) < n {
			t.Errorf("%s: the checker found only %q in %d changed files", path, found, n)
		}
		sealed := repairFiles(t, changed)
		if found := checkFlat(t, sealed, main); len(found) > 0 {
			t.Errorf("%s, repaired: %q", path, found)
		}
		for name, data := range sealed {
			if len(data) != len(original[name]) || name != main && name != "_CodeSignature/CodeResources" && !bytes.Equal(data, changed[name]) {
				t.Errorf("%s: the repair changed %s", path, name)
			}
		}
		back := maps.Clone(sealed)
		for name, data := range sealed {
			back[name] = changeReal(t, name, data) // the same bits again
		}
		if got := repairFiles(t, back); !maps.EqualFunc(got, original, bytes.Equal) {
			t.Errorf("%s: changed back and repaired, it is not what it was", path)
		}
		t.Logf("%s: %d of %d files changed", path, n, len(original))
	}
}

// changeReal inverts a bit in a file, and in each slice of an image. The list of resources stays.
func changeReal(t *testing.T, name string, data []byte) []byte {
	data = bytes.Clone(data)
	switch fat, err := macho.NewFatFile(bytes.NewReader(data)); {
	case err == nil:
		for _, a := range fat.Arches {
			data[int64(a.Offset)+int64(a.Section("__text").Offset)] ^= 1
		}
	case name == "_CodeSignature/CodeResources":
	case filepath.Base(name) == "Info.plist":
		// A property list that cannot be read is not repaired: change the letters of a string.
		const word = "simulator"
		at := 0
		for at+len(word) <= len(data) && !bytes.EqualFold(data[at:at+len(word)], []byte(word)) {
			at++
		}
		if at+len(word) > len(data) {
			t.Fatalf("%s: nothing to change", name)
		}
		for i := range len(word) {
			data[at+i] ^= 0x20
		}
	case len(data) > 0:
		data[len(data)/2] ^= 1
	}
	return data
}

// repairFiles puts files into an archive, repairs it, and takes them out.
func repairFiles(t *testing.T, files map[string][]byte) map[string][]byte {
	t.Helper()
	root := nartest.Dir{}
	for path, data := range files {
		dir, names := root, strings.Split(path, "/")
		for _, name := range names[:len(names)-1] {
			if dir[name] == nil {
				dir[name] = nartest.Dir{}
			}
			dir = dir[name].(nartest.Dir)
		}
		dir[names[len(names)-1]] = nartest.File(data)
	}
	o := invoke(bytes.NewReader(nartest.Tree(nartest.Dir{"F.framework": root})), "repair")
	if o.status != statusDone {
		t.Fatalf("repair: status %d: %s", o.status, o.stderr)
	}
	all := map[string][]byte{}
	r := nar.NewReader(strings.NewReader(o.stdout))
	for {
		e, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == nar.TypeRegular {
			path := strings.TrimPrefix(r.Path(), "/F.framework/")
			if all[path], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// checkFlat returns what is wrong with the seals of a flat bundle. It shares no code with narseal.
func checkFlat(t *testing.T, files map[string][]byte, main string) (found []string) {
	t.Helper()
	var list struct {
		Files  map[string]any `plist:"files"`
		Files2 map[string]any `plist:"files2"`
	}
	if _, err := plist.Unmarshal(files["_CodeSignature/CodeResources"], &list); err != nil {
		t.Fatal(err)
	}
	digests := func(data []byte) map[string][]byte {
		s1, s256 := sha1.Sum(data), sha256.Sum256(data)
		return map[string][]byte{"hash": s1[:], "hash2": s256[:]}
	}
	for path, data := range files {
		old, ok := list.Files[path].([]byte)
		if dict, isDict := list.Files[path].(map[string]any); isDict {
			old, ok = dict["hash"].([]byte)
		}
		if ok && !bytes.Equal(old, digests(data)["hash"]) {
			found = append(found, path+" in files")
		}
		entry, _ := list.Files2[path].(map[string]any)
		for key, want := range digests(data) {
			if sum, ok := entry[key].([]byte); ok && !bytes.Equal(sum, want) {
				found = append(found, path+" in files2 "+key)
			}
		}
		if entry == nil && path != main && path != "Info.plist" && path != "_CodeSignature/CodeResources" {
			found = append(found, path+" is not sealed")
		}
	}
	for path := range list.Files2 {
		if files[path] == nil {
			found = append(found, path+" is missing")
		}
	}
	fat, err := macho.NewFatFile(bytes.NewReader(files[main]))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range fat.Arches {
		slice := files[main][a.Offset : a.Offset+a.Size]
		for _, load := range a.Loads {
			if raw := load.Raw(); a.ByteOrder.Uint32(raw) == 0x1d {
				for _, wrong := range checkDirectories(slice, slice[a.ByteOrder.Uint32(raw[8:]):], files) {
					found = append(found, fmt.Sprintf("%s %s: %s", main, a.Cpu, wrong))
				}
			}
		}
	}
	slices.Sort(found)
	return found
}

// checkDirectories checks the pages and the special slots -1 and -3 of all CodeDirectories.
func checkDirectories(slice, sig []byte, files map[string][]byte) (found []string) {
	u32 := binary.BigEndian.Uint32
	for i := range u32(sig[8:]) {
		slot, cd := u32(sig[12+8*i:]), sig[u32(sig[16+8*i:]):]
		if slot != 0 && slot>>8 != 0x10 {
			continue
		}
		size := uint32(cd[36])
		sum := func(data []byte) []byte {
			switch cd[37] {
			case 1:
				s := sha1.Sum(data)
				return s[:]
			case 4:
				s := sha512.Sum384(data)
				return s[:]
			}
			s := sha256.Sum256(data)
			return s[:size]
		}
		hashes, page := u32(cd[16:]), uint32(1)<<cd[39]
		for n := range u32(cd[28:]) {
			data := slice[n*page : min((n+1)*page, u32(cd[32:]))]
			if !bytes.Equal(sum(data), cd[hashes+n*size:][:size]) {
				found = append(found, fmt.Sprintf("page %d", n))
			}
		}
		for k, name := range map[uint32]string{1: "Info.plist", 3: "_CodeSignature/CodeResources"} {
			if !bytes.Equal(sum(files[name]), cd[hashes-k*size:][:size]) {
				found = append(found, name)
			}
		}
	}
	return found
}
