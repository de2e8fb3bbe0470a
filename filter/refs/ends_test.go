package refs

import (
	"archive/zip"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

// layers pack a file in different ways, each after some text.
var layers = map[string]func(string) string{
	"gzip":      func(s string) string { return gzipped(s) },
	"tar":       func(s string) string { return tarred(file{"plain", plainText}, file{"inner", s}) },
	"zip":       func(s string) string { return zipped(zip.Deflate, file{"plain", plainText}, file{"inner", s}) },
	"stored":    func(s string) string { return zipped(zip.Store, file{"plain", plainText}, file{"inner", s}) },
	"after tar": func(s string) string { return tarred(file{"plain", plainText}) + s },
}

var plainText = strings.Repeat("plain", 205)[:1024] // no padding in a tar

// checkSearched checks that the reference at the end of data is found, or there is a warning.
func checkSearched(t *testing.T, u Unpack, data, format string, args ...any) {
	t.Helper()
	if got, warnings := deepOf(t, u, nartest.File(data)); len(got) == 0 && len(warnings) == 0 {
		t.Fatalf("nothing is found without a warning: "+format, args...)
	}
}

// A limit ends the search with a warning, wherever it is reached.
func TestUnpackLimitAnywhere(t *testing.T) {
	for outer, pack := range layers {
		for inner, packInner := range layers {
			data := pack(packInner(gzipped(referenceText)))
			if got, warnings := deepOf(t, Unpack{}, nartest.File(data)); len(got) != 1 || warnings != nil {
				t.Fatalf("%s in %s: found %+v, warnings %q", inner, outer, got, warnings)
			}
			for size := int64(1); size < 10_000; size += 151 {
				checkSearched(t, Unpack{Size: size}, data, "%s in %s, %d bytes", inner, outer, size)
			}
			for size := int64(1); size < 3_000; size += 151 {
				checkSearched(t, Unpack{Ratio: 1, free: size, pool: 1 << 30}, data, "%s in %s, %d bytes at any ratio", inner, outer, size)
			}
		}
	}
}

// A layer that ends early, or has a wrong checksum, is reported, wherever it is.
func TestUnpackErrorAnywhere(t *testing.T) {
	for outer, pack := range layers {
		for inner, packInner := range layers {
			data := packInner(gzipped(referenceText))
			for cut := 1; cut < len(data); cut += 29 {
				// A tar may end after any member, and what is too short for a magic number is not packed.
				if inner == "after tar" || cut%512 == 0 || packing([]byte(data[:cut])) == "" {
					continue
				}
				checkSearched(t, Unpack{}, pack(data[:cut]), "%s in %s, %d bytes of %d", inner, outer, cut, len(data))
			}
		}
		wrong := []byte(zipped(zip.Store, file{"a", "x"}))
		wrong[strings.LastIndex(string(wrong), zipEntry)+16] ^= 1
		if _, warnings := deepOf(t, Unpack{}, nartest.File(pack(string(wrong)))); len(warnings) != 1 {
			t.Errorf("a wrong checksum in %s: warnings %q", outer, warnings)
		}
	}
}

// What follows a large hole in a tar is not passed over in silence.
func TestUnpackAfterHole(t *testing.T) {
	hole := paxed("28 GNU.sparse.size=20971520\n26 GNU.sparse.numblocks=1\n29 GNU.sparse.map=20971520,0\n", "")
	data := strings.TrimSuffix(hole, strings.Repeat("\x00", 1024)) + tarred(file{"x.gz", gzipped(referenceText)})
	for name, data := range map[string]string{"tar": data, "gzip": gzipped(data), "tar in tar": tarred(file{"in", data})} {
		if got, warnings := deepOf(t, Unpack{}, nartest.File(data)); len(got) != 1 || warnings != nil {
			t.Errorf("%s: found %+v, warnings %q", name, got, warnings)
		}
		if _, warnings := deepOf(t, Unpack{free: 1 << 20}, nartest.File(data)); len(warnings) != 1 || !strings.Contains(warnings[0], "!x: expands more than 1000:1") {
			t.Errorf("%s: warnings %q", name, warnings)
		}
	}
}
