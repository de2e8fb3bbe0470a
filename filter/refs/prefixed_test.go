package refs

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
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

// The end is found however it is written.
func TestZipTail(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	entry := append([]byte("PK\x01\x02"), make([]byte, 42)...)
	record := []byte("PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00\x2e\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	for range 20_000 {
		b := make([]byte, r.IntN(100))
		want := int64(0)
		if r.IntN(3) > 0 && len(b) >= 46 {
			at := 46 + r.IntN(len(b)-45)
			copy(b[at-46:], entry)
			b = append(append(b[:at:at], record...), b[at:]...)
			want = int64(at) + 1
		}
		var z zipTail
		for rest := b; len(rest) > 0; {
			n := 1 + r.IntN(min(len(rest), 40))
			z.Write(rest[:n])
			rest = rest[n:]
		}
		if z.at != want || z.size != int64(len(b)) {
			t.Fatalf("got %d of %d, want %d of %d", z.at, z.size, want, len(b))
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
	if packing(header) != "" || packing(make([]byte, 512)) != "" {
		t.Error("something else is taken for one")
	}
}
