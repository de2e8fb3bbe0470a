package nixcli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func base(hash, name string) string { return strings.Repeat(hash, 32) + "-" + name }

// A registration that ends anywhere but between two paths is an error, and so is one that is none.
func TestRegistration(t *testing.T) {
	hash := strings.Repeat("0f", 32)
	a, b := base("a", "x"), base("b", "y")
	text := fmt.Sprintf("/s/%s\n%s\n104\n/s/%s.drv\n2\n/s/%[1]s\n/s/%[4]s\n/s/%[4]s\n%[2]s\n96\n\n0\n", a, hash, b, b)
	read := func(text string) (paths []Path, err error) {
		d := &registration{s: &Store{Dir: "/s"}, sc: lines(strings.NewReader(text))}
		for {
			p, err := d.next()
			if err == io.EOF {
				return paths, nil
			}
			if err != nil {
				return paths, err
			}
			paths = append(paths, *p)
		}
	}
	paths, err := read(text)
	if err != nil || len(paths) != 2 {
		t.Fatalf("%v, %v", paths, err)
	}
	if p := paths[0]; p.Base != a || p.NarSize != 104 || p.NarHash[0] != 0x0f || p.Deriver != b+".drv" || !reflect.DeepEqual(p.References, []string{a, b}) {
		t.Errorf("the first path: %+v", p)
	}
	if p := paths[1]; p.Base != b || p.NarSize != 96 || p.Deriver != "" || p.References != nil {
		t.Errorf("the second path: %+v", p)
	}
	all := strings.SplitAfter(text, "\n")
	for n := range all {
		paths, err := read(strings.Join(all[:n], ""))
		if complete := n == 0 || n == 7 || n == 12; complete != (err == nil) || n == 7 && len(paths) != 1 {
			t.Errorf("%d lines: %d paths, %v", n, len(paths), err)
		}
	}
	for _, bad := range []string{"x\n", "/s/x\n", "/t/" + a + "\n", strings.Repeat("x", maxLine+1),
		strings.Replace(text, hash, "0f", 1), strings.Replace(text, "104", "-1", 1), strings.Replace(text, "\n2\n", "\n9999999999\n", 1),
		strings.Replace(text, "\n0\n", "\n1\n", 1), strings.Replace(text, b+".drv", "x", 1)} {
		if paths, err := read(bad); err == nil {
			t.Errorf("%.60q gives %v", bad, paths)
		}
	}
}

// The JSON of nix path-info has had several forms.
func TestProvenance(t *testing.T) {
	for text, want := range map[string]Provenance{
		`[{"path":"/s/x","signatures":["k:AA=="],"ca":"fixed:r:sha256:00"}]`:                         {true, []string{"k:AA=="}},
		`[{"path":"/s/x","valid":true}]`:                                                             {},
		`{"/s/x":{"ca":null,"signatures":[]}}`:                                                       {},
		`{"/s/x":{"ca":"fixed:r:sha256:00","signatures":["k:AA==","l:BB=="]}}`:                       {true, []string{"k:AA==", "l:BB=="}},
		`{"info":{"x":{"ca":{"method":"nar"},"signatures":["k:AA=="]}},"storeDir":"/s","version":2}`: {true, []string{"k:AA=="}},
	} {
		got, err := parseProvenance([]byte(text))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "{}", "[]", "x", `{"/s/x":null}`, `{"info":1}`, `[null]`} {
		if got, err := parseProvenance([]byte(text)); err == nil {
			t.Errorf("%q gives %v", text, got)
		}
	}
}

// fakeNix puts a nix-store into a directory that is PATH alone.
func fakeNix(t *testing.T, name, script string) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/bin:/usr/bin")
}

