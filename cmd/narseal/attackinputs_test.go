package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"narseal/macho/machotest"
	"narseal/nar/binarycache/narinfo"
	"narseal/nar/compression"
	"narseal/nar/nartest"
)

// file is the input of an attack that is one file.
func file(contents func() []byte) func(t *testing.T, dir string) string {
	return func(t *testing.T, dir string) string {
		name := filepath.Join(dir, "input")
		if err := os.WriteFile(name, contents(), 0o777); err != nil {
			t.Fatal(err)
		}
		return name
	}
}

// signature puts a SuperBlob of n index entries that all name one CodeDirectory into the place of an image's.
func repeatSignature(n int, directory func(base []byte) []byte) []byte {
	image, l := machotest.Image{CodeSize: 8192, Directories: []machotest.Directory{{PageShift: 12, Version: 0x20400}}}.Build()
	be := binary.BigEndian
	at := l.Blobs[0]
	length := int64(be.Uint32(image[at+4:]))
	cd := directory(bytes.Clone(image[at : at+length]))
	be.PutUint32(cd[4:], uint32(len(cd)))
	head := 12 + 8*n
	blob := be.AppendUint32(nil, 0xfade0cc0)
	blob = be.AppendUint32(be.AppendUint32(blob, uint32(head+len(cd))), uint32(n))
	for i := range n {
		slot := uint32(0)
		if i > 0 {
			slot = 0x1000 + uint32(i-1)%5
		}
		blob = be.AppendUint32(be.AppendUint32(blob, slot), uint32(head))
	}
	image = append(image[:l.Signature:l.Signature], append(blob, cd...)...)
	// LC_CODE_SIGNATURE is the last load command: cmd, cmdsize, dataoff, datasize.
	binary.LittleEndian.PutUint32(image[l.CommandsEnd-4:], uint32(len(blob)+len(cd)))
	return image
}

// repeatedDirectory has 1,024 index entries of one CodeDirectory with 65,535 scatter records.
func repeatedDirectory() []byte {
	return repeatSignature(1024, func(cd []byte) []byte {
		binary.BigEndian.PutUint32(cd[44:], uint32(len(cd)))
		for range 65535 {
			var rec [24]byte
			binary.BigEndian.PutUint32(rec[:], 1)
			cd = append(cd, rec[:]...)
		}
		return append(cd, make([]byte, 24)...)
	})
}

// unterminatedStrings has 1,024 index entries of one CodeDirectory whose identifier and team have 1.5 MB and no NUL.
func unterminatedStrings() []byte {
	return repeatSignature(1024, func(cd []byte) []byte {
		binary.BigEndian.PutUint32(cd[20:], uint32(len(cd)))
		binary.BigEndian.PutUint32(cd[48:], uint32(len(cd)))
		return append(cd, bytes.Repeat([]byte{'a'}, 1500<<10)...)
	})
}

// deepImages is an archive of 300 stale images 16,000 directories deep, each with a store path of its own. The names
// have 255 bytes, so that each path has 4 MB.
func deepImages() []byte {
	const depth, images = 16_000, 300
	name := hashA + strings.Repeat("d", 255-len(hashA))
	var b bytes.Buffer
	b.Write(nartest.Strings("nix-archive-1", "(", "type", "directory"))
	for range depth - 1 {
		b.Write(nartest.Strings("entry", "(", "name", name, "node", "(", "type", "directory"))
	}
	for i := range images {
		path := fmt.Sprintf("/nix/store/%s-%04d ", hashA, i)
		data, l := machotest.Image{CodeSize: 4096, Text: []byte(path), Directories: []machotest.Directory{{PageShift: 12}}}.Build()
		data[l.CommandsEnd+200] ^= 1
		b.Write(nartest.Strings("entry", "(", "name", fmt.Sprintf("image-%04d", i), "node",
			"(", "type", "regular", "executable", "", "contents", string(data), ")", ")"))
	}
	for range depth - 1 {
		b.Write(nartest.Strings(")", ")"))
	}
	b.Write(nartest.Strings(")"))
	return b.Bytes()
}

// deepInvalid is deepImages with names that are not UTF-8, which are longer as JSON.
func deepInvalid() []byte {
	return bytes.ReplaceAll(deepImages(), bytes.Repeat([]byte("d"), 223), bytes.Repeat([]byte("\xff"), 223))
}

// deepExport is an export stream of deepImages.
func deepExport() []byte { return exported("/nix/store/"+hashA+"-deep", nil, deepImages()) }

