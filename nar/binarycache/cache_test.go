package binarycache_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nix-community/go-nix/pkg/narinfo"
	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
	"narseal/nar/binarycache/folder"
	"narseal/nar/compression"
	"narseal/nar/nartest"
)

// A member is a path of a cache that is made without Nix.
type member struct {
	base        string // of the store path
	nar         []byte
	compression compression.Type
	refs        []string
	extra       string // lines of the narinfo
	listing     string
	storeDir    string // "": /nix/store
}

func sha(b []byte) string { return cachetest.SHA256(b) }

func packed(t testing.TB, b []byte, c compression.Type) []byte {
	t.Helper()
	out, err := cachetest.Compress(b, c)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// write puts files into a folder.
func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// read returns every file of a folder.
func read(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func newCache(t testing.TB, members ...member) string {
	t.Helper()
	dir := t.TempDir()
	fill(t, dir, members...)
	return dir
}

func fill(t testing.TB, dir string, members ...member) {
	t.Helper()
	if err := cachetest.Write(dir, paths(members)...); err != nil {
		t.Fatal(err)
	}
}

func paths(members []member) (list []cachetest.Path) {
	for _, m := range members {
		list = append(list, cachetest.Path{Base: m.base, NAR: m.nar, Compression: m.compression, References: m.refs,
			Extra: m.extra, Listing: m.listing, StoreDir: m.storeDir})
	}
	return list
}

// hash is a hash part: one character, 32 times.
func hash(c string) string { return strings.Repeat(c, 32) }

// replacing is a filter and a rename that apply rules to everything, all at once.
func replacing(o *binarycache.RewriteOptions, pairs ...string) {
	r := strings.NewReplacer(pairs...)
	o.Rename = r.Replace
	o.Filter = func(_ context.Context, _ *binarycache.Path, dst io.Writer, src io.Reader) error {
		b, err := io.ReadAll(src)
		if err != nil {
			return err
		}
		_, err = r.WriteString(dst, string(b))
		return err
	}
}

// repairing is a filter that makes every "broken" a "sealed".
func repairing(o *binarycache.RewriteOptions) {
	replacing(o, "broken", "sealed")
	o.Rename = nil
}

// rewrite runs Rewrite and returns the results by narinfo.
func rewrite(t testing.TB, dir string, o binarycache.RewriteOptions) (binarycache.Summary, map[string]binarycache.Result) {
	t.Helper()
	results := map[string]binarycache.Result{}
	o.Done = func(r binarycache.Result) { results[r.Info] = r }
	s := folder.New(dir)
	sum, err := binarycache.Rewrite(t.Context(), s, o)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err != nil {
		t.Fatalf("rewrite: %v", err)
	}
	return sum, results
}

// statuses is how the paths of a summary ended, as text.
func statuses(s binarycache.Summary) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(s.Paths)) {
		fmt.Fprintf(&b, "%s=%d ", k, s.Paths[k])
	}
	return strings.TrimSpace(b.String())
}

// valid checks a cache by go-nix and the standard library: every narinfo's NAR is
// there and matches. It returns the NARs, by store path.
func valid(t testing.TB, dir string) map[string]string {
	t.Helper()
	nars := map[string]string{}
	infos, err := filepath.Glob(filepath.Join(dir, "*.narinfo"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range infos {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		n, err := narinfo.Parse(bytes.NewReader(b))
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, b)
			continue
		}
		if !strings.HasPrefix(filepath.Base(n.StorePath), strings.TrimSuffix(filepath.Base(name), ".narinfo")+"-") {
			t.Errorf("%s is of %s", name, n.StorePath)
		}
		file, err := os.ReadFile(filepath.Join(dir, n.URL))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		rc, c, err := compression.Decompress(bytes.NewReader(file))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		nar, err := io.ReadAll(rc)
		if err != nil || string(c) != n.Compression || sha(file) != n.FileHash.String() || len(file) != int(n.FileSize) ||
			sha(nar) != n.NarHash.String() || len(nar) != int(n.NarSize) {
			t.Errorf("%s does not match its NAR of %d bytes in %s, %v:\n%s", name, len(nar), c, err, b)
		}
		if !strings.Contains(n.URL, strings.TrimPrefix(n.FileHash.String(), "sha256:")) {
			t.Errorf("%s: URL %s has another hash than FileHash", name, n.URL)
		}
		nars[n.StorePath] = string(nar)
	}
	return nars
}

