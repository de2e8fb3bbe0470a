package refs

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"testing"

	"narseal/filter/rules"
	"narseal/filter/rules/rulestest"
	"narseal/filter/spill"
	"narseal/nar"
	"narseal/nar/compression"
	"narseal/nar/nartest"
)

// places counts the references by Member, Packed and Part.
func places(all []hidden) map[string]int {
	n := map[string]int{}
	for _, h := range all {
		n[strings.Join([]string{h.member, h.packed, string(h.part), h.what}, " ")]++
	}
	return n
}

// zipFile makes an archive with comments, extra fields and bytes before it.
func zipFile(t *testing.T, before, comment string, headers ...*zip.FileHeader) string {
	t.Helper()
	var b bytes.Buffer
	b.WriteString(before)
	w := zip.NewWriter(&b)
	w.SetOffset(int64(len(before)))
	for _, h := range headers {
		m, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		m.Write([]byte("some text, longer than the method makes it: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"))
	}
	if err := w.SetComment(comment); err != nil {
		t.Fatal(err)
	}
	w.Close()
	return b.String()
}

// gzipNamed makes a gzip stream with all that its header can have.
func gzipNamed(name, comment, extra, data string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Name, w.Comment, w.Extra = name, comment, []byte(extra)
	w.Write([]byte(data))
	w.Close()
	return b.String()
}

// What packed files hold besides the contents of members is found too, in whatever they are packed, and once.
func TestUnpackFindsAllBytes(t *testing.T) {
	ref := "/nix/store/" + hashA + "-n "
	extra := "\x99\x99" + string(binary.LittleEndian.AppendUint16(nil, uint16(len(ref)))) + ref
	var pax bytes.Buffer
	tw := tar.NewWriter(&pax)
	tw.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg, Mode: 0o644, Format: tar.FormatPAX,
		PAXRecords: map[string]string{"SCHILY.xattr.user.path": ref, "comment": ref}})
	tw.Close()
	owned := tarOf(t, &tar.Header{Name: "x", Typeflag: tar.TypeReg, Mode: 0o644, Uname: hashA, Format: tar.FormatUSTAR})
	long := strings.Repeat("d/", 80) + hashA + "-n"
	zstd := compressed(t, compression.Zstd, "text")
	skippable := "\x50\x2a\x4d\x18" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(ref)))) + ref
	stored := &zip.FileHeader{Name: hashA, Method: zip.Store}
	deflated := &zip.FileHeader{Name: hashA, Method: zip.Deflate}

	for name, test := range map[string]struct {
		data string // to be packed by gzip
		want map[string]int
	}{
		"short file":            {gzipped(rulestest.As), map[string]int{" gzip,gzip contents " + rulestest.As: 1}},
		"zipapp's first line":   {zipFile(t, "#!"+ref+"\n", "", &zip.FileHeader{Name: "x"}), map[string]int{" gzip contents " + hashA: 1}},
		"zip comment":           {zipFile(t, "", ref, &zip.FileHeader{Name: "x"}), map[string]int{" gzip contents " + hashA: 1}},
		"zip member comment":    {zipFile(t, "", "", &zip.FileHeader{Name: "x", Comment: ref}), map[string]int{" gzip contents " + hashA: 1}},
		"zip member extra":      {zipFile(t, "", "", &zip.FileHeader{Name: "x", Extra: []byte(extra)}), map[string]int{" gzip contents " + hashA: 2}}, // twice in the archive
		"zip member name":       {zipFile(t, "", "", deflated), map[string]int{"!" + hashA + " gzip,zip name " + hashA: 1}},
		"zip stored name":       {zipFile(t, "", "", stored), map[string]int{"!" + hashA + " gzip,zip name " + hashA: 1}},
		"zip stored member":     {zipped(zip.Store, file{"x", ref}), map[string]int{"!x gzip,zip contents " + hashA: 1}},
		"gzip name":             {gzipNamed(hashA, "", "", "x"), map[string]int{" gzip contents " + hashA: 1}},
		"gzip comment":          {gzipNamed("", ref, "", "x"), map[string]int{" gzip contents " + hashA: 1}},
		"gzip extra":            {gzipNamed("", "", ref, "x"), map[string]int{" gzip contents " + hashA: 1}},
		"second gzip member":    {gzipped("x") + gzipNamed(hashA, "", "", "x"), map[string]int{" gzip contents " + hashA: 1}},
		"zstd skippable frame":  {zstd + skippable, map[string]int{" gzip contents " + hashA: 1}},
		"tar pax records":       {pax.String(), map[string]int{" gzip contents " + hashA: 2}},
		"tar owner":             {owned, map[string]int{" gzip contents " + hashA: 1}},
		"tar name":              {tarred(file{hashA, "x"}), map[string]int{"!" + hashA + " gzip,tar name " + hashA: 1}},
		"tar long name":         {tarred(file{long, "x"}), map[string]int{"!" + long + " gzip,tar name " + hashA: 1}},
		"tar name and contents": {tarred(file{hashA, ref}), map[string]int{"!" + hashA + " gzip,tar name " + hashA: 1, "!" + hashA + " gzip,tar contents " + hashA: 1}},
		"after a tar":           {tarred(file{"x", "x"}) + ref, map[string]int{" gzip contents " + hashA: 1}},
		"in damaged gzip":       {"\x1f\x8b" + filler + ref, map[string]int{" gzip contents " + hashA: 1}},
	} {
		for _, many := range []bool{false, true} {
			data := test.data
			want := map[string]int{}
			for place, n := range test.want {
				if many { // one level more
					place = "!m" + strings.Replace(place, " gzip", " gzip,tar", 1)
				}
				want[place] = n
			}
			if many {
				data = tarred(file{"m", data})
			}
			got, _ := deepOf(t, Unpack{}, nartest.File(gzipped(data)), hashA, rulestest.As)
			got = slices.DeleteFunc(got, func(h hidden) bool { return strings.HasSuffix(h.what, "-n") }) // the hash is enough
			if n := places(got); !sameCounts(n, want) {
				t.Errorf("%s: found %v, want %v", name, n, want)
			}
		}
	}
}

