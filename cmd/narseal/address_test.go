package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

const hashChars = "0123456789abcdfghijklmnpqrsvwxyz"

// addressReport is what address prints as JSON.
type addressReport struct {
	Schema, Command, Path, CA, NarHash string
	NarSize                            int64
	References                         []string
}

func randomHash(rng *rand.Rand) string {
	b := make([]byte, 32)
	for i := range b {
		b[i] = hashChars[rng.IntN(len(hashChars))]
	}
	return string(b)
}

// exported is the export stream of one archive.
func exported(path string, refs []string, archive []byte) []byte {
	b := append([]byte{1, 0, 0, 0, 0, 0, 0, 0}, archive...)
	b = append(b, "NIXE\x00\x00\x00\x00"...)
	b = append(b, nartest.Strings(path)...)
	b = append(b, byte(len(refs)), 0, 0, 0, 0, 0, 0, 0)
	b = append(b, nartest.Strings(refs...)...)
	return append(append(b, nartest.Strings("")...), make([]byte, 16)...)
}

// mentioning makes a tree that mentions these store paths.
func mentioning(rng *rand.Rand, self string, refs []string) nartest.Node {
	text := func() string {
		var b strings.Builder
		for range rng.IntN(4) {
			b.WriteString(strings.Repeat("filler ", rng.IntN(9000)))
			for _, ref := range refs {
				b.WriteString(ref + "/lib:"[:rng.IntN(6)])
				if rng.IntN(3) == 0 {
					b.WriteString(filepath.Base(ref)[:32])
				}
			}
		}
		for _, ref := range refs {
			b.WriteString(ref + "\n")
		}
		return b.String()
	}
	dir := nartest.Dir{"text": nartest.File(text()), "empty": nartest.Dir{}}
	if slices.Contains(refs, self) && rng.IntN(2) == 0 {
		dir["sub"] = nartest.Dir{filepath.Base(self): nartest.Exec(text())}
	}
	for i, ref := range refs {
		dir[fmt.Sprintf("link%d", i)] = nartest.Symlink(ref + "/bin")
	}
	switch rng.IntN(6) {
	case 0:
		return nartest.File(text())
	case 1:
		if len(refs) > 0 {
			return nartest.Symlink(refs[0])
		}
	}
	return dir
}

// addressOf runs address on an archive.
func addressOf(t *testing.T, archive []byte, args ...string) (rep addressReport, out []byte) {
	t.Helper()
	status, stdout, stderr := narseal(t, archive, append([]string{"address"}, args...)...)
	if status != statusDone {
		t.Fatalf("address %q: status %d, stderr %s", args, status, stderr)
	}
	_, stderr, _ = strings.Cut("\n"+stderr, "\n{")
	if err := json.Unmarshal([]byte("{"+stderr), &rep); err != nil {
		t.Fatalf("%q: %v", stderr, err)
	}
	return rep, []byte(stdout)
}

// Paths with and without references to themselves and others get the store
// path that Nix gives them, and Nix imports them by it.
func TestAddressIsWhatNixMakes(t *testing.T) { nartest.EachNix(t, testAddressIsWhatNixMakes) }

