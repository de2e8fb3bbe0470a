package macho_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	gomacho "github.com/blacktop/go-macho"

	"narseal/macho"
	"narseal/nar/nartest"
)

// parsed is a CodeDirectory as go-macho parses it.
type parsed struct {
	slots    int
	pageSize int64
	hashType uint8
	stale    []int
}

// goMacho parses a thin image, or each slice of a fat one, with go-macho, and hashes each page with the standard
// library.
func goMacho(t *testing.T, data []byte) [][]parsed {
	t.Helper()
	var all [][]parsed
	if fat, err := gomacho.NewFatFile(bytes.NewReader(data)); err == nil {
		for _, arch := range fat.Arches {
			all = append(all, goMachoSlice(t, arch.File, data[arch.Offset:][:arch.Size]))
		}
		return all
	}
	f, err := gomacho.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return append(all, goMachoSlice(t, f, data))
}

func goMachoSlice(t *testing.T, f *gomacho.File, data []byte) []parsed {
	t.Helper()
	var dirs []parsed
	for _, cd := range f.CodeSignature().CodeDirectories {
		p := parsed{slots: int(cd.Header.NCodeSlots), hashType: uint8(cd.Header.HashType), stale: []int{}}
		limit := int(cd.Header.CodeLimit)
		if cd.Header.Version >= 0x20300 && cd.Header.CodeLimit64 != 0 {
			limit = int(cd.Header.CodeLimit64)
		}
		size := limit
		if cd.Header.PageSize != 0 {
			size = 1 << cd.Header.PageSize
			p.pageSize = int64(size)
		}
		for i, slot := range cd.CodeSlots {
			page := data[i*size : min((i+1)*size, limit)]
			var sum []byte
			switch p.hashType {
			case 1:
				s := sha1.Sum(page)
				sum = s[:]
			case 2, 3:
				s := sha256.Sum256(page)
				sum = s[:]
			case 4:
				s := sha512.Sum384(page)
				sum = s[:]
			default:
				s := sha512.Sum512(page)
				sum = s[:]
			}
			if !bytes.Equal(sum[:len(slot.Hash)], slot.Hash) {
				p.stale = append(p.stale, i)
			}
		}
		dirs = append(dirs, p)
	}
	return dirs
}

// TestGoMacho compares Verify on intact, rewritten and repaired images with go-macho's parser and the standard
// library's hashes.
func TestGoMacho(t *testing.T) {
	images := map[string][]byte{}
	for _, name := range goldenNames(t) {
		images[name] = readGolden(t, "A", name)
	}
	for _, c := range matrixA() {
		// go-macho supports neither bare CodeDirectories, scatter lists, alternates after the first, slices that are
		// archives nor big-endian ppc.
		skip := strings.Contains(c.Name, "bare") || strings.Contains(c.Name, "scatter") || strings.Contains(c.Name, "six") || strings.Contains(c.Name, "seven") ||
			strings.HasPrefix(c.Name, "fat") || strings.Contains(c.Name, "big-true")
		if !skip {
			images[c.Name] = c.Data
		}
	}
	for name, intact := range images {
		t.Run(name, func(t *testing.T) {
			rewritten, _ := rewrite(intact, hashA, hashB)
			repaired := bytes.Clone(rewritten)
			if _, err := (macho.Config{OnCMS: macho.CMSAdhoc}).Repair(macho.Bytes(repaired)); err != nil {
				t.Fatal(err)
			}
			stale := 0
			for i, data := range [][]byte{intact, rewritten, repaired} {
				want := goMacho(t, data)
				got := mustVerify(t, macho.Bytes(data)).Slices
				if len(got) != len(want) {
					t.Fatalf("%d slices, go-macho sees %d", len(got), len(want))
				}
				for s := range got {
					if len(got[s].CodeDirectories) != len(want[s]) {
						t.Fatalf("%d CodeDirectories, go-macho sees %d", len(got[s].CodeDirectories), len(want[s]))
					}
					for n, cd := range got[s].CodeDirectories {
						w := want[s][n]
						if cd.Slots != w.slots || cd.PageSize != w.pageSize || uint8(cd.HashType) != w.hashType || !slices.Equal(cd.Stale, w.stale) {
							t.Errorf("state %d: CodeDirectory %+v, go-macho sees %+v", i, cd, w)
						}
						stale += len(w.stale)
						if i != 1 && len(w.stale) > 0 {
							t.Errorf("state %d: stale pages %v", i, w.stale)
						}
					}
				}
			}
			if stale == 0 {
				t.Error("the rewrite made nothing stale")
			}
		})
	}
}

// TestLLVMSignsAlike signs a rewritten image again with llvm-objcopy. The result must be that of a repair.
func TestLLVMSignsAlike(t *testing.T) {
	objcopy := nartest.Tool(t, "llvm-objcopy-14")
	for _, name := range []string{"lld-arm64", "lld-x86_64", "lld-armv7", "lld-arm64_32"} {
		got, touched := rewrite(readGolden(t, "A", name), hashA, hashB)
		dir := t.TempDir()
		in, out := filepath.Join(dir, "in"), filepath.Join(dir, name) // the identifier is the base name
		if err := os.WriteFile(in, got, 0o600); err != nil {
			t.Fatal(err)
		}
		if msg, err := exec.Command(objcopy, in, out).CombinedOutput(); err != nil {
			t.Fatalf("llvm-objcopy: %v\n%s", err, msg)
		}
		want, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := macho.RepairTouched(macho.Bytes(got), touched); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: the repaired image differs from the one that llvm-objcopy signed", name)
		}
	}
}

// TestGoSignsAlike links a Go program twice, with different strings. Rewriting and repairing one must give the other.
func TestGoSignsAlike(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the Go standard library for darwin")
	}
	goTool := nartest.Tool(t, "go")
	dir := t.TempDir()
	program := "package main\n\nvar p string\n\nfunc main() { println(p) }\n"
	for name, text := range map[string]string{"main.go": program, "go.mod": "module sample\n\ngo 1.21\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := func(hash []byte) []byte {
		out := filepath.Join(dir, "out")
		cmd := exec.Command(goTool, "build", "-trimpath", "-ldflags", fmt.Sprintf("-buildid= -X main.p=/nix/store/%s-x", hash), "-o", out, ".")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=darwin", "GOARCH=arm64", "GOFLAGS=", "GOWORK=off")
		if msg, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, msg)
		}
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	oldHash, newHash := []byte("0123456789abcdfghijklmnpqrsvwxyz"), []byte("zyxwvsrqpnmlkjihgfdcba9876543210")
	got, want := build(oldHash), build(newHash)
	got, touched := rewrite(got, oldHash, newHash)
	if _, err := macho.RepairTouched(macho.Bytes(got), touched); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the repaired program differs from the one that was linked with the other string")
	}
}

// TestCodesign verifies repaired images with Apple's codesign, on a Mac.
func TestCodesign(t *testing.T) {
	if runtime.GOOS != "darwin" {
		t.Skip("codesign is on a Mac alone")
	}
	codesign := nartest.Tool(t, "codesign")
	for _, name := range goldenNames(t) {
		got, touched := rewrite(readGolden(t, "A", name), hashA, hashB)
		if _, err := macho.RepairTouched(macho.Bytes(got), touched); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, got, 0o700); err != nil {
			t.Fatal(err)
		}
		if msg, err := exec.Command(codesign, "--verify", "--strict", file).CombinedOutput(); err != nil {
			t.Errorf("codesign --verify --strict %s: %v\n%s", name, err, msg)
		}
	}
}