func tarOf(t *testing.T, h *tar.Header) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	w.Close()
	return b.String()
}

func sameCounts(a, b map[string]int) bool {
	if len(a) != len(b) {
		return false
	}
	for k, n := range a {
		if b[k] != n {
			return false
		}
	}
	return true
}

// A file that is shorter than a hash part may expand to one.
func TestUnpackShortFile(t *testing.T) {
	data := gzipped(rulestest.As)
	if len(data) >= 32 {
		data = compressed(t, compression.Zstd, rulestest.As)
	}
	if len(data) >= 32 {
		t.Fatalf("%d bytes", len(data))
	}
	got, warnings := deepOf(t, Unpack{}, nartest.File(data), rulestest.As)
	if len(got) != 1 || got[0].what != rulestest.As || warnings != nil {
		t.Errorf("found %+v, warnings %q", got, warnings)
	}
}

// What stands in an archive in plain sight is not hidden as well: names in a zip archive, whether a member is packed or
// not.
func TestUnpackNamesInPlainSight(t *testing.T) {
	for _, method := range []uint16{zip.Store, zip.Deflate} {
		data := zipFile(t, "", hashA, &zip.FileHeader{Name: "a/" + hashA, Method: method, Comment: hashA})
		if got, _ := deepOf(t, Unpack{}, nartest.File(data), hashA); got != nil {
			t.Errorf("method %d: %+v", method, got)
		}
		f, plain := collect(t, hashA)
		if err := f.File(nar.NewPath("f"), strings.NewReader(data)); err != nil || len(*plain) != 4 {
			t.Errorf("method %d: %d in plain sight, %v", method, len(*plain), err)
		}
	}
}

// A member whose directory entry is wrong about sizes is looked into, and is a warning.
func TestUnpackWrongSizes(t *testing.T) {
	data := []byte(zipped(zip.Deflate, file{"x", referenceText}))
	entry := bytes.LastIndex(data, []byte(zipEntry))
	for _, size := range []byte{0, 1, 200} {
		data[entry+24] = size
		got, warnings := deepOf(t, Unpack{}, nartest.File(data))
		if len(got) != 1 || len(warnings) != 1 {
			t.Errorf("size %d: found %+v, warnings %q", size, got, warnings)
		}
	}
}

// The directory of an archive with more members than 16 bits count, and with offsets of 64 bits.
func TestUnpackManyMembers(t *testing.T) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := range 70_000 {
		m, _ := w.CreateHeader(&zip.FileHeader{Name: "x", Method: zip.Store})
		if i == 69_999 {
			m.Write([]byte(gzipped(referenceText)))
		}
	}
	w.Close()
	got, warnings := deepOf(t, Unpack{}, nartest.File(b.String()))
	if len(got) != 1 || warnings != nil {
		t.Errorf("found %+v, warnings %q", got, warnings)
	}
}

