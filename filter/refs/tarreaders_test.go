package refs

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

// retyped returns the first block of a tar archive with another type and size.
func retyped(archive string, kind byte, size int) string {
	b := []byte(archive[:blockSize])
	b[156] = kind
	copy(b[124:136], fmt.Sprintf("%011o\x00", size))
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return string(b)
}

// Headers after which GNU tar extracts other members than package archive/tar are a warning. What other programs write
// is not.
func TestTarReadersDiffer(t *testing.T) {
	hidden := strings.Repeat("J", blockSize) + tarred(file{"x.gz", gzipped(referenceText)})
	decoy := tarred(file{"decoy", hidden})
	pax := func(kind byte, records string) string {
		return retyped(tarred(file{"pax", ""}), kind, len(records)) + records + strings.Repeat("\x00", int(padded(int64(len(records))))-len(records))
	}
	tests := map[string]struct {
		data string
		want bool
	}{
		"Solaris":                  {pax('X', "12 size=512\n") + decoy, true},
		"global size":              {pax('g', "12 size=512\n") + decoy, true},
		"global map":               {pax('g', "22 GNU.sparse.major=1\n") + decoy, true},
		"before a global header":   {pax('x', "12 size=512\n") + pax('g', "13 comment=x\n") + decoy, true},
		"comment":                  {pax('g', "13 comment=x\n") + decoy, false},
		"long comment":             {pax('g', "1007 comment="+strings.Repeat("x", 993)+"\n") + decoy, false},
		"comment after some files": {tarred(file{"a", "b"})[:2*blockSize] + pax('g', "13 comment=x\n") + decoy, false},
	}
	old := strings.Replace(tarred(file{"d", ""}), "d\x00", "d/", 1) // GNU tar skips the size of this directory only
	tests["old directory"] = struct {
		data string
		want bool
	}{retyped(old, 0, 1024) + decoy, true}
	for name, kind := range map[string]byte{"link": tar.TypeLink, "symlink": tar.TypeSymlink, "device": tar.TypeChar, "disk": tar.TypeBlock,
		"directory": tar.TypeDir, "pipe": tar.TypeFifo, "volume": 'V'} {
		for _, size := range []int{0, 1024} {
			tests[fmt.Sprint(name, size)] = struct {
				data string
				want bool
			}{retyped(tarred(file{"d", ""}), kind, size) + decoy, size > 0}
		}
	}
	for name, test := range tests {
		for _, data := range []string{test.data, gzipped(test.data)} {
			_, warnings := deepOf(t, Unpack{}, nartest.File(data))
			if len(warnings) > 0 != test.want || test.want && !strings.Contains(warnings[0], "in different ways") {
				t.Errorf("%s: warnings %q, want some: %v", name, warnings, test.want)
			}
		}
		if program, err := exec.LookPath("tar"); err == nil {
			cmd := exec.Command(program, "-t")
			cmd.Stdin = strings.NewReader(test.data)
			out, _ := cmd.Output()
			if differs := bytes.Contains(out, []byte("x.gz")); differs && !test.want {
				t.Errorf("%s: tar lists %q", name, out)
			}
		}
	}
}
