package binarycache_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
	"narseal/nar/compression"
	"narseal/nar/nartest"
)

// encoded is b as brotli, or as package compression has it.
func encoded(t *testing.T, b, how string) string {
	t.Helper()
	if how == "br" {
		var out bytes.Buffer
		w := brotli.NewWriter(&out)
		io.WriteString(w, b)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	out, err := cachetest.Compress([]byte(b), compression.Type(how))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// A narinfo that is compressed in the store is read, and the one that replaces it is compressed in the same way.
func TestEncodedNarinfos(t *testing.T) {
	hash := strings.Repeat("a", 32)
	for _, c := range []struct{ how, header string }{
		{"br", "br"}, {"zstd", "zstd"}, {"zstd", ""}, {"gzip", "gzip"}, {"gzip", ""}, {"xz", "xz"}, {"none", "identity"},
		{"none", "gzip"}, // a proxy has decompressed it
	} {
		t.Run(c.how+" "+c.header, func(t *testing.T) {
			objects, err := cachetest.Objects(cachetest.Path{Base: hash + "-x", NAR: nartest.Tree(nartest.File("old text"))})
			if err != nil {
				t.Fatal(err)
			}
			m := cachetest.NewMemory(objects)
			name := hash + ".narinfo"
			m.Write(binarycache.Object{Name: name, Attributes: map[string]string{"Content-Encoding": c.header, "Cache-Control": "max-age=7"}},
				encoded(t, objects[name], c.how))
			if s, err := binarycache.Verify(t.Context(), m, binarycache.VerifyOptions{}); err != nil || s.Paths[binarycache.Verified] != 1 {
				t.Errorf("verify: %v, %v", s, err)
			}
			secret, _, err := signature.GenerateKeypair("test-1", nil)
			if err != nil {
				t.Fatal(err)
			}
			o := binarycache.RewriteOptions{SecretKeys: []signature.SecretKey{secret}}
			replacing(&o, "old", "new")
			s, err := binarycache.Rewrite(t.Context(), m, o)
			if err != nil || s.Paths[binarycache.Changed] != 1 {
				t.Fatalf("rewrite: %v, %v", s, err)
			}
			at, err := m.Stat(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			want := c.header
			if c.how == "none" {
				want = ""
			}
			if at.Attributes["Content-Encoding"] != want || at.Attributes["Cache-Control"] != "max-age=7" {
				t.Errorf("attributes: %v", at.Attributes)
			}
			got := m.Objects()[name]
			if text := decoded(t, got, c.how); !strings.Contains(text, "Sig: test-1:") {
				t.Errorf("got %q", text)
			}
		})
	}
}

// decoded decompresses by other programs than the library's, where they are there.
func decoded(t *testing.T, b, how string) string {
	t.Helper()
	args := map[string][]string{"zstd": {"zstd", "-dc"}, "gzip": {"gzip", "-dc"}, "xz": {"xz", "-dc"}, "br": {"brotli", "-dc"}}[how]
	if how == "br" {
		if _, err := exec.LookPath("brotli"); err != nil {
			out, err := io.ReadAll(brotli.NewReader(strings.NewReader(b)))
			if err != nil {
				t.Fatal(err)
			}
			return string(out)
		}
	}
	if args == nil {
		return b
	}
	cmd := exec.Command(nartest.Tool(t, args[0]), args[1:]...)
	cmd.Stdin = strings.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// What expands to more than a narinfo may have, is damaged, or of an unknown kind, fails its path.
func TestHostileEncodings(t *testing.T) {
	hash := strings.Repeat("a", 32)
	bomb := strings.Repeat("x", 64<<20)
	for name, c := range map[string]struct{ content, header, want string }{
		"bomb, br":   {encoded(t, bomb, "br"), "br", "too long"},
		"bomb, zstd": {encoded(t, bomb, "zstd"), "", "too long"},
		"damaged":    {"\x0b\x02\x80StorePath", "br", "brotli"},
		"cut":        {encoded(t, "StorePath: /nix/store/x\nURL: nar/x.nar\n", "br")[:20], "br", "EOF"},
		"unknown":    {"x", "sdch", `"sdch" is not supported`},
		"several":    {"x", "gzip, br", `"gzip, br" is not supported`},
	} {
		m := cachetest.NewMemory(map[string]string{"nix-cache-info": "StoreDir: /nix/store\n"})
		m.Write(binarycache.Object{Name: hash + ".narinfo", Attributes: map[string]string{"Content-Encoding": c.header}}, c.content)
		var failed error
		o := binarycache.VerifyOptions{Options: binarycache.Options{Done: func(r binarycache.Result) { failed = r.Err }}}
		if _, err := binarycache.Verify(t.Context(), m, o); err != nil {
			t.Error(err)
		}
		if failed == nil || !strings.Contains(failed.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, failed, c.want)
		}
	}
}

// A noEncoding is a store that cannot keep Content-Encoding.
type noEncoding struct{ *cachetest.Memory }

func (s noEncoding) Put(ctx context.Context, o binarycache.Object, body io.ReadSeeker, c binarycache.Condition) (binarycache.Version, error) {
	if o.Attributes["Content-Encoding"] != "" {
		return "", errors.ErrUnsupported
	}
	return s.Memory.Put(ctx, o, body, c)
}

// A store that cannot keep Content-Encoding gets the text.
func TestEncodingNotKept(t *testing.T) {
	hash := strings.Repeat("a", 32)
	objects, err := cachetest.Objects(cachetest.Path{Base: hash + "-x", NAR: nartest.Tree(nartest.File("text"))})
	if err != nil {
		t.Fatal(err)
	}
	in, out := cachetest.NewMemory(objects), noEncoding{cachetest.NewMemory(nil)}
	name := hash + ".narinfo"
	in.Write(binarycache.Object{Name: name, Attributes: map[string]string{"Content-Encoding": "br"}}, encoded(t, objects[name], "br"))
	if s, err := binarycache.Rewrite(t.Context(), in, binarycache.RewriteOptions{Output: out}); err != nil || s.Paths[binarycache.Unchanged] != 1 {
		t.Fatalf("rewrite: %v, %v", s, err)
	}
	if got := out.Objects()[name]; got != objects[name] {
		t.Errorf("got %q", got)
	}
}

// A NAR that is served with a Content-Encoding is another file for clients than the one of its narinfo.
func TestEncodedNAR(t *testing.T) {
	for header, want := range map[string]string{"": "verified=1", "identity": "verified=1", "aws-chunked": "verified=1", "br": "failed=1", "gzip": "failed=1", "zstd": "failed=1", "x": "failed=1"} {
		m := cachetest.NewMemory(nil)
		for name, content := range objects(t, member{base: hash("a") + "-a", nar: nar("fine")}) {
			o := binarycache.Object{Name: name}
			if strings.HasPrefix(name, "nar/") && header != "" {
				o.Attributes = map[string]string{"Content-Encoding": header}
			}
			m.Write(o, content)
		}
		var failed error
		o := binarycache.VerifyOptions{Options: binarycache.Options{Done: func(r binarycache.Result) { failed = r.Err }}}
		sum, err := binarycache.Verify(t.Context(), m, o)
		if err != nil || statuses(sum) != want || want == "failed=1" && !errors.Is(failed, binarycache.ErrMismatch) {
			t.Errorf("%q: got %s, %v, %v, want %s", header, statuses(sum), err, failed, want)
		}
	}
}
