package cachetest

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Sign adds to a path the signature of a secret key, as Nix makes it (src/libstore/path-info.cc).
func Sign(t testing.TB, p *Path, secret string) {
	t.Helper()
	dir := p.StoreDir
	if dir == "" {
		dir = "/nix/store"
	}
	refs := slices.Sorted(slices.Values(p.References))
	for i := range refs {
		refs[i] = dir + "/" + refs[i]
	}
	name, text, _ := strings.Cut(secret, ":")
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) != ed25519.PrivateKeySize {
		t.Fatalf("a secret key of %d bytes: %v", len(key), err)
	}
	fingerprint := fmt.Sprintf("1;%s/%s;%s;%d;%s", dir, p.Base, SHA256(p.NAR), len(p.NAR), strings.Join(refs, ","))
	p.Extra += "Sig: " + name + ":" + base64.StdEncoding.EncodeToString(ed25519.Sign(key, []byte(fingerprint))) + "\n"
}