func TestOpen(t *testing.T) {
	fakeNix(t, "nix-store", "echo 'nix-store (Nix) 9'")
	root := t.TempDir()
	for _, dir := range []string{"store", "var/nix/db"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "var/nix/db/db.sqlite"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		env                    []string
		dir                    string
		store, real, state     string
		remote, failure, added string
	}{
		{store: "/nix/store", real: "/nix/store", state: "/nix/var/nix", env: []string{"NIX_REMOTE=local"}, remote: "local"},
		{store: "/nix/store", real: "/nix/store", state: "/nix/var/nix", env: []string{"NIX_REMOTE=daemon"}, remote: "daemon"},
		{store: "/nix/store", real: "/nix/store", state: "/nix/var/nix", env: []string{"NIX_REMOTE=unix:///x"}, remote: "daemon"},
		{store: "/nix/store", real: "/r/nix/store", state: "/r/nix/var/nix", env: []string{"NIX_REMOTE=local?root=/r"}, remote: "local"},
		{store: "/x/store", real: "/r/nix/store", state: "/r/nix/var/nix", env: []string{"NIX_STORE_DIR=/x/store", "NIX_REMOTE=local?root=/r"}, remote: "local"},
		{store: "/nix/store", real: "/r/nix/store", state: "/r/nix/var/nix", env: []string{"NIX_REMOTE=/r"}, remote: "local"},
		{store: "/nix/store", real: "/q", state: "/p", env: []string{"NIX_REMOTE=local?real=/q&state=/p"}, remote: "local"},
		{store: root + "/store", real: root + "/store", state: root + "/var/nix", dir: root + "/store/", added: "NIX_STATE_DIR=" + root + "/var/nix"},
		{store: root + "/store", real: root + "/store", state: "/s", env: []string{"NIX_STATE_DIR=/s", "NIX_REMOTE=local"}, dir: root + "/store"},
		{store: root + "/store", real: root + "/store", state: root + "/var/nix", env: []string{"NIX_STORE_DIR=" + root + "/store"}},
		{env: []string{"NIX_REMOTE=ssh-ng://host"}, failure: "not a store of this machine"},
		{env: []string{"NIX_REMOTE=relative"}, failure: "not a store of this machine"},
		{env: []string{"NIX_STORE_DIR=relative"}, failure: "want an absolute path"},
	} {
		s, err := Open(context.Background(), Options{Dir: test.dir, Environ: test.env})
		if test.failure != "" {
			if err == nil || !strings.Contains(err.Error(), test.failure) {
				t.Errorf("%q: %v, want %s", test.env, err, test.failure)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", test.env, err)
			continue
		}
		if s.Dir != test.store || s.RealDir != test.real || s.StateDir != test.state || test.remote != "" && s.remote != test.remote {
			t.Errorf("%q %s: %+v", test.env, test.dir, s)
		}
		if test.added != "" && environment(s.env)["NIX_STATE_DIR"] != s.StateDir {
			t.Errorf("%q %s: Nix gets %q", test.env, test.dir, s.env)
		}
	}
}

// Where there is only the program nix, it is run as nix-store. A script of that name does not know it.
func TestOnlyNix(t *testing.T) {
	fakeNix(t, "nix", "echo 'nix (Nix) 9'")
	t.Setenv("PATH", filepath.SplitList(os.Getenv("PATH"))[0])
	_, err := Open(context.Background(), Options{Environ: []string{"NIX_REMOTE=local"}})
	if err == nil || !strings.Contains(err.Error(), "neither nix-store nor nix") {
		t.Errorf("%v", err)
	}
}

// A command that fails, says too much or does not end gives an error with the end of what it said.
func TestCommands(t *testing.T) {
	ctx := context.Background()
	fakeNix(t, "nix-store", `case $1 in
--version) echo 'nix-store (Nix) 9' ;;
--fail) echo 'error: it is broken' >&2; exit 1 ;;
--silent) exit 7 ;;
--chatter) yes x >&2 & yes x ;;
--dump) printf abc; test "$2" = /nix/store/ok ;;
--dump-db) printf '/nix/store/x\n'; sleep 100 ;;
esac`)
	s, err := Open(ctx, Options{Environ: []string{"NIX_REMOTE=local", "PATH=" + os.Getenv("PATH")}})
	if err != nil {
		t.Fatal(err)
	}
	var failed *CommandError
	if _, err := s.output(ctx, "--fail"); !errors.As(err, &failed) || err.Error() != "nix-store --fail: it is broken" {
		t.Errorf("%v", err)
	}
	if _, err := s.output(ctx, "--silent"); !errors.As(err, &failed) || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("%v", err)
	}
	if err := s.All(ctx, func(*Path) error { return nil }); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("a registration that does not end: %v", err)
	}
	for base, ok := range map[string]bool{"ok": true, "bad": false} {
		r, err := s.Dump(ctx, base)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if string(b) != "abc" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		if err := r.Close(); ok != (err == nil) {
			t.Errorf("%s: %v", base, err)
		}
	}
}

