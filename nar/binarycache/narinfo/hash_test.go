package narinfo

import (
	"crypto/rand"
	"testing"

	"github.com/nix-community/go-nix/pkg/nixbase32"
	"github.com/nix-community/go-nix/pkg/nixhash"
)

// The usual form is read and written as go-nix does it, and whatever go-nix refuses is refused.
func TestUsualHash(t *testing.T) {
	for range 1000 {
		var want [32]byte
		rand.Read(want[:])
		text := "sha256:" + nixbase32.EncodeToString(want[:])
		if got, ok := parseUsual(text); !ok || got != want || HashText(want) != text {
			t.Fatalf("%s: got %x, %v, written as %s", text, got, ok, HashText(want))
		}
		at := len(sha256Prefix) + int(want[0])%sha256TextLen
		for c := range 256 {
			other := text[:at] + string([]byte{byte(c)}) + text[at+1:]
			theirs, err := nixhash.ParseAny(other, nil)
			got, ok := parseUsual(other)
			if ok != (err == nil) || ok && string(got[:]) != string(theirs.Digest()) {
				t.Fatalf("%q: got %x, %v, go-nix says %v, %v", other, got, ok, theirs, err)
			}
		}
	}
	for _, text := range []string{"", "sha256:", "sha512:" + HashText([32]byte{})[7:], "sha256-" + HashText([32]byte{})[7:], HashText([32]byte{})[7:]} {
		if _, ok := parseUsual(text); ok {
			t.Errorf("%q is taken", text)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse([]byte(published), "/nix/store"); err != nil {
			b.Fatal(err)
		}
	}
}
