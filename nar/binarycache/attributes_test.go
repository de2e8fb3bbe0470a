package binarycache_test

import (
	"maps"
	"strings"
	"testing"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
)

// What is written has the content types that Nix uses, and else the attributes of what it replaces, or is copied from.
func TestAttributes(t *testing.T) {
	base, other := hash("a")+"-a", hash("b")+"-b"
	files := objects(t, member{base: base, nar: nar("broken"), listing: `{"version":1,"root":{}}`}, member{base: other, nar: nar("fine")})
	kept := map[string]string{"Cache-Control": "max-age=60", "X-Amz-Storage-Class": "STANDARD_IA"}
	kinds := map[string]string{".narinfo": "text/x-nix-narinfo", ".ls": "application/json", ".nar.zst": "application/x-nix-nar", "nix-cache-info": "text/x-nix-cache-info"}
	for _, output := range []bool{false, true} {
		m := cachetest.NewMemory(nil)
		for name, content := range files {
			attributes := maps.Clone(kept)
			attributes["Content-Type"] = "binary/octet-stream"
			m.Write(binarycache.Object{Name: name, Attributes: attributes}, content)
		}
		o := binarycache.RewriteOptions{}
		repairing(&o)
		at := m
		if output {
			at = cachetest.NewMemory(nil)
			o.Output = at
		}
		if sum, err := binarycache.Rewrite(t.Context(), m, o); err != nil || statuses(sum) != "changed=1 unchanged=1" {
			t.Fatal(statuses(sum), err)
		}
		for name, content := range at.Objects() {
			got, err := at.Stat(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			want := maps.Clone(kept)
			want["Content-Type"] = "binary/octet-stream" // of what stays as it was
			if files[name] != content || output {
				for end, kind := range kinds {
					if strings.HasSuffix(name, end) {
						want["Content-Type"] = kind
					}
				}
			}
			if !maps.Equal(got.Attributes, want) {
				t.Errorf("output %v: %s: got %v, want %v", output, name, got.Attributes, want)
			}
		}
		if _, err := at.Stat(t.Context(), "nix-cache-info"); err != nil {
			t.Errorf("output %v: %v", output, err)
		}
	}

	// A directory has no attributes.
	m := cachetest.NewMemory(nil)
	if _, err := binarycache.Rewrite(t.Context(), memoryCache(t, closure()...), binarycache.RewriteOptions{Output: m}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{hash("a") + ".narinfo", hash("a") + ".ls", "nix-cache-info"} {
		if o, err := m.Stat(t.Context(), name); err != nil || o.Attributes["Content-Type"] == "" {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
	}
}