// Every occurrence of every denied hash is reported, overlapping ones too, also where it is packed.
func TestScannerOverlaps(t *testing.T) {
	first, second := hashA, hashA[1:]+"0"
	text := "x" + first + "0" + rulestest.As + "a"
	for _, c := range codecs {
		data := append([]byte("\xff"), c.encode(text)...)
		f, got := collect(t, first, second, rulestest.As)
		if err := f.File(nar.NewPath("f"), bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		var want []seen
		for _, w := range []struct {
			at   int
			hash string
		}{{1, first}, {2, second}, {34, rulestest.As}, {35, rulestest.As}} {
			at := bytes.IndexByte(data[1:], 'x') + 1 + w.at*c.enc.Width()
			want = append(want, seen{"f", InContents, int64(at), c.enc, w.hash})
		}
		same(t, *got, want)
		deep, _ := deepOf(t, Unpack{}, nartest.File(gzipped(string(data))), first, second, rulestest.As)
		if len(deep) != len(want) {
			t.Errorf("%s, packed: %+v", c.name, deep)
		}
	}
}

// A gate sees that something was not searched.
func TestScannerIncomplete(t *testing.T) {
	encrypted := []byte(zipped(zip.Deflate, file{"secret", filler}))
	encrypted[bytes.LastIndex(encrypted, []byte(zipEntry))+8] |= 1
	for name, test := range map[string]struct {
		unpack              Unpack
		data                string
		limited, unreadable int64
	}{
		"complete":  {Unpack{}, gzipped("x"), 0, 0},
		"depth":     {Unpack{Depth: 1}, gzipped(gzipped("x")), 1, 0},
		"size":      {Unpack{Size: 10}, gzipped(filler), 1, 0},
		"ratio":     {Unpack{Ratio: 2, free: 1}, gzipped(filler), 1, 0},
		"memory":    {Unpack{Memory: 1 << 20}, compressed(t, compression.Zstd, filler), 1, 0},
		"encrypted": {Unpack{}, string(encrypted), 0, 1},
		"damaged":   {Unpack{}, "\x1f\x8b not gzip", 0, 1},
		"many":      {Unpack{}, tarred(slices.Repeat([]file{{"x", "\x1f\x8b not gzip"}}, 50)...), 0, 50},
	} {
		f, _ := collect(t, hashA)
		f.Unpack = &test.unpack
		limited := int64(0)
		test.unpack.Warn = func(_ string, err error) {
			if isLimit(err) {
				limited++
			}
		}
		archive := nartest.Tree(nartest.Dir{"a": nartest.File(test.data), "b": nartest.File("text")})
		if err := f.Archive(nar.NewReader(bytes.NewReader(archive))); err != nil {
			t.Fatal(err)
		}
		if l, u := f.Incomplete(); l != test.limited || u != test.unreadable || limited != test.limited {
			t.Errorf("%s: %d limited (%d warnings), %d unreadable, want %d and %d", name, l, limited, u, test.limited, test.unreadable)
		}
	}
	if l, u := (&Scanner{Encodings: rules.AllEncodings}).Incomplete(); l != 0 || u != 0 {
		t.Error("a Scanner that searched nothing is incomplete")
	}
}

// A zip archive that is too large, or has too large a directory, is a limit.
func TestUnpackZipLimits(t *testing.T) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for range maxZipDirectory/(zipEntrySize+1) + 1 {
		w.CreateHeader(&zip.FileHeader{Name: "n"})
	}
	w.Close()
	data := b.Bytes()
	long := io.MultiReader(strings.NewReader(zipLocal), io.LimitReader(zeroReader{}, maxZip))
	for want, in := range map[string]io.Reader{"its directory has more than 16777216 bytes": bytes.NewReader(data), "a zip archive of more than 268435456 bytes": long} {
		f, _ := collect(t)
		var warned error
		f.Unpack = &Unpack{
			Warn:  func(_ string, err error) { warned = err },
			Spill: spill.Options{Memory: 1 << 20, Open: func() (spill.File, error) { return discard{bytes.NewReader(data)}, nil }},
		}
		if err := f.File(nar.NewPath("f"), in); err != nil {
			t.Fatal(err)
		}
		if !isLimit(warned) || warned.Error() != want {
			t.Errorf("got warning %v, want %q", warned, want)
		}
	}
}

// discard is a spill file that has its contents already.
type discard struct{ *bytes.Reader }

func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (discard) Close() error                           { return nil }

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
