package binarycache_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/folder"
	"narseal/nar/nartest"
)

// nixKeys has Nix make a key pair.
func nixKeys(t *testing.T, s *nartest.Store) (signature.SecretKey, string) {
	t.Helper()
	dir := t.TempDir()
	secretFile, publicFile := filepath.Join(dir, "secret"), filepath.Join(dir, "public")
	s.Run(nil, "nix-store", "--generate-binary-cache-key", "repair-1", secretFile, publicFile)
	secret, err := os.ReadFile(secretFile)
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(publicFile)
	if err != nil {
		t.Fatal(err)
	}
	key, err := signature.LoadSecretKey(strings.TrimSpace(string(secret)))
	if err != nil {
		t.Fatal(err)
	}
	return key, strings.TrimSpace(string(public))
}

// download has Nix copy a path from a cache into an empty store that trusts one key.
func download(t *testing.T, cache, path, key string) (*nartest.Store, error) {
	t.Helper()
	s := nartest.Nix(t)
	_, err := s.Try(nil, "nix", "copy", "--from", "file://"+cache, path,
		"--option", "require-sigs", "true", "--option", "trusted-public-keys", key)
	return s, err
}

func TestNixReadsWhatIsRepaired(t *testing.T) {
	for _, c := range []string{"xz", "zstd", "gzip", "none", "bzip2"} {
		t.Run(c, func(t *testing.T) {
			s := nartest.Nix(t)
			src := filepath.Join(t.TempDir(), "thing")
			write(t, src, map[string]string{"bin/x": "this is broken", "share/y": strings.Repeat("text ", 5000)})
			path := s.Add(src)
			dir := filepath.Join(t.TempDir(), "cache")
			s.Run(nil, "nix", "copy", "--to", "file://"+dir+"?compression="+c+"&write-nar-listing=true", path)
			before := read(t, dir)
			key, public := nixKeys(t, s)

			o := binarycache.RewriteOptions{SecretKeys: []signature.SecretKey{key}}
			repairing(&o)
			sum, results := rewrite(t, dir, o)
			if got := statuses(sum); got != "changed=1" {
				t.Fatalf("%s: %v", got, results)
			}
			valid(t, dir)
			after := read(t, dir)
			for name := range before {
				if strings.HasSuffix(name, ".ls") && after[name] != before[name] {
					t.Errorf("%s has changed", name)
				}
			}
			if _, err := download(t, dir, path, strings.Replace(public, "repair-1:", "other-1:", 1)); err == nil {
				t.Error("Nix takes it without the key")
			}
			got, err := download(t, dir, path, public)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(filepath.Join(got.Real(path), "bin/x")); string(b) != "this is sealed" {
				t.Errorf("restored %q, %v", b, err)
			}
			got.Run(nil, "nix-store", "--verify", "--check-contents")
		})
	}
}

func TestNixReadsWhatIsRewritten(t *testing.T) {
	s := nartest.Nix(t)
	app := string(s.Run(nil, "nix", "eval", "--impure", "--raw", "--expr",
		`let lib = builtins.toFile "lib" "a library"; in builtins.toFile "app" "uses ${lib}, twice: ${lib}"`))
	lib := strings.TrimSpace(string(s.Run(nil, "nix-store", "--query", "--references", app)))
	if !strings.HasSuffix(lib, "-lib") {
		t.Fatalf("the library is %q", lib)
	}
	dir := filepath.Join(t.TempDir(), "cache")
	s.Run(nil, "nix", "copy", "--to", "file://"+dir+"?write-nar-listing=true", app)
	key, public := nixKeys(t, s)

	oldHash := filepath.Base(lib)[:32]
	out := filepath.Join(t.TempDir(), "out")
	for _, output := range []bool{true, false} {
		o := binarycache.RewriteOptions{SecretKeys: []signature.SecretKey{key}, Prune: !output, Options: binarycache.Options{Jobs: 2}}
		replacing(&o, oldHash, hash("0"))
		at := dir
		if output {
			at = out
			o.Output = folder.New(out)
		}
		if sum, _ := rewrite(t, dir, o); statuses(sum) != "changed=2" {
			t.Fatalf("output %v: %s", output, statuses(sum))
		}
		valid(t, at)
		got, err := download(t, at, app, public)
		if err != nil {
			t.Fatalf("output %v: %v", output, err)
		}
		newLib := "/nix/store/" + hash("0") + "-lib"
		if b, err := os.ReadFile(got.Real(app)); string(b) != "uses "+newLib+", twice: "+newLib {
			t.Errorf("output %v: restored %q, %v", output, b, err)
		}
		if refs := strings.TrimSpace(string(got.Run(nil, "nix-store", "--query", "--references", app))); refs != newLib {
			t.Errorf("output %v: references %q, want %q", output, refs, newLib)
		}
		if b, err := os.ReadFile(got.Real(newLib)); string(b) != "a library" {
			t.Errorf("output %v: restored %q, %v", output, b, err)
		}
		got.Run(nil, "nix-store", "--verify", "--check-contents")
	}
}

// A cache of a store that is not /nix/store.
func TestOtherStoreDir(t *testing.T) {
	dir := newCache(t, member{base: hash("a") + "-a", nar: nar("broken"), storeDir: "/opt/store", refs: []string{hash("a") + "-a"}})
	o := binarycache.RewriteOptions{}
	repairing(&o)
	if sum, results := rewrite(t, dir, o); statuses(sum) != "changed=1" {
		t.Fatalf("%v", results)
	}
	if got := line(read(t, dir)[hash("a")+".narinfo"], "StorePath"); got != "/opt/store/"+hash("a")+"-a" {
		t.Errorf("got %q", got)
	}
}