func deepCache(t *testing.T, dir string) string {
	if err := addMember(dir, hashA+"-deep", deepImages(), compression.Zstd, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

// renamedEntries is a directory of a million empty files, each of which waits for its place when A becomes B.
func renamedEntries() []byte {
	b := nartest.Strings("nix-archive-1", "(", "type", "directory")
	return append(addEntries(b, hashA), nartest.Strings(")")...)
}

// harmlessEntries has as many entries, none of which is renamed.
func harmlessEntries(t *testing.T, dir string, _ int64) string {
	return file(func() []byte {
		b := nartest.Strings("nix-archive-1", "(", "type", "directory")
		return append(addEntries(b, otherHash), nartest.Strings(")")...)
	})(t, dir)
}

// renamedDirectory has the same in a directory that waits itself.
func renamedDirectory() []byte {
	b := nartest.Strings("nix-archive-1", "(", "type", "directory", "entry", "(", "name", hashA, "node", "(", "type", "directory")
	return append(addEntries(b, hashA), nartest.Strings(")", ")", ")")...)
}

func addEntries(b []byte, hash string) []byte {
	for i := range 1_000_000 {
		b = append(b, nartest.Strings("entry", "(", "name", fmt.Sprintf("%s-%07d", hash, i), "node",
			"(", "type", "regular", "contents", "", ")", ")")...)
	}
	return b
}

// longZipNames has seven zips inside each other, each with 240 names of 64 KB that hold a store path.
func longZipNames() []byte {
	inner := []byte("end")
	for level := range 7 {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		for i := range 240 {
			name := fmt.Sprintf("%s/nix/store/%s-%d-%03d", strings.Repeat("n", 65_000), hashA, level, i)
			w, err := z.Create(name)
			if err != nil {
				panic(err)
			}
			if i == 0 {
				w.Write(inner)
			}
		}
		if err := z.Close(); err != nil {
			panic(err)
		}
		inner = b.Bytes()
	}
	return nartest.Tree(nartest.File(compressed(inner, compression.Zstd)))
}

// storedZips has eight zips inside each other that store what they hold, 60 MB, in a gzip stream.
func storedZips() []byte {
	inner := filler(60 << 20)
	for range 6 {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		w, err := z.CreateHeader(&zip.FileHeader{Name: "a", Method: zip.Store})
		if err == nil {
			_, err = w.Write(inner)
		}
		if err == nil {
			err = z.Close()
		}
		if err != nil {
			panic(err)
		}
		inner = b.Bytes()
	}
	return nartest.Tree(nartest.File(compressed(inner, compression.Gzip)))
}

// nestedWindows has seven zstd streams inside each other whose windows have 128 MiB, each filled before the next begins.
func nestedWindows() []byte {
	inner := []byte("end")
	zeros := filler(130 << 20)
	for range 7 {
		var b bytes.Buffer
		z, err := zstd.NewWriter(&b, zstd.WithWindowSize(128<<20), zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
		if err != nil {
			panic(err)
		}
		w := tar.NewWriter(z)
		w.WriteHeader(&tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Size: 130 << 20})
		w.Write(zeros)
		w.WriteHeader(&tar.Header{Name: "next", Typeflag: tar.TypeReg, Size: int64(len(inner))})
		w.Write(inner)
		if err := w.Close(); err != nil {
			panic(err)
		}
		if err := z.Close(); err != nil {
			panic(err)
		}
		inner = b.Bytes()
	}
	return nartest.Tree(nartest.File(inner))
}

// filler is n bytes that compress about 300:1, less than what --deep refuses.
func filler(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < n; i += 600 {
		b[i] = byte(r.Uint32())
	}
	return b
}

func compressed(b []byte, c compression.Type) []byte {
	var out bytes.Buffer
	w, err := compression.Compress(&out, c, compression.Options{Workers: 1})
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err)
	}
	return out.Bytes()
}

