package refs

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"narseal/filter/rules"
	"narseal/nar"
)

// A zip file that begins with something else cannot be missed by a gate, wherever it is, and what only looks like one
// does not stop it.
func TestPrefixedZip(t *testing.T) {
	secret := dir + "/" + hashA + "-x"
	var z bytes.Buffer
	w := zip.NewWriter(&z)
	f, err := w.Create("member")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, secret)
	w.SetComment("remark")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	inTar := func(b []byte) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		w.WriteHeader(&tar.Header{Name: "x", Size: int64(len(b)), Mode: 0o644})
		w.Write(b)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	packed := func(b []byte) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		w.Write(b)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	elf := append([]byte("\x7fELF"), make([]byte, 300_000)...)
	program := append(bytes.Clone(elf), z.Bytes()...)
	code := append(bytes.Clone(elf), "PK\x05\x06 and PK\x01\x02 are the magic numbers that it looks for"...)
	// Constants that look like an entry and an end, but not like the end of a zip file that begins before.
	tables := append(append(bytes.Clone(code), "PK\x01\x02"+strings.Repeat("\x00", 100)+"PK\x05\x06\x00\x00\x00\x00\x90\x01\x90\x01"...),
		"\x00\x10\x2a\x41\x00\x00\x00\x00\x00\x00"...)
	near := append(append(bytes.Clone(code), "PK\x01\x02"+strings.Repeat("\x00", 100)+"PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00"...),
		"\x40\x00\x00\x00\x40\x00\x00\x00\x00\x00"...)
	// The members and the directory are in a tar, and the end record follows it.
	at := bytes.Index(z.Bytes(), []byte(zipEntry))
	parts := inTar(append(bytes.Clone(elf[:1000]), z.Bytes()[:at+zipEntrySize+len("member")]...))
	end := []byte(endRecord(1, len(parts)-512-1000-at, 1512+at, ""))
	for name, c := range map[string]struct {
		in                []byte
		found, unfinished int64
	}{
		"plain":                     {z.Bytes(), 1, 0},
		"after a line":              {append([]byte("\n"), z.Bytes()...), 0, 1},
		"after a program":           {program, 0, 1},
		"after a script":            {append(append([]byte("#!/bin/sh\n"), make([]byte, 5000)...), z.Bytes()...), 0, 1},
		"with something after it":   {append(bytes.Clone(program), make([]byte, 1000)...), 0, 1},
		"in a tar":                  {inTar(program), 0, 1},
		"in a gzip stream":          {packed(program), 0, 1},
		"in a tar in a gzip stream": {packed(inTar(program)), 0, 1},
		"not at the end":            {append(bytes.Clone(program), make([]byte, 70_000)...), 0, 0},
		"a program that reads zips": {code, 0, 0},
		"its tables":                {tables, 0, 0},
		"tables near each other":    {near, 0, 0},
		"at last in a tar":          {inTar(z.Bytes()), 1, 0},
		"after a tar":               {append(inTar(elf[:100]), z.Bytes()...), 1, 0},
		"around the end of a tar":   {append(bytes.Clone(parts), end...), 0, 1},
		"around it in a stream":     {packed(append(bytes.Clone(parts), end...)), 0, 1},
		"in the header of a stream": {[]byte(gzipNamed("", "", string(program[len(program)-z.Len()-4:]), "x")), 0, 1},
		"a module of Java":          {append([]byte("JM\x01\x00"), z.Bytes()...), 1, 0},
		"one file of several":       {append([]byte("PK\x07\x08"), z.Bytes()...), 1, 0},
		"a part of a record":        {append(bytes.Clone(elf), z.Bytes()[:z.Len()-10]...), 0, 0},
	} {
		for _, chunk := range []int{1 << 20, 100, 21, 1} {
			if chunk < 100 && len(c.in) > 1000 && name != "after a program" {
				continue
			}
			var found int64
			s := Scanner{StoreDir: dir, Encodings: rules.AllEncodings, Unpack: &Unpack{}, Found: func(*Reference) error { found++; return nil }}
			if err := s.File(nar.NewPath("f"), &chunked{bytes.NewReader(c.in), chunk}); err != nil {
				t.Fatal(err)
			}
			limited, unreadable := s.Incomplete()
			if found != c.found || limited+unreadable != c.unfinished {
				t.Errorf("%s, %d bytes at a time: found %d, unfinished %d; want %d, %d", name, chunk, found, limited+unreadable, c.found, c.unfinished)
			}
		}
	}
}

