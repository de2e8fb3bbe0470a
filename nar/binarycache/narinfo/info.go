package narinfo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"narseal/nar/compression"
	"narseal/nar/storepath"
)

// Limits on narinfos.
const (
	// MaxSize is the size of the largest narinfo or nix-cache-info that is read, in bytes. A reference takes about 50
	// bytes.
	MaxSize = 1 << 20

	// maxReferences bounds the text that a signature signs, in bytes. Each reference in it includes the store directory.
	maxReferences = 4 << 20

	// maxLines and maxSignatures bound the memory for lines and the time to check signatures, each of which signs the
	// whole text. Nix writes twelve kinds of lines, and caches sign with a few keys.
	maxLines      = 1024
	maxSignatures = 64
)

// An Info is a narinfo, which describes one store path of a cache. Its fields are those of the text that was parsed;
// changes by Set appear in them after Reparse.
type Info struct {
	StorePath   string
	Base        string // the base name of StorePath
	URL         string // the name of the NAR's object
	Compression compression.Type
	NarHash     [32]byte
	NarSize     int64
	FileHash    *[32]byte // nil if it is not stated
	FileSize    int64     // 0 if it is not stated
	References  []string  // base names
	Deriver     string    // a base name, or ""
	CA          string    // of a content-addressed path

	lines []line // as they were read, except those that were set
	sigs  []signature.Signature
}

// A line keeps its text, so that Encode returns unchanged lines as they were read.
type line struct{ key, text string }

// infoKeys are the keys that have a meaning here. All but the last may occur only once.
var infoKeys = []string{
	"StorePath", "URL", "NarHash", "NarSize", "Compression", "FileHash", "FileSize", "References", "Deriver", "System", "CA", "Sig",
}

// neededKeys is how many of infoKeys, from the first, are required.
const neededKeys = 4

// Parse parses and checks a narinfo of a cache whose store directory is dir.
func Parse(b []byte, dir string) (*Info, error) {
	n := &Info{Compression: compression.Bzip2}
	var seen [16]bool // by the index in infoKeys
	lines := bytes.Count(b, []byte{'\n'})
	if lines > maxLines {
		return nil, fmt.Errorf("%d lines, at most %d are allowed", lines, maxLines)
	}
	if len(b) > 0 && b[len(b)-1] != '\n' {
		return nil, fmt.Errorf("line %d is not complete: %w", lines+1, io.ErrUnexpectedEOF)
	}
	n.lines = make([]line, 0, lines+1)
	i := 0
	for text := range strings.SplitSeq(strings.TrimSuffix(string(b), "\n"), "\n") {
		key, value, ok := strings.Cut(text, ":")
		at := slices.Index(infoKeys, key)
		known := at >= 0
		// Where nothing follows the colon, Nix takes the next line for the value.
		if !ok || key == "" || strings.IndexByte(text, '\r') >= 0 || strings.IndexByte(text, 0) >= 0 || value == "" || known && value[0] != ' ' {
			return nil, fmt.Errorf("line %d: %q: want \"Key: value\"", i+1, clip(text))
		}
		if known {
			if seen[at] && key != "Sig" {
				return nil, fmt.Errorf("line %d: %s occurs twice", i+1, key)
			}
			seen[at] = true
			if err := n.parseLine(key, strings.TrimPrefix(value, " "), dir); err != nil {
				return nil, fmt.Errorf("line %d: %q: %w", i+1, clip(text), err)
			}
		}
		n.lines = append(n.lines, line{key, text})
		i++
	}
	for at, key := range infoKeys[:neededKeys] {
		if !seen[at] {
			return nil, fmt.Errorf("no %s", key)
		}
	}
	return n, nil
}

