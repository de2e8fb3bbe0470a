package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

// reference is an object of refs --format json.
type reference struct {
	Input     string   `json:"input"`
	StorePath string   `json:"storePath,omitempty"`
	Denied    string   `json:"denied,omitempty"`
	Count     int64    `json:"count"`
	Encodings []string `json:"encodings"`
	Hidden    bool     `json:"hidden,omitempty"`
	Places    []place  `json:"places"`
	Allowed   *bool    `json:"allowed,omitempty"`
}

type place struct {
	Archive  string `json:"archive,omitempty"`
	Path     string `json:"path,omitempty"`
	Member   string `json:"member,omitempty"`
	Packed   string `json:"packed,omitempty"`
	Part     string `json:"part"`
	Offset   int64  `json:"offset"`
	Encoding string `json:"encoding"`
}

// narseal runs the program in this process.
func narseal(t *testing.T, stdin []byte, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(context.Background(), append([]string{"narseal"}, args...), bytes.NewReader(stdin), &out, &errs)
	return status, out.String(), errs.String()
}

// refsOf returns the objects that refs writes about inputs, and its status.
func refsOf(t *testing.T, stdin []byte, args ...string) (refs []reference, status int) {
	t.Helper()
	status, stdout, stderr := narseal(t, stdin, append([]string{"refs", "--format", "json"}, args...)...)
	if status != statusDone && status != statusInvalid {
		t.Fatalf("status %d, stderr %q", status, stderr)
	}
	for line := range strings.Lines(stdout) {
		var ref reference
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&ref); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		refs = append(refs, ref)
	}
	return refs, status
}

func storePaths(refs []reference) (paths []string) {
	for _, ref := range refs {
		if ref.StorePath != "" {
			paths = append(paths, ref.StorePath)
		}
	}
	return paths
}

// Nix itself scans what it builds for the hashes of its inputs. All that it
// finds is found, and nothing else stands there.
func TestRefsAreWhatNixFinds(t *testing.T) {
	store := nartest.Nix(t)
	dir := t.TempDir()
	for i := range 6 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("input%d", i)), fmt.Append(nil, i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	shell, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	build := func(script string) (string, error) {
		expr := fmt.Sprintf(`derivation {
			name = "t"; system = builtins.currentSystem; builder = "/bin/sh";
			inputs = [ %s ];
			args = [ "-c" %q ]; }`,
			strings.Join(quoteAll("${"+dir+"/input%d}", 6), " "), script)
		out, err := store.Try(nil, "nix-build", "--no-out-link", "--option", "sandbox", "true",
			"--option", "sandbox-paths", "/bin/sh="+shell+" /lib /lib64? /usr/lib", "-E", expr)
		return strings.TrimSpace(string(out)), err
	}
	if _, err := build("echo > $out"); err != nil {
		t.Skipf("Nix cannot build here: %v", err)
	}
	for name, script := range map[string]string{
		"none":     "echo > $out",
		"self":     "echo $out > $out",
		"contents": "set -- $inputs; echo $1 $3:$5 > $out; echo $1/bin >> $out",
		"some":     "set -- $inputs; echo x$2,y$4 > $out",
		"all":      "echo $inputs $out > $out",
	} {
		path, err := build(script)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := strings.Fields(string(store.Run(nil, "nix-store", "--query", "--references", path)))
		slices.Sort(want)
		archive := store.Run(nil, "nix-store", "--dump", store.Real(path))
		refs, _ := refsOf(t, archive)
		if got := storePaths(refs); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, Nix found %q", name, got, want)
		}
		refs, _ = refsOf(t, nil, store.Real(path))
		if got := storePaths(refs); !slices.Equal(got, want) {
			t.Errorf("%s, on disk: got %q, Nix found %q", name, got, want)
		}
		refs, _ = refsOf(t, store.Run(nil, "nix-store", "--export", path))
		if got := storePaths(refs); !slices.Equal(got, want) {
			t.Errorf("%s, exported: got %q, Nix found %q", name, got, want)
		}
	}
}

func quoteAll(format string, n int) (list []string) {
	for i := range n {
		list = append(list, `"`+fmt.Sprintf(format, i)+`"`)
	}
	return list
}

