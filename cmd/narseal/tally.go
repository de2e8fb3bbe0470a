package main

import (
	"fmt"
	"io/fs"

	"github.com/dustin/go-humanize"

	"narseal/filter"
	"narseal/macho"
)

// tally counts what verify saw.
type tally struct {
	entries        entriesReport
	size           int64 // bytes in files
	images, slices int64 // signed images, and their slices
	stale          int64 // slots, special ones too
	hashed         int64 // bytes
	broken         int64 // slices that do not hold
	failed         int64 // inputs, and names in folders, that could not be read
}

// sum adds what another tally counted.
func (n *tally) sum(o *tally) {
	n.entries.Regular += o.entries.Regular
	n.entries.Directory += o.entries.Directory
	n.entries.Symlink += o.entries.Symlink
	n.size += o.size
	n.images += o.images
	n.slices += o.slices
	n.stale += o.stale
	n.hashed += o.hashed
	n.broken += o.broken
	n.failed += o.failed
}

// count counts a slice.
func (n *tally) count(s *macho.Slice) {
	n.slices++
	for _, d := range s.CodeDirectories {
		n.stale += int64(len(d.Stale) + len(d.StaleSpecial))
	}
	if !s.Status.OK() {
		n.broken++
	}
}

// add counts a name in a folder.
func (n *tally) add(l *looked) {
	switch l.entry.Type() {
	case 0:
		n.entries.Regular++
		n.size += l.size
	case fs.ModeDir:
		n.entries.Directory++
	case fs.ModeSymlink:
		n.entries.Symlink++
	}
	if l.report != nil {
		n.images++
		n.hashed += l.report.Hashed
	}
}

// addResult counts what a filter saw of an archive, but for its slices.
func (n *tally) addResult(res *filter.Result) {
	n.entries.Regular += res.Regular
	n.entries.Directory += res.Directory
	n.entries.Symlink += res.Symlink
	n.images += res.Images
	n.hashed += res.Hashed
}

func (n *tally) String() string {
	return fmt.Sprintf("%s, %s, %s; %s; %s hashed; %s",
		count(n.entries.Regular, "file", "files"), count(n.images, "signed image", "signed images"), count(n.slices, "slice", "slices"),
		count(n.stale, "stale slot", "stale slots"), humanize.IBytes(uint64(n.hashed)), n.verdict())
}

func (n *tally) verdict() string {
	var s string
	switch {
	case n.broken > 0:
		s = count(n.broken, "signature does not hold", "signatures do not hold")
	case n.slices > 0:
		s = "every signature holds"
	default:
		s = "no signature"
	}
	if n.failed > 0 {
		s += "; " + count(n.failed, "error", "errors")
	}
	return s
}
