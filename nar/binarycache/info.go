package binarycache

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"
	"github.com/nix-community/go-nix/pkg/nixbase32"
	"github.com/nix-community/go-nix/pkg/nixhash"

	"narseal/nar/compression"
	"narseal/nar/storepath"
)

// Limits of what is read whole, in bytes. A reference takes about 50 bytes in a narinfo.
const (
	maxInfo      = 1 << 20 // narinfo, nix-cache-info
	maxDebugInfo = 1 << 16

	// maxReferences bounds the text that a signature signs, in which each reference has the store directory before it.
	maxReferences = 16 << 20
)

// An Info is a narinfo: what a cache says of one store path.
type Info struct {
	StorePath   string
	URL         string // the name of the NAR's object
	Compression compression.Type
	NarSize     int64
	References  []string // base names
	Deriver     string   // a base name, or ""

	lines    []line // as they were read, but for those that are set
	base     string // of StorePath
	narHash  [32]byte
	fileHash *[32]byte // nil if it is not stated
	fileSize int64     // 0 if it is not stated
	ca       string
	sigs     []signature.Signature
}

// A line is kept as its text, so that what was not set comes out as it came in.
type line struct{ key, text string }

// infoKeys are the keys that have a meaning here, and whether they may stand only once.
var infoKeys = map[string]bool{
	"StorePath": true, "URL": true, "Compression": true, "FileHash": true, "FileSize": true, "NarHash": true,
	"NarSize": true, "References": true, "Deriver": true, "System": true, "CA": true, "Sig": false,
}

// parseInfo parses and checks a narinfo of a cache whose store directory is dir.
func parseInfo(b []byte, dir string) (*Info, error) {
	n := &Info{Compression: compression.Bzip2}
	seen := map[string]bool{}
	for i, text := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
		key, value, ok := strings.Cut(text, ":")
		once, known := infoKeys[key]
		if !ok || key == "" || strings.ContainsAny(text, "\r\x00") || known && value != "" && value[0] != ' ' {
			return nil, fmt.Errorf("line %d: %q: want \"Key: value\"", i+1, clip(text))
		}
		if known {
			if once && seen[key] {
				return nil, fmt.Errorf("line %d: %s stands twice", i+1, key)
			}
			seen[key] = true
			if err := n.parseLine(key, strings.TrimPrefix(value, " "), dir); err != nil {
				return nil, fmt.Errorf("line %d: %q: %w", i+1, clip(text), err)
			}
		}
		n.lines = append(n.lines, line{key, text})
	}
	for _, key := range []string{"StorePath", "URL", "NarHash", "NarSize"} {
		if !seen[key] {
			return nil, fmt.Errorf("no %s", key)
		}
	}
	return n, nil
}

// parseLine parses and checks the value of one key.
func (n *Info) parseLine(key, value, dir string) (err error) {
	switch key {
	case "StorePath":
		n.StorePath = value
		n.base, err = storepath.BaseIn(dir, value)
	case "URL":
		if n.URL = value; !isNARName(value) {
			err = errors.New("not the name of a NAR in the cache")
		}
	case "Compression":
		n.Compression, err = compression.Parse(value)
	case "FileHash":
		n.fileHash = new([32]byte)
		*n.fileHash, err = parseHash(value)
	case "FileSize":
		n.fileSize, err = parseSize(value)
	case "NarHash":
		n.narHash, err = parseHash(value)
	case "NarSize":
		if n.NarSize, err = parseSize(value); err == nil && n.NarSize == 0 {
			err = errors.New("no NAR is empty")
		}
	case "References":
		if value == "" {
			return nil
		}
		n.References = strings.Split(value, " ")
		if len(value)+len(n.References)*len(dir) > maxReferences {
			return fmt.Errorf("%d references in so long a store directory take more than %d bytes", len(n.References), maxReferences)
		}
		for _, r := range n.References {
			if err := storepath.CheckBaseName(r); err != nil {
				return fmt.Errorf("reference %q: %w", clip(r), err)
			}
		}
	case "Deriver":
		if value != "" && value != "unknown-deriver" {
			n.Deriver, err = value, storepath.CheckBaseName(value)
		}
	case "CA":
		n.ca = value
	case "Sig":
		var sig signature.Signature
		if sig, err = signature.ParseSignature(value); err == nil {
			n.sigs = append(n.sigs, sig)
		}
	}
	return err
}

