package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"narseal/macho/machotest"
	"narseal/nar/nartest"
)

// nixStore is a Nix store for one test: with a store directory, a database and an environment of its own, as on a machine
// whose store is elsewhere.
type nixStore struct {
	t   *testing.T
	dir string // the store directory
	env []string
}

// nixes calls test with a store of each Nix there is.
func nixes(t *testing.T, test func(t *testing.T, s *nixStore)) {
	nartest.EachNix(t, func(t *testing.T) { test(t, newNixStore(t)) })
}

func newNixStore(t *testing.T) *nixStore { return nixStoreIn(t, t.TempDir()) }

func nixStoreIn(t *testing.T, dir string) *nixStore {
	t.Helper()
	nartest.Tool(t, "nix-store")
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				_ = os.Chmod(path, 0o755)
			}
			return nil
		})
	})
	s := &nixStore{t: t, dir: filepath.Join(dir, "store")}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if name != "HOME" && name != "PATH" && !strings.HasPrefix(name, "NIX_") && !strings.HasPrefix(name, "XDG_") {
			s.env = append(s.env, kv)
		}
	}
	s.env = append(s.env, "PATH="+os.Getenv("PATH"), "HOME="+dir+"/home", "NIX_STORE_DIR="+s.dir, "NIX_STATE_DIR="+dir+"/var/nix",
		"NIX_LOG_DIR="+dir+"/var/log/nix", "NIX_CONF_DIR="+dir+"/etc",
		"NIX_CONFIG=build-users-group =\nsubstituters =\nexperimental-features = nix-command")
	if err := os.Mkdir(filepath.Join(dir, "home"), 0o755); err != nil {
		t.Fatal(err)
	}
	return s
}

// nix runs one of Nix's programs, which must not fail.
func (s *nixStore) nix(stdin []byte, name string, args ...string) string {
	s.t.Helper()
	out, err := s.tryNix(stdin, name, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// tool is the file of one of Nix's programs.
func (s *nixStore) tool(name string) string {
	for _, dir := range filepath.SplitList(s.get("PATH")) {
		if file := filepath.Join(dir, name); filepath.IsAbs(file) {
			if _, err := os.Stat(file); err == nil {
				return file
			}
		}
	}
	return name
}

func (s *nixStore) tryNix(stdin []byte, name string, args ...string) (string, error) {
	cmd := exec.Command(s.tool(name), args...)
	cmd.Env, cmd.Stdin = s.env, bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %q: %w: %s", name, args, err, &stderr)
	}
	return stdout.String(), nil
}

func (s *nixStore) get(name string) (value string) {
	for _, kv := range s.env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			value = v
		}
	}
	return value
}

// set changes the environment for what follows.
func (s *nixStore) set(name, value string) { s.env = append(s.env, name+"="+value) }