// ParseNamed is [Parse] for a narinfo with this name, which must match the store path in it.
func ParseNamed(name string, b []byte, dir string) (*Info, error) {
	n, err := Parse(b, dir)
	if err == nil && Name(n.Base) != name {
		err = fmt.Errorf("in StorePath: %s belongs in %s", n.StorePath, Name(n.Base))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}

// parseLine parses and checks the value of one key.
func (n *Info) parseLine(key, value, dir string) (err error) {
	switch key {
	case "StorePath":
		n.StorePath = strings.Clone(value) // runs remember it, and must not keep all of the text with it
		n.Base, err = storepath.BaseIn(dir, n.StorePath)
	case "URL":
		if n.URL = strings.Clone(value); !IsNAR(value) {
			err = errors.New("not the name of a NAR in the cache")
		}
	case "Compression":
		n.Compression, err = compression.Parse(value)
	case "FileHash":
		n.FileHash = new([32]byte)
		*n.FileHash, err = parseHash(value)
	case "FileSize":
		n.FileSize, err = parseSize(value)
	case "NarHash":
		n.NarHash, err = parseHash(value)
	case "NarSize":
		if n.NarSize, err = parseSize(value); err == nil && n.NarSize == 0 {
			err = errors.New("a NAR is never empty")
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
		n.CA = value
	case "Sig":
		if len(n.sigs) == maxSignatures {
			return fmt.Errorf("more than %d signatures", maxSignatures)
		}
		var sig signature.Signature
		if sig, err = signature.ParseSignature(value); err == nil {
			n.sigs = append(n.sigs, sig)
		}
	}
	return err
}

// maxNarSize is the largest size that is accepted, in bytes.
const maxNarSize = 1 << 62

func parseSize(s string) (int64, error) {
	v, err := strconv.ParseUint(s, 10, 64)
	if err == nil && v > maxNarSize {
		err = errors.New("out of range")
	}
	return int64(v), err
}

// Fingerprint returns the text that signatures sign (Nix's src/libstore/path-info.cc).
func (n *Info) Fingerprint() string {
	dir := strings.TrimSuffix(n.StorePath, n.Base)
	refs := slices.Clone(n.References)
	slices.Sort(refs)
	refs = slices.Compact(refs)
	for i, r := range refs {
		refs[i] = dir + r
	}
	return fmt.Sprintf("1;%s;%s;%d;%s", n.StorePath, HashText(n.NarHash), n.NarSize, strings.Join(refs, ","))
}

// SignedBy reports whether one of the keys has signed the narinfo.
func (n *Info) SignedBy(keys []signature.PublicKey) bool {
	text := n.Fingerprint()
	for _, key := range keys {
		for _, sig := range n.sigs {
			if key.Verify(text, sig) {
				return true
			}
		}
	}
	return false
}

// Set sets the value of the line with this key, or adds such a line behind the line with the key after.
func (n *Info) Set(key, value, after string) {
	text := key + ": " + value
	at := slices.IndexFunc(n.lines, func(l line) bool { return l.key == key })
	if at >= 0 {
		n.lines[at].text = text
		return
	}
	at = slices.IndexFunc(n.lines, func(l line) bool { return l.key == after })
	n.lines = slices.Insert(n.lines, at+1, line{key, text})
}

// Drop removes every line with this key, and reports whether there was one.
func (n *Info) Drop(key string) bool {
	before := len(n.lines)
	n.lines = slices.DeleteFunc(n.lines, func(l line) bool { return l.key == key })
	return len(n.lines) < before
}

// Encode returns the text of the narinfo.
func (n *Info) Encode() []byte {
	var b []byte
	for _, l := range n.lines {
		b = append(append(b, l.text...), '\n')
	}
	return b
}

// Reparse updates the fields from the lines.
func (n *Info) Reparse(dir string) error {
	fresh, err := Parse(n.Encode(), dir)
	if err != nil {
		return err
	}
	*n = *fresh
	return nil
}

// A Sum is the size and SHA-256 of a file or a NAR.
type Sum struct {
	Size int64
	Hash [32]byte
}

func (s Sum) String() string { return HashText(s.Hash) }

// SetFile sets the size and hash of the NAR's file, the name of its object, and its compression.
func (n *Info) SetFile(s Sum, url string, c compression.Type) {
	n.Set("URL", url, "StorePath")
	n.Set("Compression", string(c), "URL")
	n.Set("FileHash", s.String(), "Compression")
	n.Set("FileSize", strconv.FormatInt(s.Size, 10), "FileHash")
}

// Clone returns an Info with the same text, whose fields are not set: see Reparse.
func (n *Info) Clone() *Info { return &Info{lines: slices.Clone(n.lines)} }

// SameText reports whether two narinfos have the same text.
func (n *Info) SameText(o *Info) bool { return slices.Equal(n.lines, o.lines) }

// Sign adds a signature by each of the keys.
func (n *Info) Sign(keys []signature.SecretKey) error {
	text := n.Fingerprint()
	for _, key := range keys {
		sig, err := key.Sign(nil, text)
		if err != nil {
			return fmt.Errorf("sign %s: %w", n.StorePath, err)
		}
		n.lines = append(n.lines, line{"Sig", "Sig: " + sig.String()})
	}
	return nil
}

// clip shortens text from a file for a message.
func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}

// ReferencesIn returns the base names that the text of a narinfo lists as references, without checking the rest.
func ReferencesIn(b []byte) []string {
	for l := range strings.SplitSeq(string(b), "\n") {
		if value, ok := strings.CutPrefix(l, "References:"); ok {
			return strings.Fields(value)
		}
	}
	return nil
}
