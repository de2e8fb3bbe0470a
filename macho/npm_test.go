package macho_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"narseal/macho"
	"narseal/nar/nartest"
)

// TestNPM takes binaries as their makers signed them, from the npm registry, with
// NARSEAL_NPM=1: some 40 MB. Each must be valid, and damage must be found and
// repaired to the very same bytes; one signed by a certificate must be left alone,
// and be valid once it is made ad-hoc.
func TestNPM(t *testing.T) {
	if os.Getenv("NARSEAL_NPM") != "1" {
		t.Skip("downloads from the npm registry; wants NARSEAL_NPM=1")
	}
	npm := nartest.Tool(t, "npm")
	for _, p := range []struct {
		name, integrity, file string
		signatures            []string // of the slices
	}{
		{"@esbuild/darwin-arm64@0.25.0", "mVwdUb5SRkPayVadIOI78K7aAnPamoeFR2bT5nszFUZ9P8UpK4ratOdYbZZXYSqPKMHfS1wdHCJk1P1EZpRdvw==", "package/bin/esbuild", []string{"linker-signed"}},
		{"fsevents@2.3.3", "5xoDfX+fL7faATnagmWPpbFtwh/R77WmMMqqHGS65C3vvB0YHrgF+B1YmZ3441tMj5n63k0212XNoJwzlhffQw==", "package/fsevents.node", []string{"none", "linker-signed"}},
		{"@sentry/cli-darwin@2.58.6", "udAVvcyfNa0R+95GvPz/+43/N3TC0TYKdkQ7D7jhPSzbcMc7l2fxRNN5yB3UpCA5fWFnW4toeaqwDBhb/Wh3LA==", "package/bin/sentry-cli", []string{"cms", "cms"}},
		{"@oven/bun-darwin-aarch64@1.2.0", "51gx0Q7MJshZn554VEHj599/TVW+IDcYITWDzxeRyBN96vrbnYT9sGT58tCvN/yVrJBcTH83aHgjsOefM/egrQ==", "package/bin/bun", []string{"cms"}},
	} {
		t.Run(p.name, func(t *testing.T) {
			data := npmFile(t, npm, p.name, p.integrity, p.file)
			report := mustVerify(t, macho.Bytes(data))
			if len(report.Slices) != len(p.signatures) || !report.Holds() {
				t.Fatalf("as it was signed: %+v", report.Slices)
			}
			for i, s := range report.Slices {
				if s.Signature != p.signatures[i] {
					t.Errorf("slice %d: signature %s, want %s", i, s.Signature, p.signatures[i])
				}
				if s.Signature != "none" {
					checkReal(t, data, i, s)
				}
			}
		})
	}
}

// checkReal damages a few pages of a slice of an image and repairs them.
func checkReal(t *testing.T, data []byte, i int, s macho.Slice) {
	t.Helper()
	damage := func(b []byte) {
		for k := range int64(5) {
			b[s.Offset+9000+k*8192] ^= 1
		}
	}
	got := bytes.Clone(data)
	damage(got)
	for _, cd := range mustVerify(t, macho.Bytes(got)).Slices[i].CodeDirectories {
		if len(cd.Stale) != 5 {
			t.Errorf("slice %d: stale %v, want 5 pages", i, cd.Stale)
		}
	}
	damaged := bytes.Clone(got)
	report, err := macho.Repair(macho.Bytes(got), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Signature == "cms" {
		if report.Slices[i].Status != macho.StatusCMS || !bytes.Equal(got, damaged) {
			t.Errorf("slice %d: status %s, want cms and no change", i, report.Slices[i].Status)
		}
		if _, err := (macho.Config{OnCMS: macho.CMSAdhoc}).Repair(macho.Bytes(got), nil); err != nil {
			t.Fatal(err)
		}
		if after := mustVerify(t, macho.Bytes(got)).Slices[i]; after.Status != macho.StatusValid || after.Signature != "adhoc" {
			t.Errorf("slice %d made ad-hoc: %s, %s (%s)", i, after.Status, after.Signature, after.Reason)
		}
		return
	}
	if !mustVerify(t, macho.Bytes(got)).Holds() || bytes.Equal(got, damaged) {
		t.Errorf("slice %d: the repaired image does not hold", i)
	}
	damage(got)
	if _, err := macho.Repair(macho.Bytes(got), nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Errorf("slice %d: undoing the damage and a repair do not give the original", i)
	}
}

// npmFile returns a file of a package of the npm registry.
func npmFile(t *testing.T, npm, pkg, integrity, name string) []byte {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(npm, "pack", "--silent", "--pack-destination", dir, pkg)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm pack %s: %v\n%s", pkg, err, msg)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(files) != 1 {
		t.Fatalf("npm pack %s left %q, %v", pkg, files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512(data)
	if got := base64.StdEncoding.EncodeToString(sum[:]); got != integrity {
		t.Fatalf("%s has integrity sha512-%s, want sha512-%s", pkg, got, integrity)
	}
	gz, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for tr := tar.NewReader(gz); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			t.Fatalf("%s has no file %s", pkg, name)
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Name != name {
			continue
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
}
