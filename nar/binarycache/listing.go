package binarycache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"narseal/nar/compression"
)

// A listing (HASH.ls) tells of each entry of a NAR its name, type, size and where in
// the NAR its contents begin. No rule changes a length, so only names and symlinks'
// targets can change, and they are text like any other. Offsets would change if an
// entry moved to another place among its siblings.
type listing struct {
	Root *listNode `json:"root"`
}

type listNode struct {
	Entries map[string]*listNode `json:"entries"`
}

// keepsOrder says whether the entries of every directory are in the same order with
// their new names, and all different.
func (n *listNode) keepsOrder(rename func(string) string) bool {
	if n == nil {
		return true
	}
	last := ""
	for i, name := range slices.Sorted(maps.Keys(n.Entries)) {
		renamed := rename(name)
		if i > 0 && renamed <= last || !n.Entries[name].keepsOrder(rename) {
			return false
		}
		last = renamed
	}
	return true
}

// writeListing has the listing follow the NAR, from the narinfo's old name to the new.
// A listing is for convenience: one that cannot follow is a warning.
func (r *run) writeListing(ctx context.Context, oldInfo, newInfo string, res *Result) error {
	name := strings.TrimSuffix(oldInfo, infoSuffix) + listSuffix
	newName := strings.TrimSuffix(newInfo, infoSuffix) + listSuffix
	if r.inPlace && r.Rename == nil {
		return nil
	}
	old, err := load(ctx, r.in, name, maxListing)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	b, err := r.renameListing(old)
	if err != nil {
		res.Warnings = append(res.Warnings, fmt.Sprintf("%s does not follow: %v", name, err))
		if r.inPlace && name == newName {
			return asOutput(r.out.Delete(ctx, name))
		}
		return nil
	}
	if r.inPlace && name == newName && bytes.Equal(b, old) {
		return nil
	}
	return r.put(ctx, newName, b)
}

const listSuffix = ".ls"

func (r *run) renameListing(b []byte) ([]byte, error) {
	if r.Rename == nil {
		return b, nil
	}
	dec, c, err := compression.Decompress(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	text, err := readAll(dec, maxListing)
	if err != nil {
		return nil, err
	}
	var l listing
	if err := json.Unmarshal(text, &l); err != nil {
		return nil, err
	}
	renamed := r.Rename(string(text))
	if renamed == string(text) {
		return b, nil
	}
	if len(renamed) != len(text) || !json.Valid([]byte(renamed)) {
		return nil, errors.New("the rules break it")
	}
	if !l.Root.keepsOrder(r.Rename) {
		return nil, errors.New("entries have moved in the NAR")
	}
	if c == compression.Bzip2 {
		c = compression.Xz
	}
	var out bytes.Buffer
	w, err := compression.Compress(&out, c, compression.Options{Workers: 1})
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(w, renamed); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
