package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"narseal/nar/compression"
	"narseal/nar/nartest"
)

// A state spares the work, and no check: what it calls finished is inspected.
func TestForgedState(t *testing.T) {
	stale := golden(t, "A/ents-arm64")
	stale[200] ^= 1
	in, out, state := t.TempDir(), t.TempDir(), t.TempDir()
	base, bad := strings.Repeat("2", 32), strings.Repeat("3", 32)
	writeMember(t, in, base+"-x", nartest.Tree(nartest.Exec(stale)), compression.Zstd, nil)
	if err := os.WriteFile(filepath.Join(in, bad+".narinfo"), []byte("garbage"), 0o666); err != nil {
		t.Fatal(err)
	}
	repair := func() (int, string) {
		status, stdout, stderr := narseal(t, nil, "cache", "repair", "-v", "--state", state, "-o", out, in)
		return status, stdout + stderr
	}
	if status, text := repair(); status != 1 || !strings.Contains(text, "1 path changed") {
		t.Fatalf("the first run: status %d\n%s", status, text) // which is not complete, and so keeps its state
	}
	if status, text := repair(); status != 1 || !strings.Contains(text, "1 finished before") || strings.Contains(text, "warning") {
		t.Fatalf("the second run: status %d\n%s", status, text)
	}

	// Somebody puts the path as it was into the output, and says that it is the result.
	files := filesOf(t, in)
	for name, content := range files {
		if strings.HasPrefix(name, "nar/") || name == base+".narinfo" {
			if err := os.WriteFile(filepath.Join(out, name), []byte(content), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	paths, err := filepath.Glob(filepath.Join(state, "*", "*.jsonl"))
	if err != nil || len(paths) != 1 {
		t.Fatal(paths, err)
	}
	b, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	header, _, _ := strings.Cut(string(b), "\n")
	id := map[string]string{"name": base + ".narinfo", "sha256": fmt.Sprintf("%x", sha256.Sum256([]byte(files[base+".narinfo"])))}
	rec, err := json.Marshal(map[string]any{"in": id, "out": id, "oldNar": "nar/x.nar", "newNar": "nar/x.nar"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(paths[0], []byte(header+"\n"+string(rec)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(in, bad+".narinfo")); err != nil {
		t.Fatal(err)
	}
	if status, text := repair(); status != 3 || !strings.Contains(text, base+"-x") || !strings.Contains(text, "warning") {
		t.Errorf("over a forged state: status %d\n%s", status, text)
	}
}
