package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"narseal/macho/machotest"
	"narseal/nar/nartest"
)

// treeOf returns a built bundle as a tree of a test.
func treeOf(b *machotest.SealedBundle) nartest.Dir {
	built, _ := b.Build()
	root := nartest.Dir{}
	for path, f := range built {
		dir, names := root, strings.Split(path, "/")
		for _, name := range names[:len(names)-1] {
			if dir[name] == nil {
				dir[name] = nartest.Dir{}
			}
			dir = dir[name].(nartest.Dir)
		}
		name := names[len(names)-1]
		switch {
		case f.Link != "":
			dir[name] = nartest.Symlink(f.Link)
		case f.Executable:
			dir[name] = nartest.Exec(f.Data)
		default:
			dir[name] = nartest.File(f.Data)
		}
	}
	return root
}

// A flat bundle lies in another one, which seals its files as files, at any depth. After a change in the inner bundle, a
// repair makes of both what the generator makes.
func TestInPlaceFlatInFlat(t *testing.T) {
	build := func(inner, text string) nartest.Dir {
		bundle := func(name, text string) *machotest.SealedBundle {
			return &machotest.SealedBundle{Form: "flat", Executable: name, Info: string(infoFor(name)), AsFiles: true, Files: map[string]any{"a": text}}
		}
		outer := bundle("App", "outer")
		outer.Files[inner] = bundle("Inner", text)
		return treeOf(outer)
	}
	for _, outer := range []string{"", "App.app", "x/App.app", "x/y/App.app"} {
		for _, inner := range []string{"Inner.bundle", "z.bundle", "PlugIns/Inner.bundle", "PlugIns/x/Inner.bundle"} {
			top := t.TempDir()
			dir := filepath.Join(top, outer)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			restoreTree(t, dir, build(inner, "text"))
			writeFile(t, filepath.Join(dir, inner, "a"), []byte("TEXT"))
			o := invoke(nil, "repair", "--in-place", top)
			if o.status != statusDone || !reflect.DeepEqual(readTree(t, dir), build(inner, "TEXT")) {
				t.Errorf("%s in %q: status %d, not what the generator makes: %s%s", inner, outer, o.status, o.stdout, o.stderr)
			}
		}
	}
}
