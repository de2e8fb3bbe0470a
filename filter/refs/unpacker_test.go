package refs

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"narseal/nar"
	"narseal/nar/compression"
	"narseal/nar/nartest"
)

func gzipped(data string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(data))
	w.Close()
	return b.String()
}

func compressed(t testing.TB, format compression.Type, data string) string {
	t.Helper()
	if format == compression.Bzip2 {
		cmd := exec.Command(nartest.Tool(t, "bzip2"), "-c")
		cmd.Stdin = strings.NewReader(data)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	var b bytes.Buffer
	w, err := compression.Compress(&b, format, compression.Options{})
	if err == nil {
		_, err = w.Write([]byte(data))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// file is a member of an archive.
type file struct{ name, data string }

func tarred(files ...file) string {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Typeflag: tar.TypeReg, Size: int64(len(f.data)), Mode: 0o644, Format: tar.FormatPAX}
		if target, ok := strings.CutPrefix(f.data, "-> "); ok {
			h.Typeflag, h.Linkname, h.Size, f.data = tar.TypeSymlink, target, 0, ""
		}
		w.WriteHeader(h)
		w.Write([]byte(f.data))
	}
	w.Close()
	return b.String()
}

func zipped(method uint16, files ...file) string {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		m, err := w.CreateHeader(&zip.FileHeader{Name: f.name, Method: method})
		if err == nil {
			_, err = m.Write([]byte(f.data))
		}
		if err != nil {
			panic(err)
		}
	}
	w.Close()
	return b.String()
}

// hidden is a Reference in a member as a value.
type hidden struct {
	path, member, packed string
	part                 Part
	off                  int64
	what                 string
}

// deepOf returns what is hidden in a tree, and the warnings.
func deepOf(t testing.TB, deep Unpack, tree nartest.Node, hashes ...string) (all []hidden, warnings []string) {
	t.Helper()
	f, _ := collect(t, hashes...)
	f.Found = func(m *Reference) error {
		what := string(m.Base)
		if m.Base == nil {
			what = hashes[m.Hash]
		}
		if m.Packed != "" {
			all = append(all, hidden{m.Path.String(), m.Member, m.Packed, m.Part, m.Offset, what})
		} else if m.Member != "" {
			t.Errorf("a member that is not packed: %+v", m)
		}
		return nil
	}
	deep.Warn = func(path string, err error) { warnings = append(warnings, path+": "+err.Error()) }
	f.Unpack = &deep
	if err := f.Archive(nar.NewReader(bytes.NewReader(nartest.Tree(tree)))); err != nil {
		t.Fatal(err)
	}
	return all, warnings
}

const referenceText = "x /nix/store/" + hashA + "-n y"

var (
	referenceBase = hashA + "-n"
	filler        = strings.Repeat("filler that can be packed well, ", 5000) // 160,000 bytes
)