// listingCache has a compressed listing of 100 MB of text.
func listingCache(t *testing.T, dir string) string {
	if err := addMember(dir, hashA+"-x", nartest.Tree(nartest.File(hashA)), compression.None, nil); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"version":1,"root":{"type":"directory","entries":{"%s":{}`, hashA)
	for i := range 8_000_000 {
		fmt.Fprintf(&b, `,"%x":{}`, i)
	}
	b.WriteString(`}}}`)
	if err := os.WriteFile(filepath.Join(dir, hashA+".ls"), compressed(b.Bytes(), compression.Zstd), 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

// manyBombs has 300 zips whose directories list one member of 60 MiB 68 times.
func manyBombs() []byte {
	const times, size = 68, 60 << 20
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create("a")
	if err == nil {
		_, err = w.Write(make([]byte, size))
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		panic(err)
	}
	one := b.Bytes()
	at := bytes.LastIndex(one, []byte("PK\x01\x02"))
	end := bytes.LastIndex(one, []byte("PK\x05\x06"))
	bomb := append(one[:at:at], bytes.Repeat(one[at:end], times)...)
	tail := bytes.Clone(one[end:])
	binary.LittleEndian.PutUint16(tail[8:], times)
	binary.LittleEndian.PutUint16(tail[10:], times)
	binary.LittleEndian.PutUint32(tail[12:], uint32(times*(end-at)))
	bomb = append(bomb, tail...)
	dir := nartest.Dir{}
	for i := range 300 {
		dir[fmt.Sprintf("%03d.zip", i)] = nartest.File(string(bomb))
	}
	return nartest.Tree(dir)
}

// windowCache has 8 store paths with a NAR of 160 MiB, whose stream has a window of 128 MiB.
func windowCache(t *testing.T, dir string) string {
	return cacheOfZeros(t, dir, 8, 8, 160<<20, 128<<20)
}

// imageCache has 8 store paths with a NAR of a signed image of 200 MiB.
func imageCache(t *testing.T, dir string) string {
	data, l := machotest.Image{CodeSize: 200 << 20, Directories: []machotest.Directory{{PageShift: 12}}}.Build()
	clear(data[l.CommandsEnd:l.Signature]) // stale, and easy to compress
	return cacheOf(t, dir, 8, 8, 1<<20, nartest.Tree(nartest.File(string(data))))
}

// wideWindow is a NAR of 160 MiB, whose stream has a window of 128 MiB.
func wideWindow() []byte {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithWindowSize(128<<20), zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		panic(err)
	}
	z.Write(nartest.Tree(nartest.File(string(make([]byte, 160<<20)))))
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// sharedCache has 2,000 narinfos of one NAR of 128 MiB.
func sharedCache(t *testing.T, dir string) string {
	return cacheOfZeros(t, dir, 2000, 1, 128<<20, 1<<20)
}

// cacheOfZeros has narinfos of NARs with a file of size bytes, compressed with a window.
func cacheOfZeros(t *testing.T, dir string, narinfos, nars, size, window int) string {
	return cacheOf(t, dir, narinfos, nars, window, nartest.Tree(nartest.File(string(make([]byte, size)))))
}

// cacheOf has narinfos of one NAR, which has several names.
func cacheOf(t *testing.T, dir string, narinfos, nars, window int, nar []byte) string {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		t.Fatal(err)
	}
	z.Write(nar)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"nix-cache-info": "StoreDir: /nix/store\n"}
	narHash := narinfo.HashText(sha256.Sum256(nar))
	for i := range narinfos {
		hash, url := fmt.Sprintf("%s%04d", hashA[:28], i), fmt.Sprintf("nar/%d.nar.zst", i%nars)
		files[url] = b.String()
		files[hash+".narinfo"] = fmt.Sprintf("StorePath: /nix/store/%s-x\nURL: %s\nCompression: zstd\nNarHash: %s\nNarSize: %d\n",
			hash, url, narHash, len(nar))
	}
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o777), os.WriteFile(name, []byte(text), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// longInfos has two narinfos of 1 MiB with more lines than one ever has.
func longInfos(t *testing.T, dir string) string {
	for hash, lines := range map[string]string{
		hashA: strings.Repeat("a:\n", 300_000), hashB: strings.Repeat("Sig: k:"+strings.Repeat("A", 86)+"==\n", 10_000),
	} {
		if err := addMember(dir, hash+"-x", nartest.Tree(nartest.File("x")), compression.None, nil); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(filepath.Join(dir, hash+".narinfo"), os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString(lines)
		}
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// hugeInfo has a narinfo of 4 GiB that takes no space.
func hugeInfo(t *testing.T, dir string) string {
	if err := addMember(dir, hashA+"-x", nartest.Tree(nartest.File("x")), compression.None, nil); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, hashB+".narinfo"))
	if err == nil {
		_, err = io.WriteString(f, "StorePath: /nix/store/"+hashB+"-y\nURL: nar/x.nar\n")
	}
	if err == nil {
		err = f.Truncate(4 << 30)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// plainText is n bytes that do not compress well, with a store path here and there.
func plainText(n int64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{})
	r.Read(b)
	for i := 0; i+100 < len(b); i += 4096 {
		copy(b[i:], "/nix/store/"+hashA+"-x ")
	}
	return b
}

// harmlessTree has files of 16 KiB and an image, n bytes together.
func harmlessTree(n int64) nartest.Node {
	dir := nartest.Dir{}
	image, _ := machotest.Image{CodeSize: int(n / 4), Directories: []machotest.Directory{{PageShift: 12}}}.Build()
	dir["image"] = nartest.Exec(image)
	text := plainText(max(1, n-int64(len(image))))
	for i := 0; len(text) > 0; i++ {
		k := min(16<<10, len(text))
		dir[fmt.Sprintf("%06d", i)] = nartest.File(string(text[:k]))
		text = text[k:]
	}
	return dir
}

func harmlessArchive(t *testing.T, dir string, n int64) string {
	return file(func() []byte { return nartest.Tree(harmlessTree(n)) })(t, dir)
}

// harmlessPacked has a zip with n bytes of text.
func harmlessPacked(t *testing.T, dir string, n int64) string {
	return file(func() []byte {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		text := plainText(16 << 20)
		for i := range text {
			text[i] = 'a' + text[i]&15
		}
		for i := 0; n > 0; i++ {
			w, err := z.Create(fmt.Sprint(i))
			if err != nil {
				t.Fatal(err)
			}
			k := min(n, int64(len(text)))
			w.Write(text[:k])
			n -= k
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return nartest.Tree(nartest.File(b.String()))
	})(t, dir)
}

func harmlessExport(t *testing.T, dir string, n int64) string {
	return file(func() []byte { return exported("/nix/store/"+hashA+"-x", nil, nartest.Tree(harmlessTree(n))) })(t, dir)
}

func harmlessCache(t *testing.T, dir string, n int64) string {
	if err := addMember(dir, otherHash+"-x", nartest.Tree(harmlessTree(n)), compression.Zstd, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

// harmlessPaths is a cache of 1,000 paths with n bytes of contents.
func harmlessPaths(t *testing.T, dir string, n int64) string {
	nar := nartest.Tree(nartest.File(string(plainText(n / 1000))))
	for i := range 1000 {
		if err := addMember(dir, fmt.Sprintf("%s%04d-x", otherHash[:28], i), nar, compression.Zstd, nil); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// harmlessExports is an export stream of 40,000 archives, n bytes together.
func harmlessExports(t *testing.T, dir string, n int64) string {
	const archives = 40_000
	return file(func() []byte {
		nar := nartest.Tree(nartest.File(string(plainText(n/archives - 300))))
		return exports(archives, nar)
	})(t, dir)
}

// harmlessBundleCache has the same bundles in 8 NARs, n bytes together.
func harmlessBundleCache(t *testing.T, dir string, n int64) string {
	nar, err := os.ReadFile(harmlessBundle(t, t.TempDir(), n/8))
	if err != nil {
		t.Fatal(err)
	}
	return cacheOf(t, dir, 8, 8, 1<<20, nar)
}

func harmlessImage(t *testing.T, dir string, n int64) string {
	image, _ := machotest.Image{CodeSize: int(n), Directories: []machotest.Directory{{PageShift: 12}}}.Build()
	return file(func() []byte { return image })(t, dir)
}

// harmlessBundle is two applications of about n bytes that are as they were sealed, each with 9,000 files. With more, the lists
// would not be compared.
func harmlessBundle(t *testing.T, dir string, n int64) string {
	app := func() machotest.Tree {
		inside := map[string]any{}
		for i := range 9_000 {
			inside[fmt.Sprintf("Resources/%05d%s", i, strings.Repeat("x", 40))] = ""
		}
		tree, _ := (&machotest.SealedBundle{Form: "contents", Executable: "App", Image: machotest.Image{CodeSize: 8192, Directories: []machotest.Directory{{PageShift: 12}}},
			Info: "<plist><dict></dict></plist>", Files: inside}).Build()
		return tree
	}
	root := nartest.Dir{}
	add := func(path string, f machotest.TreeFile) {
		dir, names := root, strings.Split(path, "/")
		for _, name := range names[:len(names)-1] {
			if dir[name] == nil {
				dir[name] = nartest.Dir{}
			}
			dir = dir[name].(nartest.Dir)
		}
		dir[names[len(names)-1]] = nartest.File(f.Data)
		if f.Executable {
			dir[names[len(names)-1]] = nartest.Exec(f.Data)
		}
	}
	for path, f := range app() {
		add("App.app/"+path, f)
		add("z.app/"+path, f)
	}
	add("other", machotest.TreeFile{Data: plainText(n / 2)})
	return file(func() []byte { return nartest.Tree(root) })(t, dir)
}
