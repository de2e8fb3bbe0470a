package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// expandCaches puts the archives of a binary cache in the place of its
// folder: as a folder its files would be searched as they lie there,
// compressed.
func expandCaches(inputs []string) ([]string, error) {
	var out []string
	for _, name := range inputs {
		_, err := os.Stat(filepath.Join(name, "nix-cache-info"))
		if name == "-" || err != nil {
			out = append(out, name)
			continue
		}
		infos, err := filepath.Glob(filepath.Join(globQuote(name), "*.narinfo")) // sorted
		if err != nil {
			return nil, fmt.Errorf("input: %s: %w", name, err)
		}
		for _, info := range infos {
			url, err := narinfoURL(info)
			if err != nil {
				return nil, fmt.Errorf("input: %w", err)
			}
			out = append(out, filepath.Join(name, filepath.FromSlash(url)))
		}
	}
	return out, nil
}

// globQuote has every character of a name stand for itself in a pattern.
func globQuote(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}

// narinfoURL is where a narinfo says that its archive is: below the cache.
func narinfoURL(name string) (string, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if url, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "URL: "); ok {
			if !fs.ValidPath(url) {
				return "", fmt.Errorf("%s: URL %q is not below the cache", name, url)
			}
			return url, nil
		}
	}
	return "", &hintedError{fmt.Errorf("%s: %w", name, errors.New("no URL")), "narseal cache verify tells what is wrong with a cache"}
}
