package macho_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"narseal/macho"
)

// TestReportJSON pins the names and forms of a report's fields.
func TestReportJSON(t *testing.T) {
	for _, test := range []struct {
		name, json string
		damage     func(b []byte)
	}{
		{"dual-x86_64", `{"arch":"x86_64","offset":0,"status":"stale","signature":"adhoc","codeDirectories":[` +
			`{"slot":0,"hashType":"sha1","pageSize":4096,"slots":5,"stale":[1],"staleSpecial":[2]},` +
			`{"slot":4096,"hashType":"sha256","pageSize":4096,"slots":5,"stale":[1],"staleSpecial":[2]}],` +
			`"reason":"stale code slots: 2, special slots: 2"}`,
			func(b []byte) { b[5000] ^= 1; b[bytes.Index(b, []byte{0xfa, 0xde, 0x0c, 0x01})+20] ^= 1 }},
		{"lld-arm64", `{"arch":"arm64","offset":0,"status":"valid","signature":"linker-signed","codeDirectories":[` +
			`{"slot":0,"hashType":"sha256","pageSize":4096,"slots":13,"stale":[],"staleSpecial":[]}],"reason":""}`,
			func([]byte) {}},
		{"lld-arm64", `{"arch":"arm64","offset":0,"status":"unsigned","signature":"none","codeDirectories":[],"reason":""}`,
			func(b []byte) { b[bytes.LastIndex(b[:4096], []byte{0x1d, 0, 0, 0, 16})] = 0x26 }},
	} {
		data := readGolden(t, "A", test.name)
		test.damage(data)
		got, err := json.Marshal(mustVerify(t, macho.Bytes(data)).Slices[0])
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != test.json {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.json)
		}
	}
}

func TestStatusOK(t *testing.T) {
	for status, want := range map[macho.Status]bool{
		macho.StatusValid: true, macho.StatusRepaired: true, macho.StatusUnsigned: true,
		macho.StatusStale: false, macho.StatusCMS: false, macho.StatusMalformed: false, macho.StatusUnsupported: false,
		macho.StatusRefused: false, macho.StatusBundle: false, "": false,
	} {
		if status.OK() != want {
			t.Errorf("%q is OK: %v, want %v", status, status.OK(), want)
		}
	}
}

func TestHashTypeNames(t *testing.T) {
	got, err := json.Marshal([]macho.HashType{macho.SHA1, macho.SHA256, macho.SHA256Truncated, macho.SHA384, macho.SHA512, 9})
	if want := `["sha1","sha256","sha256-truncated","sha384","sha512","type-9"]`; err != nil || string(got) != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
}

// equalReports reports whether two reports are the same.
func equalReports(a, b *macho.Report) bool { return reflect.DeepEqual(a, b) }