// narseal runs the program on the store.
func (s *nixStore) narseal(args ...string) (status int, stdout, stderr string) {
	s.t.Helper()
	cmd := exec.Command("narseal", args...)
	cmd.Env = s.env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// want runs the program and wants a status.
func (s *nixStore) want(status int, args ...string) (stdout, stderr string) {
	s.t.Helper()
	got, stdout, stderr := s.narseal(args...)
	if got != status {
		s.t.Fatalf("narseal %q: status %d, want %d\n%s%s", args, got, status, stdout, stderr)
	}
	return stdout, stderr
}

func (s *nixStore) path(hash, name string) string {
	return s.dir + "/" + strings.Repeat(hash, 32) + "-" + name
}

// clean fails the test unless Nix finds the contents of all paths to be what the database says.
func (s *nixStore) clean(when string) {
	s.t.Helper()
	if _, err := s.tryNix(nil, "nix-store", "--verify", "--check-contents"); err != nil {
		s.t.Fatalf("%s: %v", when, err)
	}
}

// rows is what Nix's database has of each path.
func (s *nixStore) rows() map[string]map[string]any {
	s.t.Helper()
	out := s.nix(nil, "nix", "path-info", "--all", "--json")
	rows := map[string]map[string]any{}
	var list []map[string]any
	if err := json.Unmarshal([]byte(out), &list); err == nil {
		for _, row := range list {
			rows[row["path"].(string)] = row
		}
	} else if err := json.Unmarshal([]byte(out), &rows); err != nil {
		s.t.Fatalf("%v in %s", err, out)
	}
	for _, row := range rows {
		delete(row, "valid")
	}
	return rows
}

// files has, by name, all that a stat and the contents of files say of a tree. The number of names is left out.
func files(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(path, &st); err != nil {
			return err
		}
		content := ""
		switch {
		case d.Type() == fs.ModeSymlink:
			content, err = os.Readlink(path)
		case d.Type().IsRegular():
			var b []byte
			b, err = os.ReadFile(path)
			content = string(b)
		}
		info, _ := d.Info()
		all[path] = fmt.Sprintf("%d %v %d:%d %v %q", st.Ino, info.Mode(), st.Uid, st.Gid, info.ModTime(), content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// rewritten is a golden binary of the A side after somebody has replaced the hash in it, as sed does. Repaired, it is the
// one of the B side.
func rewritten(t *testing.T, name string) (stale, repaired []byte) {
	stale = bytes.ReplaceAll(golden(t, "A/"+name), []byte(hashA), []byte(hashB))
	return stale, golden(t, "B/"+name)
}

// certified is an image with a stale signature by a certificate.
func certified(t *testing.T) []byte {
	for _, c := range machotest.Matrix(hashA) {
		if c.Name == "cms" {
			image := bytes.Clone(c.Data)
			image[5000] ^= 1
			return image
		}
	}
	t.Fatal("the matrix has no image with a certificate")
	return nil
}

// fill puts four paths into the store that refer to each other: lib and other are as they should be, app and tool have
// images with stale signatures.
func (s *nixStore) fill() (lib, other, app, tool string) {
	s.t.Helper()
	lib, other, app, tool = s.path("c", "lib"), s.path("d", "other"), s.path("f", "app"), s.path("g", "tool")
	stale, _ := rewritten(s.t, "lld-arm64")
	ents, _ := rewritten(s.t, "ents-arm64")
	valid := golden(s.t, "B/lld-arm64")
	s.nix(exportOf([]closurePath{
		{path: lib, tree: nartest.Dir{"self": nartest.Symlink(lib + "/x"), "x": nartest.Exec(valid)}, refs: []string{lib}},
		{path: other, tree: nartest.Dir{"dep": nartest.File(lib + " " + app), "x": nartest.Exec(valid)}, deriver: s.path("h", "other.drv")},
		{path: app, deriver: s.path("h", "app.drv"), refs: []string{lib, app}, tree: nartest.Dir{
			"bin":  nartest.Dir{"hello": nartest.Exec(stale), "twice": nartest.Exec(stale), "ents": nartest.Exec(ents)},
			"dep":  nartest.File(lib + " " + app),
			"link": nartest.Symlink("bin/hello"),
		}},
		{path: tool, tree: nartest.Exec(stale), refs: []string{app}},
	}), "nix-store", "--import")
	return lib, other, app, tool
}

func TestStoreRepair(t *testing.T) {
	nixes(t, func(t *testing.T, s *nixStore) {
		lib, other, app, tool := s.fill()
		s.nix(nil, "nix-store", "--optimise")
		s.clean("before")
		rowsBefore, filesBefore := s.rows(), files(t, s.dir)
		// Somebody runs a program that is going to be replaced.
		open, err := os.Open(app + "/bin/hello")
		if err != nil {
			t.Fatal(err)
		}
		defer open.Close()

		out, _ := s.want(3, "store", "verify", "--format", "json")
		for _, want := range []string{app, tool} {
			if !strings.Contains(out, `"storePath":"`+want+`"`) {
				t.Errorf("store verify does not list %s:\n%s", want, out)
			}
		}
		if strings.Contains(out, ".links") {
			t.Errorf("store verify lists .links:\n%s", out)
		}
		out, _ = s.want(0, "store", "repair", "--dry-run")
		if out != app+"\n"+tool+"\n" {
			t.Errorf("a dry run lists %q", out)
		}
		if !reflect.DeepEqual(files(t, s.dir), filesBefore) || !reflect.DeepEqual(s.rows(), rowsBefore) {
			t.Error("a dry run changes the store")
		}

		out, stderr := s.want(0, "store", "repair", "-v")
		if out != app+"\n"+tool+"\n" {
			t.Errorf("store repair lists %q: %s", out, stderr)
		}
		s.clean("after")
		s.want(0, "store", "verify")

		for name, stat := range files(t, s.dir) {
			changed := strings.HasPrefix(name, app) || strings.HasPrefix(name, tool)
			if before, ok := filesBefore[name]; name != s.dir && (!ok || before != stat && !changed) {
				t.Errorf("%s was\n%.200s, and is\n%.200s", name, before, stat)
			}
			if !changed && name != s.dir {
				delete(filesBefore, name)
			}
		}
		for name := range filesBefore {
			if name != s.dir && !strings.HasPrefix(name, app) && !strings.HasPrefix(name, tool) {
				t.Errorf("%s is gone", name)
			}
		}
		for file, golden := range map[string]string{
			app + "/bin/hello": "lld-arm64", app + "/bin/twice": "lld-arm64", app + "/bin/ents": "ents-arm64", tool: "lld-arm64",
		} {
			if _, want := rewritten(t, golden); !bytes.Equal(readFile(t, file), want) {
				t.Errorf("%s is not what the other linker makes", file)
			}
			info, err := os.Lstat(file)
			if err != nil || info.Mode() != 0o555 || info.ModTime().Unix() != 1 {
				t.Errorf("%s: %v, %v", file, info, err)
			}
		}
		if old := make([]byte, 10<<10); true {
			stale, _ := rewritten(t, "lld-arm64")
			if n, err := open.ReadAt(old, 0); err != nil || !bytes.Equal(old[:n], stale[:n]) {
				t.Errorf("who has the old file open reads something else: %v", err)
			}
		}
		rows := s.rows()
		for path, before := range rowsBefore {
			if path == lib || path == other {
				if !reflect.DeepEqual(rows[path], before) {
					t.Errorf("the database of %s: %v, was %v", path, rows[path], before)
				}
				continue
			}
			for _, field := range []string{"references", "deriver", "registrationTime", "narSize"} {
				if !reflect.DeepEqual(rows[path][field], before[field]) {
					t.Errorf("%s of %s: %v, was %v", field, path, rows[path][field], before[field])
				}
			}
		}
		if out, stderr := s.want(0, "store", "repair"); out+stderr != "" {
			t.Errorf("again: %s%s", out, stderr)
		}
		if left, err := os.ReadDir(s.get("NIX_STATE_DIR") + "/narseal"); err == nil {
			t.Errorf("left: %v", left)
		}
	})
}

// One path, named by a symlink to a file in it, with and without what it refers to; a key of the user's.
func TestStorePaths(t *testing.T) {
	s := newNixStore(t)
	lib, _, app, tool := s.fill()
	link := filepath.Join(t.TempDir(), "result")
	if err := os.Symlink(app+"/bin", link); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key")
	writeFile(t, key, []byte("test1:jbX9NxZp8WB/coK8k7yLf0gNYmBbIbCrOFwgJgI7OV+0sASf4R5oFQlioSlN3bJ56uvshzr7S9Z75pcv+9hSkQ==\n"))

	out, _ := s.want(3, "store", "verify", "--all", link)
	if strings.Contains(out, lib) || !strings.Contains(out, app+"/bin/hello\n") {
		t.Errorf("of one path: %s", out)
	}
	out, _ = s.want(3, "store", "verify", "--all", "--closure", tool)
	for _, want := range []string{lib, app, tool} {
		if !strings.Contains(out, want) {
			t.Errorf("of a closure, without %s: %s", want, out)
		}
	}
	s.want(0, "store", "repair", "--secret-key-file", key, link)
	if sigs := fmt.Sprint(s.rows()[app]["signatures"]); !strings.Contains(sigs, "test1:") {
		t.Errorf("signatures %s", sigs)
	}
	out, _ = s.want(3, "store", "verify", "--report", "-", tool)
	if !strings.Contains(out, "1 invalid signature") {
		t.Errorf("the other path: %s", out)
	}
	s.clean("after one path")

	for what, args := range map[string][]string{
		"not in the store directory":           {t.TempDir()},
		"no such file or directory":            {t.TempDir() + "/none"},
		"not a valid path in Nix's database":   {s.path("k", "none")},
		"is not a store path":                  {s.dir + "/.links"},
		"valid in Nix's database, but missing": {s.path("d", "other")},
	} {
		if strings.HasPrefix(what, "valid") {
			if err := os.Rename(args[0], args[0]+".away"); err != nil {
				t.Fatal(err)
			}
		}
		for _, command := range []string{"verify", "repair"} {
			if _, stderr := s.want(1, append([]string{"store", command}, args...)...); !strings.Contains(stderr, what) {
				t.Errorf("store %s %s: %s", command, args, stderr)
			}
		}
	}
}

// What only the owner of a certificate can repair is named, with what can be done about it.
func TestStoreCertificate(t *testing.T) {
	s := newNixStore(t)
	app := s.path("f", "app")
	stale, _ := rewritten(t, "lld-arm64")
	s.nix(exportOf([]closurePath{{path: app, tree: nartest.Dir{"signed": nartest.Exec(certified(t)), "x": nartest.Exec(stale)}}}), "nix-store", "--import")
	_, stderr := s.want(3, "store", "repair", "--on-cms", "fail")
	if !strings.Contains(stderr, "signed by a certificate") {
		t.Errorf("--on-cms fail: %s", stderr)
	}
	for _, args := range [][]string{{"store", "repair", "--dry-run"}, {"store", "repair"}} {
		out, stderr := s.want(3, args...)
		if out != app+"\n" || !strings.Contains(stderr, app+"/signed") || !strings.Contains(stderr, "--on-cms adhoc") {
			t.Errorf("%q: %s%s", args, out, stderr)
		}
	}
	s.clean("with one image repaired")
	if out, _ := s.want(3, "store", "repair"); out != "" {
		t.Errorf("nothing to repair: %s", out)
	}
	s.want(0, "store", "repair", "--on-cms", "adhoc")
	s.want(0, "store", "verify")
	s.clean("after")
}

// A path that was changed without Nix is left alone, and the others are repaired.
func TestStoreModified(t *testing.T) {
	s := newNixStore(t)
	_, _, app, tool := s.fill()
	if err := os.Chmod(app, 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, app+"/new", []byte("x"))
	out, stderr := s.want(1, "store", "repair")
	if out != tool+"\n" || !strings.Contains(stderr, app+": its contents do not match Nix's database") ||
		!strings.Contains(stderr, "nix-store --repair-path "+app) {
		t.Errorf("%s%s", out, stderr)
	}
}

// unableNix returns a directory with a nix-store that fails at some of its options, separated by bars, and passes all else
// on to the real one.
func unableNix(t *testing.T, real, options string) string {
	bin := t.TempDir()
	writeFile(t, bin+"/nix-store", []byte("#!/bin/sh\ncase $1 in "+options+") echo 'error: it cannot' >&2; exit 1 ;; esac\nexec "+real+` "$@"`+"\n"))
	if err := os.Chmod(bin+"/nix-store", 0o755); err != nil {
		t.Fatal(err)
	}
	return bin
}

// Where Nix does not repair a path, it is replaced and registered.
func TestStoreRegisters(t *testing.T) {
	s := newNixStore(t)
	bin := unableNix(t, s.tool("nix-store"), "--repair-path")
	lib, other, app, tool := s.fill()
	s.nix(nil, "nix-store", "--optimise")
	before, links := s.rows(), files(t, s.dir+"/.links")
	s.set("PATH", bin+":"+s.get("PATH"))
	out, stderr := s.want(0, "store", "repair", "-v")
	if out != app+"\n"+tool+"\n" || !strings.Contains(stderr, "Nix did not repair it, trying another way: ") {
		t.Errorf("%s%s", out, stderr)
	}
	s.clean("after")
	s.want(0, "store", "verify")
	if !reflect.DeepEqual(files(t, s.dir+"/.links"), links) {
		t.Error(".links is not what it was")
	}
	rows := s.rows()
	for path := range before {
		fields := []string{"references", "deriver", "registrationTime", "narSize"}
		if path == lib || path == other {
			fields = append(fields, "narHash", "signatures", "ca", "ultimate")
		}
		for _, field := range fields {
			if !reflect.DeepEqual(rows[path][field], before[path][field]) {
				t.Errorf("%s of %s: %v, was %v", field, path, rows[path][field], before[path][field])
			}
		}
	}
	for name, stat := range files(t, app) {
		if f := strings.Fields(stat); !slices.Contains([]string{"-r-xr-xr-x", "-r--r--r--", "dr-xr-xr-x", "Lrwxrwxrwx"}, f[1]) || !strings.Contains(stat, "1970-01-01") {
			t.Errorf("%s: %.100s", name, stat)
		}
	}
	if names, err := filepath.Glob(s.dir + "/.narseal*"); err != nil || len(names) > 0 {
		t.Errorf("left: %q", names)
	}
}

// A collection of garbage that begins while contents are made takes nothing of them: it waits.
func TestStoreCollector(t *testing.T) {
	s := newNixStore(t)
	_, _, app, tool := s.fill()
	real := s.tool("nix-store")
	bin := t.TempDir()
	writeFile(t, bin+"/nix-store", []byte("#!/bin/sh\ncase $1 in --repair-path) exit 1 ;; --restore)\n"+real+` "$@" || exit`+"\n"+
		real+" --gc >"+bin+"/collected 2>&1 & sleep 1; exit 0 ;; esac\nexec "+real+` "$@"`+"\n"))
	if err := os.Chmod(bin+"/nix-store", 0o755); err != nil {
		t.Fatal(err)
	}
	roots := filepath.Join(s.get("NIX_STATE_DIR"), "gcroots")
	if err := os.MkdirAll(roots, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{app, tool} {
		if err := os.Symlink(path, filepath.Join(roots, filepath.Base(path))); err != nil {
			t.Fatal(err)
		}
	}
	s.set("PATH", bin+":"+s.get("PATH"))
	if out, stderr := s.want(0, "store", "repair", "-v"); out != app+"\n"+tool+"\n" {
		t.Errorf("%s%s", out, stderr)
	}
	s.nix(nil, real, "--gc") // ends after the others
	s.clean("after")
	s.want(0, "store", "verify")
	if got, err := os.ReadFile(bin + "/collected"); err != nil || len(got) == 0 {
		t.Errorf("%v: nothing was collected: %s", err, got)
	}
}

// The names that Nix gives to files on macOS whose names differ by case alone are not part of a path.
func TestStoreCaseHack(t *testing.T) {
	s := newNixStore(t)
	s.set("NIX_CONFIG", s.get("NIX_CONFIG")+"\nuse-case-hack = true")
	app := s.path("f", "app")
	stale, repaired := rewritten(t, "lld-arm64")
	s.nix(exportOf([]closurePath{{path: app, tree: nartest.Dir{"Hello": nartest.Exec(stale), "hello": nartest.Exec(stale)}}}), "nix-store", "--import")
	before := names(t, app)
	if len(before) != 2 || !strings.Contains(strings.Join(before, ""), "~nix~case~hack~") {
		t.Fatalf("Nix made %q", before)
	}
	s.want(3, "store", "verify")
	s.want(0, "store", "repair")
	if now := names(t, app); !reflect.DeepEqual(now, before) {
		t.Errorf("now %q, was %q", now, before)
	}
	for _, name := range before {
		if !bytes.Equal(readFile(t, filepath.Join(app, name)), repaired) {
			t.Errorf("%s is not repaired", name)
		}
	}
	s.clean("after")
}

// store verify restricts itself when the paths are listed.
func TestStoreSandbox(t *testing.T) {
	s := newNixStore(t)
	_, _, app, _ := s.fill()
	_, stderr := s.want(3, "store", "verify", "-v", app)
	if !strings.Contains(stderr, "no restrictions") && !strings.Contains(stderr, "sandbox: read: "+app+", ") {
		t.Errorf("of one path: %s", stderr)
	}
	_, stderr = s.want(3, "store", "verify", "-v")
	if strings.Contains(stderr, "no restrictions") {
		t.Skip(stderr)
	}
	for _, right := range []string{"execute: none", "write: " + os.TempDir()} {
		if !strings.Contains(stderr, right) {
			t.Errorf("want %q: %s", right, stderr)
		}
	}
}

// repair --in-place leaves a store alone.
func TestInPlaceRefusesStores(t *testing.T) {
	s := newNixStore(t)
	_, _, app, _ := s.fill()
	s.nix(nil, "nix-store", "--optimise")
	before := files(t, s.dir)
	above := filepath.Dir(s.dir)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(app, link); err != nil {
		t.Fatal(err)
	}
	env := s.env
	for _, elsewhere := range []bool{false, true} {
		if elsewhere { // without Nix's variables, by the database beside the store
			s.env = slices.DeleteFunc(slices.Clone(env), func(kv string) bool { return strings.HasPrefix(kv, "NIX_") })
		}
		for _, path := range []string{s.dir, s.dir + "/.links", app, app + "/bin/hello", link, above, "/"} {
			if path == "/" && elsewhere {
				continue // this machine may have no store
			}
			_, stderr := s.want(2, "repair", "--in-place", path)
			if !strings.Contains(stderr, "narseal store repair") || !strings.Contains(stderr, "--force") {
				t.Errorf("%s: %s", path, stderr)
			}
		}
	}
	if !reflect.DeepEqual(files(t, s.dir), before) {
		t.Error("the store has changed")
	}
	s.want(0, "repair", "--in-place", "--force", app)
	if _, err := s.tryNix(nil, "nix-store", "--verify-path", app); err == nil {
		t.Error("Nix takes a path that was changed behind its back for what it was")
	}
}

// Code without a signature is not repaired; verify says what --unsigned says.
func TestStoreUnsigned(t *testing.T) {
	s := newNixStore(t)
	app := s.path("f", "app")
	s.nix(exportOf([]closurePath{{path: app, tree: nartest.Dir{"x": nartest.Exec(machotest.Unsigned(golden(t, "A/lld-arm64")))}}}), "nix-store", "--import")
	out, _ := s.want(3, "store", "verify")
	if !strings.Contains(out, app+"/x\n") || !strings.Contains(out, "1 missing signature") {
		t.Errorf("%s", out)
	}
	s.want(0, "store", "verify", "--unsigned", "warn")
	if out, stderr := s.want(0, "store", "repair"); out != "" || !strings.Contains(stderr, "narseal store verify lists it") {
		t.Errorf("%s%s", out, stderr)
	}
}

// Without the rights nothing is done, and what is needed is said. The daemon repairs for the users that it trusts.
func TestStoreDaemon(t *testing.T) {
	daemon := nartest.Tool(t, "nix-daemon")
	if os.Geteuid() != 0 {
		t.Skip("needs root, for two other users")
	}
	s := newNixStore(t)
	_, _, app, tool := s.fill()
	before := s.rows()
	top := filepath.Dir(s.dir)
	for _, dir := range []string{top, filepath.Dir(top)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for dir := os.TempDir(); dir != "/"; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err != nil || info.Mode()&1 == 0 {
			if os.Getenv("NARSEAL_REQUIRE_TOOLS") == "1" {
				t.Fatalf("other users cannot enter %s: %v", dir, err)
			}
			t.Skipf("other users cannot enter %s: %v", dir, err)
		}
	}
	const trusted, other = 1, 65534
	if err := os.MkdirAll(top+"/etc", 0o755); err != nil {
		t.Fatal(err)
	}
	user, err := user.LookupId(strconv.Itoa(trusted))
	if err != nil {
		t.Skip(err)
	}
	writeFile(t, top+"/etc/nix.conf", []byte("trusted-users = root "+user.Username+"\nbuild-users-group =\nsubstituters =\nexperimental-features = nix-command\n"))
	s.env = slices.DeleteFunc(s.env, func(kv string) bool { return strings.HasPrefix(kv, "NIX_CONFIG=") })
	s.set("NIX_DAEMON_SOCKET_PATH", top+"/socket")
	cmd := exec.Command(daemon)
	cmd.Env = s.env
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	for {
		if _, err := os.Stat(top + "/socket"); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	// The program lies where only root finds it.
	bin := top + "/bin"
	program, err := exec.LookPath("narseal")
	if err == nil {
		err = os.Mkdir(bin, 0o755)
	}
	if err == nil {
		var self []byte
		if self, err = os.ReadFile(program); err == nil {
			err = os.WriteFile(bin+"/narseal", self, 0o755)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	as := func(uid uint32, args ...string) (status int, out string) {
		home := filepath.Join(top, fmt.Sprint("home", uid))
		if err := os.MkdirAll(home, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(home, int(uid), int(uid)); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(bin+"/narseal", args...)
		cmd.Env = append(slices.Clone(s.env), "HOME="+home, "GOCOVERDIR=")
		cmd.Dir = home
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		b, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(b)
	}
	status, out := as(other, "store", "repair")
	if status != 1 || !strings.Contains(out, "no right to repair") || !strings.Contains(out, "trusted-users") || !strings.Contains(out, "NIX_REMOTE") {
		t.Errorf("a user that nobody trusts: %d, %s", status, out)
	}
	if status, out := as(other, "store", "repair", "--dry-run"); status != 0 || out != app+"\n"+tool+"\n" {
		t.Errorf("a dry run by that user: %d, %s", status, out)
	}
	if status, out := as(other, "store", "verify"); status != 3 {
		t.Errorf("store verify by that user: %d, %s", status, out)
	}
	if !reflect.DeepEqual(s.rows(), before) {
		t.Error("the store has changed")
	}
	if status, out := as(trusted, "store", "repair"); status != 0 || !strings.Contains(out, app+"\n") || !strings.Contains(out, tool+"\n") {
		t.Errorf("a trusted user: %d, %s", status, out)
	}
	s.clean("after")
	s.want(0, "store", "verify")
	s.knownToOthers(func(args ...string) (int, string) { return as(other, args...) })

	// Neither a daemon nor the rights to do without.
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err := os.Remove(top + "/socket"); err != nil {
		t.Fatal(err)
	}
	if status, out := as(other, "store", "repair"); status != 1 || !strings.Contains(out, "cannot be written") {
		t.Errorf("without a daemon: %d, %s", status, out)
	}
}

// On a Mac: a program whose signature was broken is killed, and runs again when the store is repaired; codesign agrees,
// and two names that differ by case alone keep theirs.
func TestStoreOnMac(t *testing.T) {
	if runtime.GOOS != "darwin" {
		t.Skip("needs a Mac")
	}
	codesign := nartest.Tool(t, "codesign")
	s := newNixStore(t)
	program, err := exec.LookPath("narseal")
	if err != nil {
		t.Fatal(err)
	}
	self := readFile(t, program)
	at := bytes.Index(self, []byte("Copyright")) // in some text that is printed by no test
	if at < 0 {
		at = len(self) / 2
	}
	stale := bytes.Clone(self)
	stale[at] ^= 0x20
	app := s.path("f", "app")
	s.nix(exportOf([]closurePath{{path: app, tree: nartest.Dir{"Narseal": nartest.Exec(stale), "narseal": nartest.Exec(stale)}}}), "nix-store", "--import")
	before := names(t, app)
	s.want(3, "store", "verify")
	s.want(0, "store", "repair")
	s.clean("after")
	if now := names(t, app); !reflect.DeepEqual(now, before) {
		t.Errorf("now %q, was %q", now, before)
	}
	for _, name := range before {
		if out, err := exec.Command(codesign, "--verify", "--strict", filepath.Join(app, name)).CombinedOutput(); err != nil {
			t.Errorf("codesign: %v: %s", err, out)
		}
		if out, err := exec.Command(filepath.Join(app, name), "-test.list", "^$").CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

// A store that is mounted for reading alone, as on NixOS, is repaired by root: Nix sees to that.
func TestStoreMountedReadOnly(t *testing.T) {
	unshare := nartest.Tool(t, "unshare")
	if err := exec.Command(unshare, "--mount", "true").Run(); err != nil {
		t.Skipf("unshare --mount: %v", err)
	}
	s := newNixStore(t)
	_, _, app, tool := s.fill()
	cmd := exec.Command(unshare, "--mount", "sh", "-c", `mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" &&
		if touch "$1/x" 2>/dev/null; then exit 9; fi && exec narseal store repair`, "sh", s.dir)
	cmd.Env = s.env
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != app+"\n"+tool+"\n" {
		t.Errorf("%v: %s", err, out)
	}
	s.clean("after")
	s.want(0, "store", "verify")
}

// The reports of store verify name store paths and what is in them.
func TestStoreReports(t *testing.T) {
	s := newNixStore(t)
	_, _, app, tool := s.fill()
	dir := t.TempDir()
	html, rep := dir+"/x.html", dir+"/x.json"
	s.want(3, "store", "verify", "--html", html, "--report", rep)
	if text := string(readFile(t, html)); !strings.Contains(text, app+"/bin/hello") || !strings.Contains(text, tool) {
		t.Errorf("%.2000s", text)
	}
	var got struct {
		Schema, Command, Store string
		Summary                map[string]int
		Paths                  []struct {
			StorePath, Status, NarHash string
			Signatures                 []struct{ Path, Status string }
		}
	}
	if err := json.Unmarshal(readFile(t, rep), &got); err != nil {
		t.Fatal(err)
	}
	if got.Schema != "narseal/1" || got.Command != "store verify" || got.Store != s.dir || got.Summary["verified"] != 4 || len(got.Paths) != 4 {
		t.Errorf("%+v", got)
	}
	for _, p := range got.Paths {
		if row := s.rows()[p.StorePath]; p.NarHash != row["narHash"] {
			t.Errorf("%s has the hash %s, Nix says %s", p.StorePath, p.NarHash, row["narHash"])
		}
		if p.StorePath == tool && (len(p.Signatures) != 1 || p.Signatures[0].Path != "/" || p.Signatures[0].Status != "stale") {
			t.Errorf("%+v", p)
		}
	}
	out, _ := s.want(3, "store", "verify", "--format", "json", tool)
	var line struct{ Input, StorePath, Path, Status string }
	if err := json.Unmarshal([]byte(out), &line); err != nil || line.StorePath != tool || line.Path != "/" || line.Status != "stale" || line.Input != s.dir {
		t.Errorf("%v: %s", err, out)
	}
	out, _ = s.want(3, "store", "verify", "--format", "github", app)
	if !strings.Contains(out, "::error file="+app+"/bin/hello,") {
		t.Errorf("%s", out)
	}
	out, _ = s.want(3, "store", "verify", tool)
	if !strings.Contains(out, tool+"\n") {
		t.Errorf("%s", out)
	}
	s.want(0, "store", "repair", "--report", rep)
	got.Paths, got.Summary = nil, nil
	if err := json.Unmarshal(readFile(t, rep), &got); err != nil {
		t.Fatal(err)
	}
	if got.Command != "store repair" || got.Summary["changed"] != 2 || got.Summary["unchanged"] != 2 {
		t.Errorf("%+v", got)
	}
}

// A store that lies elsewhere than its paths say.
func TestStoreWithRoot(t *testing.T) {
	n := nartest.Nix(t)
	s := &nixStore{t: t, dir: "/nix/store", env: n.Env}
	_, _, app, tool := s.fill()
	out, _ := s.want(3, "store", "verify")
	if !strings.Contains(out, app+"/bin/hello") {
		t.Errorf("%s", out)
	}
	if out, _ := s.want(0, "store", "repair"); out != app+"\n"+tool+"\n" {
		t.Errorf("%s", out)
	}
	s.clean("after")
	s.want(0, "store", "verify", tool)
	if _, want := rewritten(t, "lld-arm64"); !bytes.Equal(readFile(t, n.Real(tool)), want) {
		t.Error("it is not repaired")
	}
}

// A store that --store-dir names is found with the database beside it, and a nix that is called nix alone is enough.
func TestStoreNamed(t *testing.T) {
	s := newNixStore(t)
	_, _, app, tool := s.fill()
	nix, err := filepath.EvalSymlinks(nartest.Tool(t, "nix"))
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	narseal, err := exec.LookPath("narseal")
	if err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"nix": nix, "narseal": narseal} {
		if err := os.Symlink(target, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	all := s.env
	s.env = slices.DeleteFunc(slices.Clone(all), func(kv string) bool {
		return strings.HasPrefix(kv, "NIX_STORE_DIR=") || strings.HasPrefix(kv, "NIX_STATE_DIR=")
	})
	s.set("PATH", bin)
	if out, _ := s.want(0, "store", "repair", "--store-dir", s.dir); out != app+"\n"+tool+"\n" {
		t.Errorf("%s", out)
	}
	s.env = all
	s.clean("after")
}

// A content-addressed path whose contents change is said not to be one any more.
func TestStoreContentAddressed(t *testing.T) {
	nixes(t, func(t *testing.T, s *nixStore) {
		stale, _ := rewritten(t, "lld-arm64")
		file := filepath.Join(t.TempDir(), "hello")
		writeFile(t, file, stale)
		path := strings.TrimSpace(s.nix(nil, "nix-store", "--add", file))
		for _, args := range [][]string{{"store", "repair", "-n"}, {"store", "repair"}} {
			if out, stderr := s.want(0, args...); out != path+"\n" || !strings.Contains(stderr, "no longer content-addressed") {
				t.Errorf("%q: %s%s", args, out, stderr)
			}
		}
		if ca := s.rows()[path]["ca"]; ca != nil && ca != "" {
			t.Errorf("it still has the CA %v", ca)
		}
		s.clean("after")
	})
}

// What Nix does not take stays staged. The next run has Nix take it, unless the path is another one by then, or none.
func TestStoreStaged(t *testing.T) {
	valid := golden(t, "B/lld-arm64")
	for what, between := range map[string]func(s *nixStore, tool string){
		"as it was": func(*nixStore, string) {},
		"collected": func(s *nixStore, tool string) { s.nix(nil, "nix-store", "--delete", "--ignore-liveness", tool) },
		"replaced": func(s *nixStore, tool string) {
			s.nix(nil, "nix-store", "--delete", "--ignore-liveness", tool)
			s.nix(exportOf([]closurePath{{path: tool, tree: nartest.Dir{"other": nartest.Exec(valid)}}}), "nix-store", "--import")
		},
		"half removed": func(s *nixStore, tool string) {
			if err := os.Remove(tool); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := newNixStore(t)
			_, _, app, tool := s.fill()
			path := s.get("PATH")
			s.set("PATH", unableNix(t, s.tool("nix-store"), "--repair-path|--restore")+":"+path)
			out, stderr := s.want(1, "store", "repair", tool)
			if out != "" || !strings.Contains(stderr, "it cannot") || !strings.Contains(stderr, "narseal store repair tries again") {
				t.Errorf("%s%s", out, stderr)
			}
			s.set("PATH", path)
			between(s, tool)
			wantOut := app + "\n"
			if what == "as it was" || what == "half removed" {
				wantOut = tool + "\n" + wantOut
			}
			if out, stderr := s.want(0, "store", "repair"); out != wantOut {
				t.Errorf("then: %s%s", out, stderr)
			}
			s.clean("after")
			s.want(0, "store", "verify")
			if _, err := os.Stat(s.get("NIX_STATE_DIR") + "/narseal"); err == nil {
				t.Error("something is still staged")
			}
		})
	}
}

// The three commands of the README, as a user would type them, and what it says about undoing a repair.
func TestReadmeStore(t *testing.T) {
	text := string(readFile(t, "../../README.md"))
	_, text, ok := strings.Cut(text, "what would change, and to repair it:\n\n")
	block, rest, _ := strings.Cut(text, "\n\n")
	commands := strings.Split(block, "\n")
	if !ok || len(commands) != 3 || !strings.Contains(rest, "`nix-store --repair-path PATH` as root") {
		t.Fatalf("%q", block)
	}
	s := newNixStore(t)
	_, _, app, _ := s.fill()
	cache := t.TempDir()
	s.nix(nil, "nix", "copy", "--no-check-sigs", "--to", "file://"+cache, app)
	dir := t.TempDir()
	if err := os.Symlink(app, filepath.Join(dir, "result")); err != nil {
		t.Fatal(err)
	}
	before := s.rows()
	for i, status := range []int{3, 0, 0} {
		cmd := exec.Command("sh", "-c", strings.Replace(commands[i], "sudo ", "", 1))
		cmd.Dir, cmd.Env = dir, s.env
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		if cmd.ProcessState.ExitCode() != status {
			t.Errorf("%s: %v, want status %d\n%s", commands[i], err, status, out)
		}
		if i < 2 && !reflect.DeepEqual(s.rows(), before) {
			t.Errorf("%s: it changed the database", commands[i])
		}
	}
	s.want(0, "store", "verify", app)
	s.clean("after")
	s.nix(nil, "nix-store", "--option", "substituters", "file://"+cache, "--option", "require-sigs", "false", "--repair-path", app)
	s.want(3, "store", "verify", app)
	s.clean("undone")
}

// An empty store is no success that goes without saying.
func TestStoreEmpty(t *testing.T) {
	s := newNixStore(t)
	s.nix(nil, "nix-store", "--init")
	if _, stderr := s.want(0, "store", "verify"); !strings.Contains(stderr, "the store has no valid paths") {
		t.Errorf("no warning: %s", stderr)
	}
	s.fill()
	if _, stderr := s.want(3, "store", "verify"); strings.Contains(stderr, "no valid paths") {
		t.Errorf("a warning: %s", stderr)
	}
}
