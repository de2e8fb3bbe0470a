package narinfo

import (
	"crypto/sha256"
	"strings"
	"testing"

	"narseal/nar/compression"
)

// The name of a NAR is one for every kind of store, and in a URL it is the same.
func TestIsNAR(t *testing.T) {
	for name, want := range map[string]bool{
		"nar/a.nar": true, "a.nar.xz": true, "nar/a.nar.zst": true, "nar/a.nar?hash=b%2Fc": true, "nar/a-b.nar.bz2?x=y&z": true, "x/y/a.nar": true,
		"nar/%2e%2e/%2e%2e/x.nar": false, "nar/%00x.nar": false, "nar/a%2Enar": false, "nar/a.nar#b": false, "nar/a.nar?b#c": false,
		"evil.html?x.nar": false, "evil.html?/x.nar": false, "nar/a.nar?b=/../c.nar": false, "nar/a.nar?b=/c.nar": false,
		"nar/a.nar.html": false, "nar/a.narinfo": false, "a.nar.ls": false, "nar/a.nar.": false, "nar/a.narx": false,
		"log/a.nar": false, "debuginfo/a.nar": false, "nar/.a.nar": false, "../a.nar": false, "/a.nar": false, "nar//a.nar": false, `nar\a.nar`: false,
		"": false, "nar": false, "nar/a.nar\n": false, "nar/ä.nar": false,
		// A directory is none that another object's name belongs to, or that a file system cannot have.
		"nix-cache-info/a.nar": false, "x/Nix-Cache-Info/a.nar": false, strings.Repeat("a", 32) + ".narinfo/a.nar": false,
		strings.Repeat("a", 32) + ".ls/a.nar": false, "nar/b.nar/a.nar": false, "index.html/a.nar": false, "LOG/a.nar": false, "x/log/a.nar": true,
		"nar/" + strings.Repeat("x", 251) + ".nar": true, "nar/" + strings.Repeat("x", 252) + ".nar": false,
		strings.Repeat("x", 256) + "/a.nar": false, "nar/a.nar?" + strings.Repeat("x", 249): true, "nar/a.nar?" + strings.Repeat("x", 250): false,
	} {
		if got := IsNAR(name); got != want {
			t.Errorf("%q: got %v", name, got)
		}
	}
}

// What a NAR is called in another cache depends only on its contents.
func TestFileName(t *testing.T) {
	// The hash of nothing, as nix-hash --type sha256 --base32 prints it.
	const hash = "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"
	nothing := Sum{Hash: sha256.Sum256(nil)}
	for name, want := range map[string][2]string{ // here, elsewhere
		"nar/" + hash + ".nar.xz":                               {"nar/" + hash + ".nar.xz", "nar/" + hash + ".nar.xz"},
		"nar/" + hash + ".nar.zstd":                             {"nar/" + hash + ".nar.zstd", "nar/" + hash + ".nar.zstd"},
		hash + ".nar":                                           {hash + ".nar", hash + ".nar"},
		"a.nar.xz":                                              {hash + ".nar.xz", hash + ".nar.xz"},
		"nar/x/" + hash + ".nar.br":                             {"nar/x/" + hash + ".nar.br", "nar/" + hash + ".nar.br"},
		"nar/" + hash + ".nar?x=.nar":                           {"nar/" + hash + ".nar", "nar/" + hash + ".nar"},
		"NAR/" + strings.ToUpper(hash) + ".nar":                 {"NAR/" + hash + ".nar", "nar/" + hash + ".nar"},
		"nar/" + hash + ".x.nar":                                {"nar/" + hash + ".nar", "nar/" + hash + ".nar"},
		"nar/" + strings.Replace(hash, "0", "1", 1) + ".nar.xz": {"nar/" + hash + ".nar.xz", "nar/" + hash + ".nar.xz"},
		"nar/" + strings.Repeat("x", 251) + ".nar":              {"nar/" + hash + ".nar", "nar/" + hash + ".nar"},
	} {
		n := &Info{URL: name, Compression: compression.Xz}
		for i, elsewhere := range []bool{false, true} {
			if got := n.FileName(nothing, compression.Xz, elsewhere); got != want[i] || !IsNAR(got) {
				t.Errorf("%s, elsewhere %v: got %s, want %s", name, elsewhere, got, want[i])
			}
		}
		if got := n.FileName(nothing, compression.Zstd, true); !strings.HasSuffix(got, hash+".nar.zst") || !IsNAR(got) {
			t.Errorf("%s, as zstd: got %s", name, got)
		}
	}
}

// A store directory is printed as it is.
func TestStoreDir(t *testing.T) {
	for dir, want := range map[string]bool{
		"/nix/store": true, "/opt/my store": true, "/ä": true,
		"/x\x1b[2J": false, "/x\u009b": false, "/x\xff": false, "/x\u202e": false, "/x\ty": false, "x": false, "/x/": false,
	} {
		if _, err := ParseCacheInfo([]byte("StoreDir: " + dir + "\n")); (err == nil) != want {
			t.Errorf("%q: %v", dir, err)
		}
	}
}
