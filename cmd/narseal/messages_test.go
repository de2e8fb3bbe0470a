package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A name with a newline and an escape, of a file that cannot be believed, does
// not become a message of its own.
func TestHostileNamesInMessages(t *testing.T) {
	dir := t.TempDir()
	data := readTestdata(t, "macho/goldens/A/lld-arm64")
	data[49456] ^= 0xff // the magic of its SuperBlob
	name := filepath.Join(dir, "x\nnarseal: error: y\x1b[2J")
	if err := os.WriteFile(name, data, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"verify", dir}, {"verify", "--format", "github", dir}, {"verify", name + "absent"}, {"repair", "--in-place", "-v", dir}, {"refs", name + "absent"}, {"repair", name + "absent"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), append([]string{program}, args...), nil, &stdout, &stderr); code == statusDone {
			t.Errorf("%q: status 0", args)
		}
		for _, out := range []string{stdout.String(), stderr.String()} {
			if strings.Contains(out, "\x1b") || strings.Contains(out, "\nnarseal: error: y") {
				t.Errorf("%q: says %q", args, out)
			}
		}
	}
}