func testAddressIsWhatNixMakes(t *testing.T) {
	store, other := nartest.Nix(t), nartest.Nix(t)
	cache := t.TempDir()
	if err := os.WriteFile(filepath.Join(cache, "nix-cache-info"), []byte("StoreDir: /nix/store\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(5, 8))
	var paths, withSelf []string
	addressed := map[string]string{}
	for i := range 24 {
		path := fmt.Sprintf("/nix/store/%s-p%d", randomHash(rng), i)
		var refs []string
		for _, p := range paths {
			if rng.IntN(len(paths)) < 2 {
				refs = append(refs, p)
			}
		}
		if i%2 == 0 {
			refs = append(refs, path)
			withSelf = append(withSelf, path)
		}
		slices.Sort(refs)
		paths = append(paths, path)
		archive := nartest.Tree(mentioning(rng, path, refs))
		stream := exported(path, refs, archive)
		store.Run(stream, "nix-store", "--import")

		var made struct{ Rewrites map[string]string }
		if err := json.Unmarshal(store.Run(nil, "nix", "store", "make-content-addressed", "--json", path), &made); err != nil {
			t.Fatal(err)
		}
		want := made.Rewrites[path]
		addressed[path] = want
		// Nix does the same to what a path refers to, and first replaces the
		// paths of those.
		for i, ref := range refs {
			if ref != path {
				refs[i] = addressed[ref]
				archive = bytes.ReplaceAll(archive, []byte(ref), []byte(refs[i]))
			}
		}
		rep, got := addressOf(t, archive, "--self", path, "--references", strings.Join(refs, " "), "--modulo", modulo(t))
		if rep.Path != want {
			t.Errorf("%s with %d references: got %s, Nix made %s", path, len(refs), rep.Path, want)
			continue
		}
		if wantNar := store.Run(nil, "nix-store", "--dump", store.Real(want)); !bytes.Equal(got, wantNar) {
			t.Errorf("%s: got another archive than Nix", path)
		}
		info := pathInfo(t, store, want)
		slices.Sort(info.References)
		if fmt.Sprint(rep.CA, rep.NarHash, rep.NarSize, rep.References) !=
			fmt.Sprint(info.CA, info.NarHash, info.NarSize, info.References) {
			t.Errorf("%s: got %+v, Nix says %+v", path, rep, info)
		}

		toCache(t, cache, rep, got)
		other.Run(nil, "nix", "copy", "--from", "file://"+cache, rep.Path)
		if back := other.Run(nil, "nix-store", "--dump", other.Real(rep.Path)); !bytes.Equal(back, got) {
			t.Errorf("%s: imported as another archive", path)
		}
	}
	if len(withSelf) < 10 {
		t.Errorf("%d paths that refer to themselves", len(withSelf))
	}
	other.Run(nil, "nix-store", "--verify", "--check-contents")
}

// nixInfo is what Nix knows of a path.
type nixInfo struct {
	CA, NarHash string
	NarSize     int64
	References  []string
}

// pathInfo asks Nix about a path. Nix 2.19 and later name the path in the JSON.
func pathInfo(t *testing.T, store *nartest.Store, path string) nixInfo {
	t.Helper()
	out := store.Run(nil, "nix", "path-info", "--json", path)
	var named map[string]nixInfo
	if err := json.Unmarshal(out, &named); err == nil {
		return named[path]
	}
	var list []nixInfo
	if err := json.Unmarshal(out, &list); err != nil || len(list) != 1 {
		t.Fatalf("%v in %s", err, out)
	}
	return list[0]
}

// modulo is the --modulo that the Nix on PATH accepts, as docs/caches.md lists them.
func modulo(t *testing.T) string {
	var minor int
	if _, err := fmt.Sscanf(nartest.Version(t), "2.%d", &minor); err != nil {
		t.Fatal(err)
	}
	if minor >= 17 && minor <= 34 {
		return "nix-2.17"
	}
	return "nix"
}

// toCache puts an archive into a binary cache, unsigned: only its address
// vouches for it.
func toCache(t *testing.T, cache string, rep addressReport, archive []byte) {
	t.Helper()
	base := filepath.Base(rep.Path)
	var refs []string
	for _, ref := range rep.References {
		refs = append(refs, filepath.Base(ref))
	}
	sum := sha256.Sum256(archive)
	hash := "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
	info := fmt.Sprintf("StorePath: %s\nURL: %s.nar\nCompression: none\nFileHash: %s\nFileSize: %d\nNarHash: %s\nNarSize: %d\nReferences: %s\nCA: %s\n",
		rep.Path, base, hash, len(archive), rep.NarHash, rep.NarSize, strings.Join(refs, " "), rep.CA)
	for name, data := range map[string][]byte{base + ".nar": archive, base[:32] + ".narinfo": []byte(info)} {
		if err := os.WriteFile(filepath.Join(cache, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Where a signature covers the path, Nix refuses the result as the warning
// says.
func TestNixRefusesAddressOfSigned(t *testing.T) { nartest.EachNix(t, testNixRefusesAddressOfSigned) }

func testNixRefusesAddressOfSigned(t *testing.T) {
	store := nartest.Nix(t)
	archive, err := os.ReadFile("../../testdata/sample.nar")
	if err != nil {
		t.Fatal(err)
	}
	const self = "/nix/store/c7pxwlricrjnrk7ymhzfzig1gh9m971s-hello-1.0"
	cache := t.TempDir()
	if err := os.WriteFile(filepath.Join(cache, "nix-cache-info"), []byte("StoreDir: /nix/store\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	rep, out := addressOf(t, archive, "--self", self, "--modulo", modulo(t))
	toCache(t, cache, rep, out)
	if _, err := store.Try(nil, "nix", "copy", "--from", "file://"+cache, rep.Path); err == nil ||
		!strings.Contains(err.Error(), "ca hash mismatch importing path") {
		t.Errorf("Nix took it, or said something else: %v", err)
	}
	_, _, stderr := narseal(t, archive, "address", "--self", self, "--modulo", modulo(t))
	if !strings.Contains(stderr, "narseal: warning: Nix will refuse to import this as "+rep.CA) {
		t.Errorf("stderr %q", stderr)
	}
}