func TestUnpack(t *testing.T) {
	at := func(member, packed string, off int) hidden {
		return hidden{"/f", member, packed, InContents, int64(off), referenceBase}
	}
	text := filler + referenceText
	off := len(filler) + 2
	for name, test := range map[string]struct {
		data string
		want []hidden
	}{
		"plain":          {text, nil},
		"gzip":           {gzipped(text), []hidden{at("", "gzip", off)}},
		"gzip, twice":    {gzipped("a"+filler) + gzipped(text), []hidden{at("", "gzip", len(filler)+1+off)}},
		"gzip in gzip":   {gzipped(gzipped(text)), []hidden{at("", "gzip,gzip", off)}},
		"xz":             {compressed(t, compression.Xz, text), []hidden{at("", "xz", off)}},
		"zstd":           {compressed(t, compression.Zstd, text), []hidden{at("", "zstd", off)}},
		"bzip2":          {compressed(t, compression.Bzip2, text), []hidden{at("", "bzip2", off)}},
		"zip":            {zipped(zip.Deflate, file{"a", "none"}, file{"META-INF/x", text}), []hidden{at("!META-INF/x", "zip", off)}},
		"stored":         {zipped(zip.Store, file{"x", text}), nil},
		"script and zip": {"#!/bin/sh\n" + zipped(zip.Deflate, file{"x", text}), []hidden{at("!x", "zip", off)}},
		"tar":            {tarred(file{"x", text}), nil},
		"gzip in tar":    {tarred(file{"x.gz", gzipped(text)}), []hidden{at("!x.gz", "tar,gzip", off)}},
		"gzip in stored": {zipped(zip.Store, file{"x.gz", gzipped(text)}), []hidden{at("!x.gz", "zip,gzip", off)}},
		"tar in xz":      {compressed(t, compression.Xz, tarred(file{"d/x", text}, file{"y", text})), []hidden{at("!d/x", "xz,tar", off), at("!y", "xz,tar", off)}},
		"jar in tar.gz":  {gzipped(tarred(file{"a.jar", zipped(zip.Deflate, file{"x", text})})), []hidden{at("!a.jar!x", "gzip,tar,zip", off)}},
		"stored in gzip": {gzipped(zipped(zip.Store, file{"x", text})), []hidden{at("!x", "gzip,zip", off)}},
		"names": {gzipped(tarred(file{"n/" + referenceBase + "/nix/store/" + referenceBase, ""}, file{"l", "-> /nix/store/" + referenceBase})), []hidden{
			{"/f", "!n/" + referenceBase + "/nix/store/" + referenceBase, "gzip,tar", InName, int64(2 + len(referenceBase)), referenceBase},
			{"/f", "!l", "gzip,tar", InTarget, 0, referenceBase},
		}},
	} {
		got, warnings := deepOf(t, Unpack{}, nartest.Dir{"f": nartest.File(test.data)})
		if !slices.Equal(got, test.want) || warnings != nil {
			t.Errorf("%s: got %+v, warnings %q, want %+v", name, got, warnings, test.want)
		}
		// Loose files, and windows of any size.
		f, _ := collect(t)
		var loose []hidden
		f.Found = func(m *Reference) error {
			if m.Packed != "" {
				loose = append(loose, hidden{m.Path.String(), m.Member, m.Packed, m.Part, m.Offset, string(m.Base)})
			}
			return nil
		}
		f.Unpack = &Unpack{}
		if err := f.File(nar.NewPath("/f"), iotest.OneByteReader(strings.NewReader(test.data))); err != nil || !slices.Equal(loose, test.want) {
			t.Errorf("%s: loose: got %+v, %v, want %+v", name, loose, err, test.want)
		}
	}
}

// The methods that zip knows beside Deflate, as other programs write them.
func TestUnpackZipMethods(t *testing.T) {
	for method, format := range map[uint16]compression.Type{12: compression.Bzip2, 93: compression.Zstd, 95: compression.Xz} {
		packed := compressed(t, format, filler+referenceText)
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		w.RegisterCompressor(method, func(w io.Writer) (io.WriteCloser, error) { return &replaced{w, packed}, nil })
		m, err := w.CreateHeader(&zip.FileHeader{Name: "x", Method: method})
		if err != nil {
			t.Fatal(err)
		}
		m.Write([]byte(filler + referenceText))
		w.Close()
		got, warnings := deepOf(t, Unpack{}, nartest.File(b.String()))
		want := []hidden{{"/", "!x", "zip", InContents, int64(len(filler) + 2), referenceBase}}
		if !slices.Equal(got, want) || warnings != nil {
			t.Errorf("method %d: got %+v, warnings %q", method, got, warnings)
		}
	}
}

// replaced writes something else than it is given.
type replaced struct {
	w    io.Writer
	data string
}

func (r *replaced) Write(p []byte) (int, error) { return len(p), nil }
func (r *replaced) Close() error                { _, err := io.WriteString(r.w, r.data); return err }

// Bare hashes and wide encodings are found in members too.
func TestUnpackHashes(t *testing.T) {
	var want []hidden
	for i, c := range codecs {
		data := append([]byte(strings.Repeat("\xff", i)), c.encode(hashB)...)
		first := i + bytes.IndexByte(data[i:], hashB[0])
		got, _ := deepOf(t, Unpack{}, nartest.File(gzipped(string(data))), hashB)
		want = []hidden{{"/", "", "gzip", InContents, int64(first), hashB}}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %+v, want %+v", c.name, got, want)
		}
	}
}