func nar(text string) []byte {
	return nartest.Tree(nartest.Dir{"bin": nartest.Dir{"x": nartest.Exec(text)}})
}

// keyPair is a secret key, and the public key that goes with it.
func keyPair(t testing.TB, name string) (signature.SecretKey, signature.PublicKey) {
	t.Helper()
	s, p, err := signature.GenerateKeypair(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s, p
}

func TestRepairInPlace(t *testing.T) {
	secret, public := keyPair(t, "here-1")
	for _, c := range []compression.Type{compression.None, compression.Zstd, compression.Xz, compression.Gzip} {
		dir := newCache(t,
			member{base: hash("a") + "-bad", nar: nar("it is broken"), compression: c, refs: []string{hash("b") + "-good"},
				extra: "Deriver: " + hash("d") + "-bad.drv\nFuture: kept: as it is\nSig: old-1:" + strings.Repeat("A", 86) + "==\nCA: fixed:r:sha256:" + hash("0") + "\n"},
			member{base: hash("b") + "-good", nar: nar("it is whole"), compression: c,
				extra: "Sig: old-1:" + strings.Repeat("A", 86) + "==\nCA: text:sha256:x\nFuture:nothing\n"})
		// go-nix, which valid uses, knows no other keys.
		before := read(t, dir)
		o := binarycache.RewriteOptions{SecretKeys: []signature.SecretKey{secret}, Options: binarycache.Options{Jobs: 2}}
		repairing(&o)
		sum, results := rewrite(t, dir, o)
		if got := statuses(sum); got != "changed=1 unchanged=1" {
			t.Fatalf("%s: %s: %+v", c, got, results)
		}
		after := read(t, dir)
		for name := range before {
			if name != hash("a")+".narinfo" && after[name] != before[name] {
				t.Errorf("%s: %s has changed", c, name)
			}
		}
		if len(after) != len(before)+1 {
			t.Errorf("%s: %d files, want one more than %d: %q", c, len(after), len(before), slices.Sorted(maps.Keys(after)))
		}
		info := after[hash("a")+".narinfo"]
		for _, want := range []string{"\nFuture: kept: as it is\n", "\nDeriver: " + hash("d") + "-bad.drv\n", "\nReferences: " + hash("b") + "-good\n", "\nSig: here-1:"} {
			if !strings.Contains(info, want) {
				t.Errorf("%s: no %q in\n%s", c, want, info)
			}
		}
		if strings.Contains(info, "old-1") || strings.Contains(info, "CA:") {
			t.Errorf("%s: stale lines in\n%s", c, info)
		}
		if w := results[hash("a")+".narinfo"].Warnings; len(w) != 1 || !strings.Contains(w[0], "CA: fixed") {
			t.Errorf("%s: warnings %q", c, w)
		}
		plain := strings.ReplaceAll(info, "Future: kept: as it is\n", "")
		n, err := narinfo.Parse(strings.NewReader(plain))
		if err != nil || !signature.VerifyFirst(n.Fingerprint(), n.Signatures, []signature.PublicKey{public}) {
			t.Errorf("%s: the signature does not hold: %v\n%s", c, err, info)
		}
		write(t, dir, map[string]string{hash("a") + ".narinfo": plain})
		if err := os.Remove(filepath.Join(dir, hash("b")+".narinfo")); err != nil {
			t.Fatal(err)
		}
		if got := valid(t, dir)["/nix/store/"+hash("a")+"-bad"]; got != string(nar("it is sealed")) {
			t.Errorf("%s: got %q", c, got)
		}
	}
}

func TestWarnsOfLostSignatures(t *testing.T) {
	dir := newCache(t, member{base: hash("a") + "-bad", nar: nar("broken"), extra: "Sig: old-1:" + strings.Repeat("A", 86) + "==\n"})
	o := binarycache.RewriteOptions{}
	repairing(&o)
	_, results := rewrite(t, dir, o)
	if w := results[hash("a")+".narinfo"].Warnings; len(w) != 1 || !strings.Contains(w[0], "no secret key") {
		t.Errorf("warnings %q", w)
	}
}

func TestBzip2BecomesXz(t *testing.T) {
	bz := "QlpoOTFBWSZTWYbMt0EAAASZgAACIAAqYRFAIAAiADEIBppotSxXBApvF3JFOFCQhsy3QQ==" // "nix-archive-1"
	file := decode(t, bz)
	dir := newCache(t, member{base: hash("b") + "-other", nar: nar("fine")})
	write(t, dir, map[string]string{
		"nar/old.nar.bz2": string(file),
		// No Compression is bzip2.
		hash("a") + ".narinfo": fmt.Sprintf("StorePath: /nix/store/%s-a\nURL: nar/old.nar.bz2\nFileHash: %s\nFileSize: %d\nNarHash: %s\nNarSize: 13\nReferences: \n", hash("a"), sha(file), len(file), sha([]byte("nix-archive-1"))),
	})
	o := binarycache.RewriteOptions{}
	replacing(&o, "nix-archive-1", "nix-archive-2")
	rewrite(t, dir, o)
	got := valid(t, dir)["/nix/store/"+hash("a")+"-a"]
	if got != "nix-archive-2" || !strings.Contains(read(t, dir)[hash("a")+".narinfo"], "Compression: xz\n") {
		t.Errorf("got %q in\n%s", got, read(t, dir)[hash("a")+".narinfo"])
	}
}

func TestOtherCompression(t *testing.T) {
	dir := newCache(t, member{base: hash("a") + "-a", nar: nar("broken"), compression: compression.Xz}, member{base: hash("b") + "-b", nar: nar("fine"), compression: compression.Xz})
	o := binarycache.RewriteOptions{Compression: compression.Zstd, Level: 19}
	repairing(&o)
	rewrite(t, dir, o)
	valid(t, dir)
	files := read(t, dir)
	if a := files[hash("a")+".narinfo"]; !strings.Contains(a, "Compression: zstd\n") || !strings.Contains(a, ".nar.zst\n") {
		t.Errorf("the changed one:\n%s", a)
	}
	if b := files[hash("b")+".narinfo"]; !strings.Contains(b, "Compression: xz\n") {
		t.Errorf("the unchanged one:\n%s", b)
	}
}

// What is wrong with a cache is found, path by path, and nothing is touched.
func TestFailures(t *testing.T) {
	info := hash("a") + ".narinfo"
	for name, c := range map[string]struct {
		damage func(files map[string]string, url string)
		want   string
		is     error
	}{
		"missing NAR":     {func(f map[string]string, url string) { delete(f, url) }, "no such file", fs.ErrNotExist},
		"short file":      {func(f map[string]string, url string) { f[url] = f[url][:len(f[url])-1] }, "FileSize: got", binarycache.ErrMismatch},
		"flipped bit":     {func(f map[string]string, url string) { f[url] = flip(f[url], len(f[url])/2) }, "FileHash: got sha256:", binarycache.ErrMismatch},
		"NarHash":         {func(f map[string]string, _ string) { f[info] = swapLine(f[info], "NarHash", sha(nil)) }, "NarHash: got sha256:", binarycache.ErrMismatch},
		"NarSize, larger": {func(f map[string]string, _ string) { f[info] = swapLine(f[info], "NarSize", "100000") }, "NarSize: got", binarycache.ErrMismatch},
		"NarSize, a bomb": {func(f map[string]string, _ string) { f[info] = swapLine(f[info], "NarSize", "10") }, "NarSize: got more, want 10", binarycache.ErrMismatch},
		"compression":     {func(f map[string]string, _ string) { f[info] = swapLine(f[info], "Compression", "xz") }, "compression: got zstd, want xz", binarycache.ErrMismatch},
		"bad line":        {func(f map[string]string, _ string) { f[info] += "what is this\n" }, `line 9: "what is this"`, nil},
		"bad number":      {func(f map[string]string, _ string) { f[info] = swapLine(f[info], "NarSize", "many") }, `line 7: "NarSize: many"`, nil},
		"wrong name":      {func(f map[string]string, _ string) { f[info] = strings.ReplaceAll(f[info], hash("a"), hash("c")) }, "belongs in " + hash("c"), nil},
		"other store": {func(f map[string]string, _ string) {
			f[info] = strings.ReplaceAll(f[info], "/nix/store", "/gnu/store")
		}, "is not in the store directory /nix/store", nil},
		"no URL":     {func(f map[string]string, _ string) { f[info] = dropLine(f[info], "URL") }, "no URL", nil},
		"URL away":   {func(f map[string]string, _ string) { f[info] = swapLine(f[info], "URL", "nar/../../x.nar") }, "not the name of a NAR in the cache", nil},
		"empty file": {func(f map[string]string, _ string) { f[info] = "" }, "line 1", nil},
		"no FileHash, garbage": {func(f map[string]string, url string) {
			f[info] = dropLine(dropLine(f[info], "FileHash"), "FileSize")
			f[url] = f[url][:len(f[url])-2]
		}, "unexpected EOF", io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			good := newCache(t, member{base: hash("a") + "-a", nar: nar("it is broken")}, member{base: hash("b") + "-b", nar: nar("broken, too")})
			files := read(t, good)
			c.damage(files, line(files[info], "URL"))
			dir := t.TempDir()
			write(t, dir, files)

			o := binarycache.RewriteOptions{DryRun: true}
			repairing(&o)
			for _, run := range []string{"verify", "dry run", "rewrite"} {
				var results map[string]binarycache.Result
				var sum binarycache.Summary
				switch run {
				case "verify":
					results = map[string]binarycache.Result{}
					var err error
					sum, err = binarycache.Verify(t.Context(), folder.New(dir), binarycache.VerifyOptions{Options: binarycache.Options{Done: func(r binarycache.Result) { results[r.Info] = r }}})
					if err != nil {
						t.Fatal(err)
					}
				case "rewrite":
					o.DryRun = false
					fallthrough
				default:
					sum, results = rewrite(t, dir, o)
				}
				err := results[info].Err
				if sum.Paths[binarycache.Failed] != 1 || err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
					t.Errorf("%s: %s, got %v, want %q", run, statuses(sum), err, c.want)
				}
				other := results[hash("b")+".narinfo"]
				if other.Err != nil || other.Status == binarycache.Failed {
					t.Errorf("%s: the other: %+v", run, other)
				}
				if run != "rewrite" && !maps.Equal(read(t, dir), files) {
					t.Errorf("%s: files have changed", run)
				}
			}
			after := read(t, dir)
			for f := range files {
				if f != hash("b")+".narinfo" && after[f] != files[f] {
					t.Errorf("%s has changed", f)
				}
			}
		})
	}
}

func flip(s string, at int) string { return s[:at] + string([]byte{s[at] ^ 1}) + s[at+1:] }

func line(info, key string) string {
	_, rest, _ := strings.Cut(info, key+": ")
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

func swapLine(info, key, value string) string {
	return strings.Replace(info, key+": "+line(info, key)+"\n", key+": "+value+"\n", 1)
}

func dropLine(info, key string) string {
	return strings.Replace(info, key+": "+line(info, key)+"\n", "", 1)
}

func decode(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
