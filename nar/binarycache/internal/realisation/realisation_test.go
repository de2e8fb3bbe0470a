package realisation

import (
	"encoding/json"
	"testing"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"
)

// The signatures are those that Nix has made: nix copy --to file://…?secret-key=… of a content-addressed derivation that
// depends on two others, for 2.34 of one alone. The keys were made for this test.
func TestSign(t *testing.T) {
	for name, c := range map[string]struct{ key, realisation string }{
		"2.8": {"k-1:R+IwNwiOBlFTCeUZrgGojhZeIC5U1YePwH7YKxbTO5kfw6vZHL8VQDPQ1skH3279YfUVw03nUuXqxdfRyyDp3Q==",
			`{"dependentRealisations":{"sha256:d957f7675e25e7addb171a6d7167573468223744a9c5130c449c83d1e7105d6c!out":"16fg9mfhhvchiz4zcsnqigs8m5kvxl1q-dep2","sha256:ee5fc62374a6b7060615f39f1d33dd3c99e49cdaef9f58cb3f09cbce776afb80!out":"m9478dsha9hvvk951vsfpngf12lwscbd-dep"},"id":"sha256:efbca7384ee4d53382df87dec7f0047979d977e2d0417a2956cb23b3ad8468fa!out","outPath":"9d58k6s2ar9ja14a2fi69i285i83fwqw-ca","signatures":["k-1:ZMrL3FHoOsRXNVkmV/xZRsQNhYLNje+Bx8gevk4DKHmyNIgZurHgwqpVVuGpbJZ7dcjcyo1APOP+Rg3Eg+GIAw=="]}`},
		"2.26": {"k-1:iQ8Z75qGn8xkn+rbauhmx7/V8DKxBTUuGA1LxLKwu23xxZ1MgRxamG3IpEKzYryDXQMTJ7SEk8Xfm/oBsxGhdg==",
			`{"dependentRealisations":{"sha256:d957f7675e25e7addb171a6d7167573468223744a9c5130c449c83d1e7105d6c!out":"g9l9826hhpwq3mfy2v8g1x9qbf390hls-dep2","sha256:ee5fc62374a6b7060615f39f1d33dd3c99e49cdaef9f58cb3f09cbce776afb80!out":"sahhv1krzgdxrwn1var1wpiynb52nc9w-dep"},"id":"sha256:a087652361f4b8a9846e1845d00137dfd66e4237aabbca8040232977442eb0ce!out","outPath":"68j264k0sp6way3dz6yd7bn9zkca5hvm-ca","signatures":["k-1:TX4A13W97Wik+xoZ5/xPDQldhc7wWFIjkD9CEhHtxhTArU268JbW1vJl45nkMxK5aVBAbddsKA6dUPItwX3tCA=="]}`},
		"2.34": {"k-1:B97d43P6bqKKz/j72Y40QhaNiubgN13z2D6RF6OyElNDdXIK0gqVPpMknAOD38Rf2KIfLaqStH1J1WNxZXcr8w==",
			`{"dependentRealisations":{},"id":"sha256:a36cbafd4ce4b64b5e678f6ba980d0ac56819029c12df45623c1cb64f225d489!out","outPath":"knxj1zn65pkzij8zccykkl3rdvxxp8lc-ca","signatures":["k-1:RsAFeetOZnhHaOXtkrQfgqvfxPrdx7H13rjizQO6L7Y6hRwb+/nEskHAEH8F4WEnQPSWGMkDqdzJBqyvg9HAAQ=="]}`},
	} {
		key, err := signature.LoadSecretKey(c.key)
		if err != nil {
			t.Fatal(err)
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal([]byte(c.realisation), &members); err != nil {
			t.Fatal(err)
		}
		want := string(members["signatures"])
		if got, err := Sign(members, []signature.SecretKey{key}); err != nil || string(got) != want {
			t.Errorf("Nix %s: got %s, %v, want %s", name, got, err, want)
		}
		if string(members["dependentRealisations"]) == "{}" {
			delete(members, "dependentRealisations") // older ones have none
			if got, err := Sign(members, []signature.SecretKey{key}); err != nil || string(got) != want {
				t.Errorf("Nix %s, without dependentRealisations: got %s, %v, want %s", name, got, err, want)
			}
		}
		if got, err := Sign(members, nil); err != nil || string(got) != "[]" {
			t.Errorf("without a key: %s, %v", got, err)
		}
		for _, other := range []string{`[]`, `{"a":{"outPath":"b"}}`} {
			members["dependentRealisations"] = json.RawMessage(other)
			if got, err := Sign(members, []signature.SecretKey{key}); err != nil || string(got) != "[]" {
				t.Errorf("dependentRealisations %s: %s, %v", other, got, err)
			}
		}
	}
}