// A member that cannot be searched is a warning. The others are searched.
func TestUnpackWarns(t *testing.T) {
	packed := gzipped(filler + referenceText)
	damaged := []byte(zipped(zip.Deflate, file{"bad", filler + referenceText + filler}, file{"good", filler + referenceText}))
	damaged[len("PK..")+26+len("bad")+20] ^= 0xff
	encrypted := []byte(zipped(zip.Deflate, file{"secret", filler}))
	encrypted[bytes.LastIndex(encrypted, []byte("PK\x01\x02"))+8] |= 1
	bomb := gzipped(strings.Repeat("\x00", 4<<20))
	for name, test := range map[string]struct {
		deep  Unpack
		data  string
		found int
		want  []string
	}{
		"cut":             {Unpack{}, packed[:len(packed)-8], 1, []string{"/: decompress gzip: .*unexpected EOF"}},
		"not gzip":        {Unpack{}, "\x1f\x8b" + filler, 0, []string{"/: decompress gzip: "}},
		"damaged member":  {Unpack{}, string(damaged), 1, []string{"/!bad: "}},
		"encrypted":       {Unpack{}, string(encrypted), 0, []string{"/!secret: encrypted"}},
		"cut zip":         {Unpack{}, string(damaged[:len(damaged)-30]), 0, []string{"/: zip: not a valid zip file"}},
		"cut zip in gzip": {Unpack{}, gzipped(string(damaged[:len(damaged)-30]) + referenceText), 1, []string{"/: zip: not a valid zip file"}},
		"cut tar":         {Unpack{}, gzipped(tarred(file{"a", filler}, file{"b", referenceText + filler})[:len(filler)+3000]), 1, []string{"/!b: unexpected EOF"}},
		"depth":           {Unpack{Depth: 2}, gzipped(gzipped(gzipped(referenceText))), 0, []string{"/: packed more than 2 levels deep"}},
		"depth is enough": {Unpack{Depth: 3}, gzipped(gzipped(gzipped(referenceText))), 1, nil},
		"size":            {Unpack{Size: 100_000}, gzipped(filler + filler + referenceText), 0, []string{"/: expands to more than 100000 bytes"}},
		"size of all": {Unpack{Size: 400_000}, zipped(zip.Deflate, file{"a", filler + referenceText}, file{"b", filler + referenceText},
			file{"c", filler + referenceText}, file{"d", referenceText}), 2, []string{"/!c: expands to more than 400000 bytes"}},
		"ratio":             {Unpack{Ratio: 500, free: 1 << 20}, bomb, 0, []string{"/: expands more than 500:1"}},
		"ratio is enough":   {Unpack{Ratio: 2000, free: 1 << 20}, bomb, 0, nil},
		"under the minimum": {Unpack{Ratio: 500}, bomb, 0, nil},
	} {
		got, warnings := deepOf(t, test.deep, nartest.File(test.data))
		if len(got) != test.found {
			t.Errorf("%s: found %+v, want %d", name, got, test.found)
		}
		ok := len(warnings) == len(test.want)
		for i := range warnings {
			ok = ok && matches(test.want[i], warnings[i])
		}
		if !ok {
			t.Errorf("%s: warnings %q, want %q", name, warnings, test.want)
		}
	}
}

func matches(pattern, s string) bool {
	before, after, _ := strings.Cut(pattern, ".*")
	return strings.HasPrefix(s, before) && strings.HasSuffix(s, after)
}

func TestUnpackWarningsAreBounded(t *testing.T) {
	var files []file
	for i := range 2 * maxWarnings {
		files = append(files, file{fmt.Sprint(i, ".gz"), "\x1f\x8b not gzip"})
	}
	_, warnings := deepOf(t, Unpack{}, nartest.Dir{"a": nartest.File(tarred(files...)), "b": nartest.File(tarred(files...))})
	if len(warnings) != 2*maxWarnings {
		t.Errorf("%d warnings: %q", len(warnings), warnings)
	}
}

// Many small files that expand much have one pool of bytes together. It is not at the cost of others.
func TestUnpackPool(t *testing.T) {
	const size, bombs = 1 << 20, 20
	bomb := gzipped(strings.Repeat("\x00", size) + referenceText)
	files := nartest.Dir{"z": nartest.File(gzipped(referenceText))}
	for i := range bombs {
		files[fmt.Sprintf("bomb%02d", i)] = nartest.File(bomb)
	}
	got, warnings := deepOf(t, Unpack{Ratio: 200, pool: 3 * size}, files)
	searched := map[string]bool{}
	for _, h := range got {
		searched[h.path] = true
	}
	if n := len(searched); n < 3 || n > 6 || !searched["/z"] || len(warnings) < bombs-n {
		t.Errorf("%d files were searched: %v, %d warnings", n, searched, len(warnings))
	}
	for _, w := range warnings {
		if !strings.Contains(w, "expands more than 200:1, as other files did before") {
			t.Error(w)
		}
	}
}

// What follows a tar archive is looked into.
func TestUnpackAfterTar(t *testing.T) {
	for name, rest := range map[string]string{
		"gzip": gzipped(referenceText), "tar": tarred(file{"a", gzipped(referenceText)}), "zip": zipped(zip.Deflate, file{"a", filler + referenceText}),
	} {
		for _, data := range []string{tarred(file{"x", "y"}) + rest, gzipped(tarred(file{"x", "y"}) + rest)} {
			if got, warnings := deepOf(t, Unpack{}, nartest.File(data)); len(got) != 1 || warnings != nil {
				t.Errorf("%s: found %+v; warnings %q", name, got, warnings)
			}
		}
	}
}