type chunked struct {
	r io.Reader
	n int
}

func (c *chunked) Read(p []byte) (int, error) { return c.r.Read(p[:min(len(p), c.n)]) }

// The end and the entries of a directory are found however they are written.
func TestZipTail(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3_000 {
		b := make([]byte, r.IntN(100)+r.IntN(2)*r.IntN(3*zipTailSize))
		var members []hole
		found := false
		if r.IntN(3) > 0 && len(b) >= 200 {
			entry := r.IntN(len(b) - 100)
			end := entry + zipEntrySize + r.IntN(len(b)-entry-zipEntrySize-zipEndSize)
			copy(b[entry:], zipEntry)
			copy(b[end:], zipEnd)
			at, size := entry, end-entry
			switch r.IntN(4) {
			case 0:
				at, size = r.IntN(len(b)), end-entry
			case 1:
				at, size = entry, 0
			case 2:
				at, size = entry+1, end-entry+1 // nothing is there
			}
			binary.LittleEndian.PutUint32(b[end+12:], uint32(size))
			binary.LittleEndian.PutUint32(b[end+16:], uint32(at))
			found = (at == entry || size == end-entry) && len(b)-end <= maxZipEnd
			if r.IntN(3) == 0 {
				from, to := r.IntN(entry+1), end-10+r.IntN(20)
				members = []hole{{int64(from), int64(to)}}
				found = found && to <= end
			}
		}
		var z zipTail
		for rest := b; len(rest) > 0; {
			n := 1 + r.IntN(min(len(rest), 40+r.IntN(2)*100_000))
			if n > zipTailSize/2 && r.IntN(2) == 0 && !bytes.ContainsFunc(rest[:n], func(r rune) bool { return r != 0 }) {
				z.skip(int64(n))
			} else {
				z.Write(rest[:n])
			}
			rest = rest[n:]
		}
		for _, m := range members {
			z.addMember(m.start, m.end)
		}
		if z.found() != found || z.size != int64(len(b)) {
			t.Fatalf("found %v, want %v", z.found(), found)
		}
	}
}

// Of too many entries, each may be the one that the end record names.
func TestZipTailFull(t *testing.T) {
	for _, full := range []bool{false, true} {
		n := maxTailEntries - 1
		if full {
			n++
		}
		var z zipTail
		z.Write([]byte(strings.Repeat(zipEntry, n) + strings.Repeat("\x00", 1000) + endRecord(1, 500, 1, "")))
		if z.found() != full || len(z.entries) != n {
			t.Errorf("%d entries: found %v", len(z.entries), z.found())
		}
	}
}

// A tar archive as before POSIX is one.
func TestOldTar(t *testing.T) {
	header := make([]byte, 512)
	copy(header, "dir/name")
	copy(header[100:], "000644 \x00000000 \x00000000 \x0000000000005 00000000000 ")
	sum := int(8 * ' ')
	for _, b := range header {
		sum += int(b)
	}
	copy(header[148:], fmt.Sprintf("%06o\x00 ", sum))
	if packing(header) != "tar" {
		t.Error("it is not seen")
	}
	member, err := tar.NewReader(bytes.NewReader(append(header, make([]byte, 1536)...))).Next()
	if err != nil || member.Name != "dir/name" || member.Size != 5 {
		t.Errorf("archive/tar says %+v, %v", member, err)
	}
	header[3]++
	header[0] = 0
	header[3]--
	sum -= int('d')
	copy(header[148:], fmt.Sprintf("%06o\x00 ", sum))
	if packing(header) != "tar" {
		t.Error("one with an empty name is not seen")
	}
	header[3]++
	if packing(header) != "" || packing(make([]byte, 512)) != "" {
		t.Error("something else is taken for one")
	}
}
