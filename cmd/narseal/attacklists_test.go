package main

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/klauspost/compress/zstd"

	"narseal/macho/machotest"
	"narseal/nar/nartest"
)

// bundleTree writes the entries of a NAR.
type bundleTree struct{ bytes.Buffer }

func (b *bundleTree) put(words ...string) { b.Write(nartest.Strings(words...)) }

func (b *bundleTree) file(name, text string) {
	b.put("entry", "(", "name", name, "node", "(", "type", "regular", "contents", text, ")", ")")
}

func (b *bundleTree) directory(name string, fill func()) {
	b.put("entry", "(", "name", name, "node", "(", "type", "directory")
	fill()
	b.put(")", ")")
}

// plainArchive writes a NAR.
func plainArchive(fill func(*bundleTree)) []byte {
	var b bundleTree
	b.put("nix-archive-1", "(", "type", "directory")
	fill(&b)
	b.put(")")
	return b.Bytes()
}

// archive writes a NAR, compressed: its files repeat themselves.
func archive(fill func(*bundleTree)) []byte {
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(8<<20))
	if err == nil {
		_, err = z.Write(plainArchive(fill))
	}
	if err != nil {
		panic(err)
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// nestedLists is 14 bundles inside each other, each with a list of 8 MiB and with files that two directories use: what is
// given back twice makes room for the next list.
func nestedLists() []byte {
	list, plist := strings.Repeat("\x00", 8<<20-100), strings.Repeat("\x00", 1<<20)
	return archive(func(b *bundleTree) {
		var level func(n int)
		level = func(n int) {
			b.directory("_CodeSignature", func() { b.file("CodeResources", list) })
			for i := range 9 {
				b.directory(fmt.Sprint("a", i), func() {
					b.directory("Resources", func() { b.file("Info.plist", plist) })
				})
			}
			if n > 1 {
				b.directory("b", func() { level(n - 1) })
			}
		}
		b.directory("A.app", func() { level(14) })
	})
}

// listsAroundBundles is 14 directories inside each other, each with a list of 8 MiB, and with a bundle: its end must not
// make room for the next list.
func listsAroundBundles() []byte {
	list := strings.Repeat("\x00", 8<<20-100)
	return archive(func(b *bundleTree) {
		var level func(n int)
		level = func(n int) {
			b.directory("_CodeSignature", func() { b.file("CodeResources", list) })
			b.directory("a.app", func() {})
			if n > 1 {
				b.directory("b", func() { level(n - 1) })
			}
		}
		b.directory("a", func() { level(14) })
	})
}

// longExecutables is a bundle with 100 Info.plists, each of which names an executable of 1 MB.
func longExecutables() []byte {
	const size = 1<<20 - 100
	plist := []byte("bplist00\xd1\x01\x02\x5f\x10\x12CFBundleExecutable\x5f\x12")
	plist = append(binary.BigEndian.AppendUint32(plist, size), strings.Repeat("x", size)...)
	table := len(plist)
	for _, off := range []uint32{8, 11, 32} {
		plist = binary.BigEndian.AppendUint32(plist, off)
	}
	plist = append(plist, 0, 0, 0, 0, 0, 0, 4, 1)
	for _, n := range []uint64{3, 0, uint64(table)} {
		plist = binary.BigEndian.AppendUint64(plist, n)
	}
	return archive(func(b *bundleTree) {
		b.directory("A.app", func() {
			for i := range 100 {
				b.directory(fmt.Sprint(1000+i), func() { b.file("Info.plist", string(plist)) })
			}
		})
	})
}

// sharedKeys is a bundle with 50 Info.plists of 16 dictionaries, which are the keys of each other, share the bytes of
// their references, and claim 200,000 keys each.
func sharedKeys() []byte {
	const levels, keys = 16, 200_000
	plist := []byte("bplist00")
	var offsets []uint32
	for i := range levels {
		offsets = append(offsets, uint32(len(plist)))
		plist = append(plist, 0xdf, 0x12)
		plist = append(binary.BigEndian.AppendUint32(plist, keys), byte(i+1))
	}
	offsets = append(offsets, uint32(len(plist)))
	plist = append(plist, 0x51, 'a')
	plist = append(plist, bytes.Repeat([]byte{levels}, 2*keys+levels)...)
	table := len(plist)
	for _, off := range offsets {
		plist = binary.BigEndian.AppendUint32(plist, off)
	}
	plist = append(plist, 0, 0, 0, 0, 0, 0, 4, 1)
	for _, n := range []uint64{levels + 1, 0, uint64(table)} {
		plist = binary.BigEndian.AppendUint64(plist, n)
	}
	return archive(func(b *bundleTree) {
		b.directory("A.app", func() {
			for i := range 50 {
				b.directory(fmt.Sprint(1000+i), func() { b.file("Info.plist", string(plist)) })
			}
		})
	})
}

// bundleCache is a cache of 8 applications of 18,000 files, each with a list of 7 MB, of which a file differs.
func bundleCache(t *testing.T, dir string) string {
	const files = 18_000
	name := func(i int) string { return fmt.Sprintf("%05d%s", i, strings.Repeat("x", 40)) }
	digest := func(size int) string { // of an empty file
		sum1, sum256 := sha1.Sum(nil), sha256.Sum256(nil)
		if size == len(sum1) {
			return base64.StdEncoding.EncodeToString(sum1[:])
		}
		return base64.StdEncoding.EncodeToString(sum256[:])
	}
	var list strings.Builder
	list.WriteString("<plist><dict>")
	for _, table := range []string{"files", "files2"} {
		list.WriteString("<key>" + table + "</key><dict>")
		for i := range files {
			fmt.Fprintf(&list, "<key>Resources/%s</key><dict><key>hash</key><data>%s</data><key>hash2</key><data>%s</data></dict>", name(i), digest(20), digest(32))
		}
		list.WriteString("</dict><key>" + strings.Replace(table, "files", "rules", 1) + "</key><dict><key>^Resources/</key><true/></dict>")
	}
	list.WriteString("</dict></plist>")
	image, _ := machotest.Image{Directories: []machotest.Directory{{PageShift: 12}}, External: map[int][]byte{3: []byte(list.String())}}.Build()
	nar := plainArchive(func(b *bundleTree) {
		b.directory("App.app", func() {
			b.directory("Contents", func() {
				b.directory("MacOS", func() { b.file("App", string(image)) })
				b.directory("Resources", func() {
					b.file(name(0), "changed")
					for i := 1; i < files; i++ {
						b.file(name(i), "")
					}
				})
				b.directory("_CodeSignature", func() { b.file("CodeResources", list.String()) })
			})
		})
	})
	return cacheOf(t, dir, 8, 1, 8<<20, nar)
}

// infoCache is a cache whose NARs have Info.plists that are large after they were decoded or converted.
func infoCache(t *testing.T, dir string) string {
	const size = 1<<20 - 100
	fill := func(before, part, after string) string {
		return before + strings.Repeat(part, (size-len(before)-len(after))/len(part)) + after
	}
	wide := []byte("\xff\xfe") // three bytes of UTF-8 for two
	for _, r := range utf16.Encode([]rune("<plist><dict><key>a</key><string>" + strings.Repeat("\u0800", size/2-60) + "</string></dict></plist>")) {
		wide = binary.LittleEndian.AppendUint16(wide, r)
	}
	const keys = 50_000
	list := append([]byte("bplist00"), 0xdf, 0x12, 0, 0, keys>>8, keys&0xff)
	for i := range 2 * keys {
		list = binary.BigEndian.AppendUint32(list, uint32(min(i+1, keys+1)))
	}
	offsets := []int{8}
	for i := range keys {
		offsets = append(offsets, len(list))
		list = fmt.Appendf(list, "\x55%05d", i)
	}
	offsets = append(offsets, len(list))
	list = append(list, 9)
	table := len(list)
	for _, off := range offsets {
		list = binary.BigEndian.AppendUint32(list, uint32(off))
	}
	list = append(list, 0, 0, 0, 0, 0, 0, 4, 4)
	for _, n := range []int{keys + 2, 0, table} {
		list = binary.BigEndian.AppendUint64(list, uint64(n))
	}
	return cacheOf(t, dir, 16, 16, 8<<20, plainArchive(func(b *bundleTree) {
		b.directory("A.app", func() {
			names := fill("<plist><dict>", "<key>CFBundleExecutable-0</key><array>"+strings.Repeat("<dict/>", 8000)+"</array>", "</dict></plist>")
			for i := range 17 {
				names = strings.Replace(names, "-0<", fmt.Sprintf("-%d<", i+1), 1)
			}
			references := fill("<plist><dict>", "<key>&amp;</key><true/>", "</dict></plist>")
			for i, info := range []string{names, names, references, string(list), string(wide)} {
				b.directory(fmt.Sprint(i), func() { b.file("Info.plist", info) })
			}
		})
	}))
}

// sealingImage is a small executable that seals an Info.plist and a list, with four CodeDirectories.
func sealingImage() string {
	im := machotest.Image{External: map[int][]byte{1: []byte("other"), 3: []byte("other")}}
	for i, h := range []uint8{1, 2, 3, 4} {
		d := machotest.Directory{HashType: h, PageShift: 12}
		if i > 0 {
			d.Slot = 0x1000 + uint32(i) - 1
		}
		im.Directories = append(im.Directories, d)
	}
	data, _ := im.Build()
	return string(data)
}

// plistOfMany is a root whose Info.plist of 1 MB takes long to parse, and 2,000 executables that seal it.
func plistOfMany() []byte {
	plist := "<plist><dict>" + strings.Repeat("<key>&amp;</key><true/>", 40_000) + "</dict></plist>"
	image := sealingImage()
	return archive(func(b *bundleTree) {
		b.file("Info.plist", plist)
		b.directory("MacOS", func() {
			for i := range 2000 {
				b.file(fmt.Sprintf("%04d", i), image)
			}
		})
	})
}

// deepExecutables is 4,095 executables in 60 directories with long names, which wait for the end of their bundle.
func deepExecutables() []byte {
	image := sealingImage()
	return archive(func(b *bundleTree) {
		var level func(n int)
		level = func(n int) {
			if n > 0 {
				b.directory(strings.Repeat("d", 252), func() { level(n - 1) })
				return
			}
			for i := range 4095 {
				b.file(fmt.Sprintf("%04d", i), image)
			}
		}
		b.directory("A.app", func() { level(60) })
	})
}
