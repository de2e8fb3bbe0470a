package cachetest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nix-community/go-nix/pkg/nixbase32"

	"narseal/nar/compression"
)

// A Path is a store path of a cache.
type Path struct {
	Base        string // HASH-NAME
	NAR         []byte
	Compression compression.Type // "": zstd
	References  []string
	Extra       string // lines of the narinfo
	Listing     string // HASH.ls
	StoreDir    string // "": /nix/store
}

// SHA256 is the hash of b as narinfos have it.
func SHA256(b []byte) string {
	h := sha256.Sum256(b)
	return "sha256:" + nixbase32.EncodeToString(h[:])
}

// Compress compresses b at the lowest level.
func Compress(b []byte, c compression.Type) ([]byte, error) {
	var out bytes.Buffer
	w, err := compression.Compress(&out, c, compression.Options{Level: min(1, len(c.Extension())), Workers: 1})
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}

// Objects are the objects of a cache with these paths, by name.
func Objects(paths ...Path) (map[string]string, error) {
	objects := map[string]string{}
	for _, p := range paths {
		if p.StoreDir == "" {
			p.StoreDir = "/nix/store"
		}
		if p.Compression == "" {
			p.Compression = compression.Zstd
		}
		file, err := Compress(p.NAR, p.Compression)
		if err != nil {
			return nil, err
		}
		url := "nar/" + strings.TrimPrefix(SHA256(file), "sha256:") + ".nar" + p.Compression.Extension()
		objects["nix-cache-info"] = "StoreDir: " + p.StoreDir + "\nPriority: 40\n"
		objects[url] = string(file)
		objects[p.Base[:32]+".narinfo"] = fmt.Sprintf(
			"StorePath: %s/%s\nURL: %s\nCompression: %s\nFileHash: %s\nFileSize: %d\nNarHash: %s\nNarSize: %d\nReferences: %s\n%s",
			p.StoreDir, p.Base, url, p.Compression, SHA256(file), len(file), SHA256(p.NAR), len(p.NAR),
			strings.Join(p.References, " "), p.Extra)
		if p.Listing != "" {
			objects[p.Base[:32]+".ls"] = p.Listing
		}
	}
	return objects, nil
}

// Write adds paths to the cache in a directory, which is made if it is missing.
func Write(dir string, paths ...Path) error {
	objects, err := Objects(paths...)
	if err != nil {
		return err
	}
	for name, content := range objects {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(content), 0o666); err != nil {
			return err
		}
	}
	return nil
}

// Key returns a secret key in Nix's form and its public key. It is the same each time.
func Key(t testing.TB) (secret, public string) {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	text := func(b []byte) string { return "test-1:" + base64.StdEncoding.EncodeToString(b) }
	return text(key), text(key.Public().(ed25519.PublicKey))
}