func TestTail(t *testing.T) {
	out := &tail{limit: 10}
	w := bufio.NewWriterSize(out, 16)
	for i := range 100 {
		fmt.Fprintf(w, "%d ", i)
	}
	w.Flush()
	if out.String() != "96 97 98 99 "[2:] {
		t.Errorf("%q", out)
	}
	fmt.Fprint(out, strings.Repeat("x", 100)+"end")
	if out.String() != "xxxxxxxend" {
		t.Errorf("%q", out)
	}
}

// Inside knows a store by its database, wherever it is.
func TestInside(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	put := func(name string) string {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	put("nix/var/nix/db/db.sqlite")
	put("nix/store/" + base("a", "x") + "/bin/x")
	put("nix/store/.links/y")
	put("copied/store/.links/y")
	put("copied/store/" + base("a", "x"))
	put("plain/.other/z")
	put("store/" + base("a", "x"))
	put("state/db/db.sqlite")
	if err := os.Symlink(filepath.Join(root, "nix/store"), filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	env := []string{"NIX_STORE_DIR=" + root + "/store", "NIX_STATE_DIR=" + root + "/state"}
	for path, inside := range map[string]bool{
		"nix/store":                            true,
		"nix/store/" + base("a", "x"):          true,
		"nix/store/" + base("a", "x") + "/bin": true,
		"nix/store/.links":                     true,
		"nix/store/.links/y":                   true,
		"nix/store/gone":                       true,
		"link/" + base("a", "x"):               true,
		"nix":                                  true,
		"":                                     true,
		"nix/var/nix/db":                       false,
		"copied/store/" + base("a", "x"):       false,
		"copied/store/.links/y":                true,
		"copied":                               false,
		"plain/.other/z":                       false,
		"store/" + base("a", "x"):              true,
		"nowhere":                              false,
	} {
		if why := Inside(filepath.Join(root, path), env); inside != (why != "") {
			t.Errorf("%s: %q, want %v", path, why, inside)
		}
	}
	if why := Inside(filepath.Join(root, "store", base("a", "x")), nil); why != "" {
		t.Errorf("without Nix's variables: %s", why)
	}
}

// A store path is found by whatever leads to it, and symlinks are followed no further.
func TestBase(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := &Store{Dir: root + "/store", RealDir: root + "/store"}
	a, b := base("a", "x"), base("b", "y")
	if err := os.MkdirAll(filepath.Join(s.Dir, b, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"store/" + a: s.Dir + "/" + b, "result": s.Dir + "/" + a, "relative": "store/" + b + "/bin", "chain": "result",
		"dir": "store/" + b, "loop": "loop", "dangling": "nowhere", "outside": "/", "alias": "store",
	} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"store/" + a: a, "result": a, "relative": b, "chain": a, "dir/bin": b, "store/" + b + "/bin/gone": b, "alias/" + a: a,
		"store/" + base("c", "gone"): base("c", "gone"),
		"loop":                       "", "dangling": "", "outside": "", "store": "", "store/.links": "", "nowhere": "", "store/" + a[:31]: "",
	} {
		got, err := s.Base(filepath.Join(root, name))
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
}
