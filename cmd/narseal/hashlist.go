package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter/rules"
)

// addHashes adds the hash parts that r lists, one hash part or store path per line; # starts a comment. option and
// name, the name of the file, are for messages.
func addHashes(hashes map[string]bool, r io.Reader, option, name string) error {
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		hash, err := rules.HashPart(line)
		if err != nil {
			return terminal.Usage("", "%s: %s:%d: %q: %w", option, name, n, line, err)
		}
		hashes[hash] = true
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %s: %w", option, name, err)
	}
	return nil
}

// readAllowed reads the file of --allow-only.
func readAllowed(name string) (map[string]bool, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("--allow-only: %w", err)
	}
	defer f.Close()
	allowed := map[string]bool{}
	return allowed, addHashes(allowed, f, "--allow-only", name)
}
