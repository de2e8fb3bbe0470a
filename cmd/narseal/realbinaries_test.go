package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"narseal/macho"
)

// Packages that hold images, but no signed one.
var unsignedPackages = []string{"esbuild-darwin-x64-", "node-notifier-", "selenium-server-"}

// TestRealBinaries takes programs that others published, which scripts/real-binaries fetches. As they are, the kernel
// refuses none of them. The signed ones verify, a damaged page is named, and repair follows each change and back again to
// the byte.
func TestRealBinaries(t *testing.T) {
	folder := os.Getenv("NARSEAL_REAL_BINARIES")
	if folder == "" {
		t.Skip("NARSEAL_REAL_BINARIES is not set: scripts/real-binaries DIR fetches them")
	}
	list, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		t.Fatalf("%s is empty", folder)
	}
	for _, pkg := range list {
		images, signed := 0, 0
		dir := filepath.Join(folder, pkg.Name())
		t.Logf("%s: %s", pkg.Name(), realStatuses(t, dir))
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if err == nil && macho.IsMachO(data) {
				images++
				t.Run(pkg.Name()+"/"+d.Name(), func(t *testing.T) { signed += testRealBinary(t, data) })
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if images == 0 {
			t.Errorf("%s holds no image", pkg.Name())
		}
		none := slices.ContainsFunc(unsignedPackages, func(name string) bool { return strings.HasPrefix(pkg.Name(), name) })
		if (signed == 0) != none {
			t.Errorf("%s has %d signed slices", pkg.Name(), signed)
		}
	}
}

// realStatuses verifies a package as it was published, and returns how many slices have each status.
func realStatuses(t *testing.T, dir string) string {
	t.Helper()
	o := invoke(nil, "verify", "--format", "json", dir)
	counts := map[string]int{}
	for dec := json.NewDecoder(strings.NewReader(o.stdout)); dec.More(); {
		var s struct {
			Path, Arch, Status, Signature, Reason string
			NeedsSignature                        bool
			Warnings                              []string
		}
		if err := dec.Decode(&s); err != nil {
			t.Fatal(err)
		}
		counts[fmt.Sprintf("%s %s %s", s.Arch, s.Signature, s.Status)]++
		switch {
		case s.Status == "valid" || s.Status == "unsigned" && !s.NeedsSignature:
		case s.Status == "bundle": // an Info.plist that was changed after signing, as in tns-ios
		default:
			t.Errorf("%s: %s slice is %s (%s)", s.Path, s.Arch, s.Status, s.Reason)
		}
		if len(s.Warnings) > 0 {
			t.Errorf("%s: %s slice has warnings: %q", s.Path, s.Arch, s.Warnings)
		}
	}
	return strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(counts), "map["), "]")
}

// realSlice is what the test reads of verify's JSON.
type realSlice struct {
	Arch            string
	Offset          int64
	Status          string
	Signature       string
	CodeDirectories []struct {
		HashType     string
		PageSize     int64
		Slots        int
		Stale        []int
		StaleSpecial []int
	}
}

func verifyReal(t *testing.T, name string, wantStatus int) []realSlice {
	t.Helper()
	cmd := exec.Command("narseal", "verify", "--format", "json", name)
	var out bytes.Buffer
	cmd.Stdout = &out
	if status, stderr := runStatus(t, cmd); status != wantStatus {
		t.Fatalf("verify: status %d, want %d: %s%s", status, wantStatus, &out, stderr)
	}
	var all []realSlice
	for dec := json.NewDecoder(&out); dec.More(); {
		var s realSlice
		if err := dec.Decode(&s); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func repairReal(t *testing.T, name string) []byte {
	t.Helper()
	if status, stderr := runStatus(t, exec.Command("narseal", "repair", "--in-place", name)); status != 0 || stderr != "" {
		t.Fatalf("repair: status %d: %s", status, stderr)
	}
	verifyReal(t, name, 0)
	return readFile(t, name)
}

// testRealBinary returns the number of signed slices.
func testRealBinary(t *testing.T, original []byte) (signed int) {
	name := filepath.Join(t.TempDir(), "image")
	writeFile(t, name, original)
	for i, s := range verifyReal(t, name, 0) {
		if s.Status == "unsigned" {
			continue
		}
		signed++
		if s.Status != "valid" || len(s.CodeDirectories) == 0 {
			t.Fatalf("%s: %+v", s.Arch, s)
		}
		t.Logf("%s, %s, %d CodeDirectories, %d pages of %s", s.Arch, s.Signature,
			len(s.CodeDirectories), s.CodeDirectories[0].Slots, s.CodeDirectories[0].HashType)
		cd := s.CodeDirectories[0]
		at := s.Offset + int64(cd.Slots/2)*cd.PageSize + 7
		damaged := bytes.Clone(original)
		damaged[at] ^= 0x40
		writeFile(t, name, damaged)
		if s.Signature == "cms" {
			testRealCertificate(t, name, damaged, i)
			continue
		}
		for j, got := range verifyReal(t, name, 3) {
			for k, d := range got.CodeDirectories {
				hit := j == i
				page := (at - s.Offset) / max(d.PageSize, 1)
				if len(d.StaleSpecial) != 0 || hit != (len(d.Stale) == 1) || hit && int64(d.Stale[0]) != page {
					t.Errorf("%s: CodeDirectory %d of %s: stale pages %v, special slots %v; page %d of %s was damaged",
						s.Arch, k, got.Arch, d.Stale, d.StaleSpecial, page, s.Arch)
				}
			}
		}
		// A slot for each CodeDirectory changes, at most, and nothing else.
		repaired := repairReal(t, name)
		const longest = 64
		if n := differing(repaired, damaged); n == 0 || n > longest*len(s.CodeDirectories) {
			t.Errorf("%s: repair changed %d bytes", s.Arch, n)
		}
		repaired[at] ^= 0x40
		writeFile(t, name, repaired)
		verifyReal(t, name, 3)
		if !bytes.Equal(repairReal(t, name), original) {
			t.Errorf("%s: repaired after the damage was undone, it is not what it was", s.Arch)
		}
	}
	return signed
}

// testRealCertificate has a damaged slice that a certificate signs: it is left
// alone, and holds once it is made ad-hoc.
func testRealCertificate(t *testing.T, name string, damaged []byte, slice int) {
	if got := verifyReal(t, name, 3)[slice].Status; got != "cms" {
		t.Errorf("damaged, slice %d is %s, want cms", slice, got)
	}
	for _, policy := range []string{"keep", "fail"} {
		if status, _ := runStatus(t, exec.Command("narseal", "repair", "--in-place", "--on-cms", policy, name)); status != 3 || !bytes.Equal(readFile(t, name), damaged) {
			t.Errorf("--on-cms %s: status %d, want 3, and the file as it was", policy, status)
		}
	}
	if status, stderr := runStatus(t, exec.Command("narseal", "repair", "--in-place", "--on-cms", "adhoc", name)); status != 0 {
		t.Fatalf("--on-cms adhoc: status %d: %s", status, stderr)
	}
	if got := verifyReal(t, name, 0)[slice]; got.Status != "valid" || got.Signature != "adhoc" {
		t.Errorf("made ad-hoc, slice %d is %s, %s", slice, got.Status, got.Signature)
	}
}

func differing(a, b []byte) int {
	n := 0
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}
