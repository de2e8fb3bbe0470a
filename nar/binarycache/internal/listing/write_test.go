package listing

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

var trees = map[string]nartest.Node{
	"file":            nartest.File("x"),
	"empty file":      nartest.File(""),
	"executable":      nartest.Exec("#!/bin/sh\n"),
	"symlink":         nartest.Symlink("/nix/store/x"),
	"empty directory": nartest.Dir{},
	"nested": nartest.Dir{"a": nartest.Dir{"b": nartest.Dir{"c": nartest.Dir{}}, "d": nartest.File("12345678")},
		"e": nartest.Exec("0"), "f": nartest.Dir{"g": nartest.Symlink("../a"), "h": nartest.File("")}, "z": nartest.Dir{}},
	"odd names": nartest.Dir{"a\"b\\c": nartest.File("q"), "line\nfeed\ttab\x01\x7f": nartest.File("c"), "ünïcödé \u2028 <&>": nartest.Symlink("\"\n→")},
}

// naive lists an archive that it has as a whole. at is where the node begins.
func naive(b []byte, at int) (node map[string]any, end int) {
	word := func() string {
		n := int(binary.LittleEndian.Uint64(b[at:]))
		s := string(b[at+8 : at+8+n])
		at += 8 + (n+7)/8*8
		return s
	}
	word() // (
	word() // type
	node = map[string]any{"type": word()}
	for w := word(); w != ")"; w = word() {
		switch w {
		case "executable":
			word()
			node["executable"] = true
		case "contents":
			node["narOffset"] = float64(at + 8)
			node["size"] = float64(len(word()))
		case "target":
			node["target"] = word()
		case "entry":
			word() // (
			word() // name
			name := word()
			word() // node
			var child map[string]any
			child, at = naive(b, at)
			word() // )
			if node["entries"] == nil {
				node["entries"] = map[string]any{}
			}
			node["entries"].(map[string]any)[name] = child
		}
	}
	if node["type"] == "directory" && node["entries"] == nil {
		node["entries"] = map[string]any{}
	}
	return node, at
}

// keys are the keys of an object of JSON in the order of the text, but for those that are names of entries.
func keys(t *testing.T, text string) (list []string) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := tok.(string); ok && slices.Contains([]string{"version", "root", "type", "entries", "size", "executable", "narOffset", "target"}, s) {
			list = append(list, s)
		}
	}
}

func TestWrite(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(trees)) {
		archive := nartest.Tree(trees[name])
		root, end := naive(archive, 24) // behind the magic
		if end != len(archive) {
			t.Fatalf("%s: the oracle ends at %d of %d", name, end, len(archive))
		}
		want := map[string]any{"version": float64(1), "root": root}
		for _, style := range []Style{Sorted, Older} {
			var out bytes.Buffer
			if err := Write(&out, bytes.NewReader(archive), style); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			var got map[string]any
			if err := json.Unmarshal(out.Bytes(), &got); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %v\ngot  %s\nwant %v", name, err, out.Bytes(), want)
			}
			if StyleOf(out.Bytes()) != style {
				t.Errorf("%s: the style is not found again in %s", name, out.Bytes())
			}
			if changed, err := Rename(io.Discard, bytes.NewReader(out.Bytes()), listRename); changed || err != nil {
				t.Errorf("%s: renamed: %v, %v", name, changed, err)
			}
		}
		// What encoding/json makes of maps is sorted, as is what Nix makes since 2.10.
		var sorted bytes.Buffer
		enc := json.NewEncoder(&sorted)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(want); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := Write(&out, bytes.NewReader(archive), Sorted); err != nil {
			t.Fatal(err)
		}
		if got := strings.ReplaceAll(out.String(), "\u2028", `\u2028`) + "\n"; got != sorted.String() {
			t.Errorf("%s: got\n%swant\n%s", name, got, sorted.String())
		}
	}
}

// Nix 2.8 writes the older style.
func TestWriteAsNixDoes(t *testing.T) {
	s := nartest.Nix(t)
	for name, tree := range trees {
		archive := nartest.Tree(tree)
		file := filepath.Join(t.TempDir(), "nar")
		if err := os.WriteFile(file, archive, 0o600); err != nil {
			t.Fatal(err)
		}
		theirs := strings.TrimSpace(string(s.Run(nil, "nix", "nar", "ls", "--json", "--recursive", file, "/")))
		var out bytes.Buffer
		if err := Write(&out, bytes.NewReader(archive), Older); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got struct{ Root any }
		var want any
		if err := errors.Join(json.Unmarshal(out.Bytes(), &got), json.Unmarshal([]byte(theirs), &want)); err != nil || !reflect.DeepEqual(got.Root, want) {
			t.Errorf("%s: %v\ngot  %s\nwant %s", name, err, out.Bytes(), theirs)
		}
		if ours := strings.TrimSuffix(strings.TrimPrefix(out.String(), `{"version":1,"root":`), "}"); strings.HasPrefix(theirs, `{"type"`) && !slices.Equal(keys(t, ours), keys(t, theirs)) {
			t.Errorf("%s: other order of keys\ngot  %s\nwant %s", name, ours, theirs)
		}
	}
}

func TestWriteErrors(t *testing.T) {
	for name, c := range map[string]struct {
		archive []byte
		want    string
	}{
		"name":   {nartest.Tree(nartest.Dir{"a": nartest.Dir{"\xff": nartest.File("")}}), "the name of /a/"},
		"target": {nartest.Tree(nartest.Dir{"a": nartest.Symlink("\xff")}), "the target of /a: not UTF-8"},
		"cut":    {nartest.Tree(nartest.Dir{"a": nartest.File("abc")})[:150], "unexpected EOF"},
	} {
		if err := Write(io.Discard, bytes.NewReader(c.archive), Sorted); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// What is remembered of an archive does not grow with it.
func TestWriteMemory(t *testing.T) {
	var entries nartest.Entries
	for i := range 100_000 {
		entries = append(entries, nartest.Entry{Name: strings.Repeat("x", 20) + string([]byte{'a' + byte(i/17576%26), 'a' + byte(i/676%26), 'a' + byte(i/26%26), 'a' + byte(i%26)}), Node: nartest.File("")})
	}
	archive := nartest.Tree(entries)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak := uint64(0)
	if err := Write(io.Discard, &sampling{bytes.NewReader(archive), &peak, 0}, Sorted); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if after.Mallocs-before.Mallocs > 500_000 || peak > before.HeapInuse+8<<20 {
		t.Errorf("%d allocations, peak %d over %d bytes", after.Mallocs-before.Mallocs, peak, before.HeapInuse)
	}
}