// A member that the directory does not list is not passed over in silence, wherever it is.
func TestUnpackUnlistedMember(t *testing.T) {
	hidden, listed := zipped(zip.Deflate, file{"x", filler + referenceText}), zipped(zip.Deflate, file{"a", filler}, file{"b", filler})
	member := hidden[:strings.Index(hidden, "PK\x01\x02")]
	directory := strings.Index(listed, "PK\x01\x02")
	offset := len(listed) - 6 // in the end record
	inside := []byte(listed[:directory] + member + listed[directory:])
	binary.LittleEndian.PutUint32(inside[len(inside)-6:], binary.LittleEndian.Uint32([]byte(listed[offset:]))+uint32(len(member)))
	for name, test := range map[string]struct {
		data string
		want int
	}{
		"complete": {listed, 0}, "script": {"#!/bin/sh\n" + listed, 0}, "before": {member + listed, 1}, "two archives": {hidden + listed, 1}, "after": {string(inside), 1},
	} {
		_, warnings := deepOf(t, Unpack{}, nartest.File(test.data))
		if len(warnings) != test.want || test.want > 0 && !strings.Contains(warnings[0], "that its directory does not list") {
			t.Errorf("%s: warnings %q, want %d", name, warnings, test.want)
		}
	}
}

// A sparse member of a small archive may claim any size.
func TestUnpackSparse(t *testing.T) {
	nartest.Tool(t, "tar")
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", "truncate -s 20G big && tar --sparse -cf - big | gzip -c")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("no sparse archive: %v", err)
	}
	_, warnings := deepOf(t, Unpack{free: 1 << 20}, nartest.File(out))
	if len(warnings) != 1 || !strings.HasPrefix(warnings[0], "/!big: expands ") {
		t.Errorf("warnings %q", warnings)
	}
}

// An error of Found ends the search, wherever it came from, and nothing is
// left running.
func TestUnpackFoundFails(t *testing.T) {
	before := runtime.NumGoroutine()
	broken := errors.New("broken")
	for _, data := range []string{gzipped(referenceText), zipped(zip.Deflate, file{"x", referenceText}, file{"y", referenceText})} {
		f, _ := collect(t)
		calls := 0
		f.Found = func(*Reference) error { calls++; return broken }
		f.Unpack = &Unpack{Warn: func(path string, err error) { t.Errorf("warned of %s: %v", path, err) }}
		archive := nartest.Tree(nartest.File(data))
		if err := f.Archive(nar.NewReader(bytes.NewReader(archive))); !errors.Is(err, broken) || calls != 1 {
			t.Errorf("got error %v after %d calls", err, calls)
		}
		// Cut anywhere, too.
		for cut := range archive {
			f.Found = func(*Reference) error { return nil }
			if err := f.Archive(nar.NewReader(bytes.NewReader(archive[:cut]))); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("cut at %d: got error %v", cut, err)
			}
		}
		// The next input is not the worse for it.
		if err := f.File(nar.NewPath("p"), strings.NewReader("x")); err != nil {
			t.Errorf("next: %v", err)
		}
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines, %d before", after, before)
	}
}

// Whatever is in a file, looking into it does not fail, does not change what
// is found in it, and ends.
func FuzzUnpack(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 300)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	for _, data := range []string{
		gzipped(referenceText), zipped(zip.Deflate, file{"x", referenceText}), gzipped(tarred(file{"x", referenceText})),
		compressed(f, compression.Xz, referenceText), compressed(f, compression.Zstd, referenceText), "BZh9" + string(noise),
		gzipped(tarred(file{"a.jar", zipped(zip.Deflate, file{"x", gzipped(referenceText)})})),
	} {
		f.Add([]byte(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		plain, want := collect(t, hashA)
		if err := plain.File(nar.NewPath("p"), bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		deep, _ := collect(t, hashA)
		var got []seen
		deep.Found = func(m *Reference) error {
			if m.Packed == "" {
				what := string(m.Base)
				if m.Base == nil {
					what = hashA
				}
				got = append(got, seen{m.Path.String(), m.Part, m.Offset, m.Encoding, what})
			}
			return nil
		}
		deep.Unpack = &Unpack{Size: 1 << 20}
		if err := deep.File(nar.NewPath("p"), bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		same(t, got, *want)
	})
}