// A denied hash is found in each archive of a stream, which is named, and
// among the references that the stream states.
func TestRefsOfExportStream(t *testing.T) {
	p, q, r := strings.Repeat("p", 32), strings.Repeat("q", 32), strings.Repeat("r", 32)
	archive := func(path string, refs []string, root nartest.Node) []byte {
		b := append([]byte{1, 0, 0, 0, 0, 0, 0, 0}, nartest.Tree(root)...)
		b = append(b, "NIXE\x00\x00\x00\x00"...)
		b = append(b, nartest.Strings(path)...)
		b = append(b, byte(len(refs)), 0, 0, 0, 0, 0, 0, 0)
		b = append(b, nartest.Strings(refs...)...)
		return append(append(b, nartest.Strings("")...), make([]byte, 8)...)
	}
	one, two := "/nix/store/"+p+"-one", "/nix/store/"+q+"-two"
	stream := slices.Concat(
		archive(one, nil, nartest.Dir{"x": nartest.File(".." + one)}),
		archive(two, []string{one, "/nix/store/" + r + "-three"}, nartest.Dir{"y": nartest.File("-" + p)}),
		make([]byte, 8))
	refs, status := refsOf(t, stream, "--deny", p)
	if status != statusInvalid {
		t.Errorf("status %d", status)
	}
	got, err := json.Marshal(refs)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"input":"-","denied":"{P}","count":3,"encodings":["utf8"],"places":[` +
		`{"archive":"/nix/store/{P}-one","path":"/x","part":"contents","offset":13,"encoding":"utf8"},` +
		`{"archive":"/nix/store/{Q}-two","path":"/y","part":"contents","offset":1,"encoding":"utf8"},` +
		`{"archive":"/nix/store/{Q}-two","part":"references","offset":11,"encoding":"utf8"}]},` +
		`{"input":"-","storePath":"/nix/store/{P}-one","count":2,"encodings":["utf8"],"places":[` +
		`{"archive":"/nix/store/{P}-one","path":"/x","part":"contents","offset":2,"encoding":"utf8"}]},` +
		`{"input":"-","storePath":"/nix/store/{R}-three","count":1,"encodings":["utf8"],"places":[` +
		`{"archive":"/nix/store/{Q}-two","part":"references","offset":0,"encoding":"utf8"}]}]`
	want = strings.NewReplacer("{P}", p, "{Q}", q, "{R}", r).Replace(want)
	if string(got) != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	for cut := range stream {
		if status, _, _ := narseal(t, stream[:cut], "refs"); status != statusError {
			t.Fatalf("cut at %d: status %d", cut, status)
		}
	}
}

// Names are shown so that a terminal does not act on them.
func TestRefsShowsNamesHarmless(t *testing.T) {
	tree := nartest.Tree(nartest.Dir{"a\x1b[2J": nartest.File("/nix/store/" + strings.Repeat("p", 32) + "-x")})
	_, stdout, stderr := narseal(t, tree, "refs", "--deny", strings.Repeat("p", 32))
	for _, s := range []string{stdout, stderr} {
		if strings.Contains(s, "\x1b") || !strings.Contains(s, `"/a\x1b[2J"`) {
			t.Errorf("wrote %q", s)
		}
	}
}

// A gate does not pass what it could not look into.
func TestRefsGateIsComplete(t *testing.T) {
	damaged := "\x1f\x8b\x08\x00 no deflate stream"
	in := nartest.Tree(nartest.File(damaged))
	if o := invoke(bytes.NewReader(in), "refs", "--deep"); o.status != statusDone || !strings.Contains(o.stderr, "warning") {
		t.Errorf("without a gate: status %d; stderr: %s", o.status, o.stderr)
	}
	for _, gate := range [][]string{{"--deny", hashA}, {"--allow-only", writeAllowed(t)}} {
		o := invoke(bytes.NewReader(in), append([]string{"refs", "--deep"}, gate...)...)
		if o.status != statusError || !strings.Contains(o.stderr, "not searched completely: 1 packed file") {
			t.Errorf("%s: status %d; stderr: %s", gate[0], o.status, o.stderr)
		}
	}
}

func writeAllowed(t *testing.T) string {
	name := filepath.Join(t.TempDir(), "allowed")
	if err := os.WriteFile(name, []byte(hashA+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	return name
}

// Holes cost refs nothing, alone or in a directory.
func TestRefsSparse(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "disk")
	const size = 1 << 43 // 8 TiB: hours, if it were read
	path := "/nix/store/" + strings.Repeat("7", 32) + "-x "
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Skip(err)
	}
	for _, at := range []int64{5000, size - 100} {
		if _, err := f.WriteAt([]byte(path), at); err != nil {
			t.Fatal(err)
		}
	}
	for _, input := range []string{name, dir} {
		for _, deep := range []string{"", "--deep"} {
			args := slices.DeleteFunc([]string{program, "refs", "--format", "json", deep, input}, func(s string) bool { return s == "" })
			var stdout, stderr bytes.Buffer
			status := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
			if status != statusDone || !strings.Contains(stdout.String(), `"count":2`) ||
				!strings.Contains(stdout.String(), `"offset":5000`) {
				t.Errorf("%q: status %d, %s%s", args, status, &stdout, &stderr)
			}
		}
	}
}
