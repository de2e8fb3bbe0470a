package binarycache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/nix-community/go-nix/pkg/narinfo"
	"github.com/nix-community/go-nix/pkg/nixbase32"
	"github.com/nix-community/go-nix/pkg/nixhash"

	"narseal/nar/compression"
)

// maxInfo is the largest narinfo, nix-cache-info and .ls file that is read. A
// reference takes 50 bytes or so, and a .ls file as much for a file.
const (
	maxInfo    = 1 << 20
	maxListing = 256 << 20
)

// An info is a narinfo. Its lines are kept as they are but for those that are set.
type info struct {
	lines []line
	*narinfo.NarInfo
	base        string           // of StorePath
	compression compression.Type // of Compression
}

// A line is kept as its text, so that what was not set comes out as it came in.
type line struct{ key, text string }

// known are the keys that go-nix knows, and whether they may stand only once.
var known = map[string]bool{
	"StorePath": true, "URL": true, "Compression": true, "FileHash": true, "FileSize": true, "NarHash": true,
	"NarSize": true, "References": true, "Deriver": true, "System": true, "CA": true, "Sig": false,
}

// parseInfo parses and checks a narinfo of a cache whose store is dir.
func parseInfo(b []byte, dir string) (*info, error) {
	n := &info{}
	var plain bytes.Buffer // what go-nix's parser takes
	seen := map[string]bool{}
	for i, l := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
		key, value, ok := strings.Cut(l, ":")
		once, isKnown := known[key]
		// go-nix's parser takes a carriage return off.
		if !ok || key == "" || strings.ContainsAny(l, "\r\x00") || isKnown && value != "" && value[0] != ' ' {
			return nil, fmt.Errorf("line %d: %q: want \"Key: value\"", i+1, clip(l))
		}
		if isKnown {
			value = strings.TrimPrefix(value, " ")
			if once && seen[key] {
				return nil, fmt.Errorf("line %d: %s stands twice", i+1, key)
			}
			seen[key] = true
			fmt.Fprintf(&plain, "%s: %s\n", key, value)
		}
		n.lines = append(n.lines, line{key, l})
	}
	for _, key := range []string{"StorePath", "URL", "NarHash", "NarSize"} {
		if !seen[key] {
			return nil, fmt.Errorf("no %s", key)
		}
	}
	var err error
	if n.NarInfo, err = narinfo.Parse(bytes.NewReader(plain.Bytes())); err != nil {
		return nil, n.blame(err)
	}
	return n, n.check(dir)
}

// blame finds the line that go-nix's parser has refused with err.
func (n *info) blame(err error) error {
	for i, l := range n.lines {
		if _, ok := known[l.key]; !ok {
			continue
		}
		if _, err := narinfo.Parse(strings.NewReader(l.text + "\n")); err != nil {
			return fmt.Errorf("line %d: %q: %w", i+1, clip(l.text), err)
		}
	}
	return err
}

// check checks what go-nix's parser does not, whose own Check knows one store only.
func (n *info) check(dir string) (err error) {
	if n.base, err = splitStorePath(dir, n.StorePath); err != nil {
		return fmt.Errorf("in StorePath: %w", err)
	}
	if !fs.ValidPath(n.URL) || strings.HasPrefix(n.URL, ".") || !strings.Contains(n.URL, ".nar") {
		return fmt.Errorf("in URL: %q is not the name of a NAR in the cache", clip(n.URL))
	}
	if n.compression, err = compression.Parse(n.Compression); err != nil {
		return fmt.Errorf("in Compression: %w", err)
	}
	for _, h := range []struct {
		key  string
		hash *nixhash.HashWithEncoding
	}{{"NarHash", n.NarHash}, {"FileHash", n.FileHash}} {
		if h.hash != nil && h.hash.Algo() != nixhash.SHA256 {
			return fmt.Errorf("in %s: %s is not supported, want sha256", h.key, h.hash.Algo())
		}
	}
	if n.NarSize == 0 || n.NarSize > 1<<62 || n.FileSize > 1<<62 {
		return fmt.Errorf("sizes out of range: NarSize %d, FileSize %d", n.NarSize, n.FileSize)
	}
	for _, r := range n.References {
		if err := checkBaseName(r); err != nil {
			return fmt.Errorf("in References: %w", err)
		}
	}
	if n.Deriver != "" {
		if err := checkBaseName(n.Deriver); err != nil {
			return fmt.Errorf("in Deriver: %w", err)
		}
	}
	return nil
}

// fingerprint is what signatures sign (Nix's src/libstore/path-info.cc). go-nix's
// has another store built in and takes References in the order of the file.
func (n *info) fingerprint() string {
	dir := strings.TrimSuffix(n.StorePath, n.base)
	refs := slices.Clone(n.References)
	slices.Sort(refs)
	refs = slices.Compact(refs)
	for i, r := range refs {
		refs[i] = dir + r
	}
	return fmt.Sprintf("1;%s;%s;%d;%s", n.StorePath, n.NarHash.Format(nixhash.NixBase32, true), n.NarSize, strings.Join(refs, ","))
}

// set gives the line with this key a value, or adds it behind the one called after.
func (n *info) set(key, value, after string) {
	at := slices.IndexFunc(n.lines, func(l line) bool { return l.key == key })
	if at >= 0 {
		n.lines[at].text = key + ": " + value
		return
	}
	at = slices.IndexFunc(n.lines, func(l line) bool { return l.key == after })
	n.lines = slices.Insert(n.lines, at+1, line{key, key + ": " + value})
}

// drop removes all lines with this key, and says whether there were any.
func (n *info) drop(key string) bool {
	before := len(n.lines)
	n.lines = slices.DeleteFunc(n.lines, func(l line) bool { return l.key == key })
	return len(n.lines) < before
}

func (n *info) encode() []byte {
	var b bytes.Buffer
	for _, l := range n.lines {
		b.WriteString(l.text + "\n")
	}
	return b.Bytes()
}

// A sum is the size and SHA-256 of a file or a NAR.
type sum struct {
	size int64
	hash [32]byte
}

func (s sum) String() string { return "sha256:" + nixbase32.EncodeToString(s.hash[:]) }

func (n *info) setFile(s sum, url string, c compression.Type) {
	n.set("URL", url, "StorePath")
	n.set("Compression", string(c), "URL")
	n.set("FileHash", s.String(), "Compression")
	n.set("FileSize", strconv.FormatInt(s.size, 10), "FileHash")
}

// cacheInfo is what nix-cache-info says.
type cacheInfo struct {
	text     []byte
	storeDir string
}

const cacheInfoName = "nix-cache-info"

func parseCacheInfo(b []byte) (*cacheInfo, error) {
	c := &cacheInfo{text: b, storeDir: "/nix/store"}
	for i, l := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
		key, value, ok := strings.Cut(l, ":")
		if !ok && l != "" {
			return nil, fmt.Errorf("line %d: %q: want \"Key: value\"", i+1, clip(l))
		}
		if key != "StoreDir" {
			continue
		}
		c.storeDir = strings.TrimSpace(value)
		if !strings.HasPrefix(c.storeDir, "/") || strings.HasSuffix(c.storeDir, "/") {
			return nil, fmt.Errorf("line %d: StoreDir: %q is no absolute path", i+1, clip(c.storeDir))
		}
	}
	return c, nil
}

// readAll reads a small object.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = errors.New("too long: more than " + strconv.FormatInt(limit, 10) + " bytes")
	}
	return b, err
}

// clip shortens what comes from a file for a message.
func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}
