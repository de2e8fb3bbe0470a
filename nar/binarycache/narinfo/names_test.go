package narinfo

import "testing"

// The name of a NAR is one for every kind of store, and in a URL it is the same.
func TestIsNAR(t *testing.T) {
	for name, want := range map[string]bool{
		"nar/a.nar": true, "a.nar.xz": true, "nar/a.nar.zst": true, "nar/a.nar?hash=b%2Fc": true, "nar/a-b.nar.bz2?x=y&z": true, "x/y/a.nar": true,
		"nar/%2e%2e/%2e%2e/x.nar": false, "nar/%00x.nar": false, "nar/a%2Enar": false, "nar/a.nar#b": false, "nar/a.nar?b#c": false,
		"evil.html?x.nar": false, "evil.html?/x.nar": false, "nar/a.nar?b=/../c.nar": false, "nar/a.nar?b=/c.nar": false,
		"nar/a.nar.html": false, "nar/a.narinfo": false, "a.nar.ls": false, "nar/a.nar.": false, "nar/a.narx": false,
		"log/a.nar": false, "debuginfo/a.nar": false, "nar/.a.nar": false, "../a.nar": false, "/a.nar": false, "nar//a.nar": false, `nar\a.nar`: false,
		"": false, "nar": false, "nar/a.nar\n": false, "nar/ä.nar": false,
	} {
		if got := IsNAR(name); got != want {
			t.Errorf("%q: got %v", name, got)
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