// maxSize is the largest size that is taken for one, in bytes.
const maxSize = 1 << 62

func parseSize(s string) (int64, error) {
	v, err := strconv.ParseUint(s, 10, 64)
	if err == nil && v > maxSize {
		err = errors.New("out of range")
	}
	return int64(v), err
}

func parseHash(s string) (sum [32]byte, err error) {
	h, err := nixhash.ParseAny(s, nil)
	if err != nil {
		return sum, err
	}
	if h.Algo() != nixhash.SHA256 {
		return sum, fmt.Errorf("%s is not supported, want sha256", h.Algo())
	}
	// go-nix takes base 64 of 31 bytes with two characters of padding, too.
	if len(h.Digest()) != len(sum) {
		return sum, fmt.Errorf("a hash of %d bytes, want %d", len(h.Digest()), len(sum))
	}
	return [32]byte(h.Digest()), nil
}

// hashText is the usual form of a SHA-256 in a narinfo.
func hashText(h [32]byte) string { return "sha256:" + nixbase32.EncodeToString(h[:]) }

// fingerprint is what signatures sign (Nix's src/libstore/path-info.cc).
func (n *Info) fingerprint() string {
	dir := strings.TrimSuffix(n.StorePath, n.base)
	refs := slices.Clone(n.References)
	slices.Sort(refs)
	refs = slices.Compact(refs)
	for i, r := range refs {
		refs[i] = dir + r
	}
	return fmt.Sprintf("1;%s;%s;%d;%s", n.StorePath, hashText(n.narHash), n.NarSize, strings.Join(refs, ","))
}

// signedBy says whether one of the keys has signed the narinfo.
func (n *Info) signedBy(keys []signature.PublicKey) bool {
	text := n.fingerprint()
	for _, key := range keys {
		for _, sig := range n.sigs {
			if key.Verify(text, sig) {
				return true
			}
		}
	}
	return false
}

// set gives the line with this key a value, or adds it behind the one called after.
func (n *Info) set(key, value, after string) {
	text := key + ": " + value
	at := slices.IndexFunc(n.lines, func(l line) bool { return l.key == key })
	if at >= 0 {
		n.lines[at].text = text
		return
	}
	at = slices.IndexFunc(n.lines, func(l line) bool { return l.key == after })
	n.lines = slices.Insert(n.lines, at+1, line{key, text})
}

// drop removes every line with this key, and says whether there was one.
func (n *Info) drop(key string) bool {
	before := len(n.lines)
	n.lines = slices.DeleteFunc(n.lines, func(l line) bool { return l.key == key })
	return len(n.lines) < before
}

// encode is the text of the narinfo.
func (n *Info) encode() []byte {
	var b []byte
	for _, l := range n.lines {
		b = append(append(b, l.text...), '\n')
	}
	return b
}

// reparse brings the fields up to date with the lines.
func (n *Info) reparse(dir string) error {
	fresh, err := parseInfo(n.encode(), dir)
	if err != nil {
		return err
	}
	*n = *fresh
	return nil
}

// A sum is the size and SHA-256 of a file or a NAR.
type sum struct {
	size int64
	hash [32]byte
}

func (s sum) String() string { return hashText(s.hash) }

func (n *Info) setFile(s sum, url string, c compression.Type) {
	n.set("URL", url, "StorePath")
	n.set("Compression", string(c), "URL")
	n.set("FileHash", s.String(), "Compression")
	n.set("FileSize", strconv.FormatInt(s.size, 10), "FileHash")
}

// cacheInfo is what nix-cache-info says.
type cacheInfo struct {
	object   Object
	text     []byte
	storeDir string
}

func parseCacheInfo(b []byte) (*cacheInfo, error) {
	c := &cacheInfo{text: b, storeDir: storepath.DefaultDir}
	for i, l := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
		key, value, ok := strings.Cut(l, ":")
		if !ok && l != "" {
			return nil, fmt.Errorf("line %d: %q: want \"Key: value\"", i+1, clip(l))
		}
		if key != "StoreDir" {
			continue
		}
		c.storeDir = strings.TrimSpace(value)
		if err := storepath.CheckDir(c.storeDir); err != nil {
			return nil, fmt.Errorf("line %d: StoreDir: %w", i+1, err)
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
