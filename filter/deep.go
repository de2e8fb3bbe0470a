package filter

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"

	"narseal/nar/compression"
)

// Deep says how far packed files are looked into: gzip, xz, zstd and bzip2
// streams, zip archives, tar archives in one of them, and all of these in each
// other. What stands there in full sight, as in a member that zip only stores,
// is not looked for again.
//
// What is damaged, encrypted or beyond a limit is told to Warn and never an
// error. Memory is bounded: beside the decoders' (package compression), a zip
// archive of up to 256 MiB is held as an image is.
type Deep struct {
	// Limits; 0 stands for the default.
	Depth int   // levels of packing inside each other
	Size  int64 // bytes that all levels of one file expand to together
	Ratio int64 // bytes that a byte expands to, beyond the first 64 MiB
	// Warn is given the entry's path with the member's, and why it was not,
	// or not all of it, looked into.
	Warn func(path string, err error)

	HoldMemory int64 // as in Config
	Scratch    func() (Scratch, error)

	free int64 // bytes that may expand at any ratio
}

// The limits that serve nearly everyone.
const (
	DefaultDeepDepth = 8
	DefaultDeepSize  = 4 << 30
	DefaultDeepRatio = 1000
)

const (
	// freeSize is Deep.free where that is not set.
	freeSize = 64 << 20
	// maxWarnings bounds what is said about one file.
	maxWarnings = 10
	// headSize is how much of a file tells how it is packed: a zip archive
	// can follow a short script.
	headSize = 4096
)

// diver looks into the files that are pushed to it, window by window. The
// decoders, which pull, run in a coroutine that waits for the next window.
type diver struct {
	Deep
	find References // what is looked for

	// Of the file at hand:
	path   func() string
	next   func() (struct{}, bool) // nil: it is not packed, or not looked into any more
	stop   func()
	in     []byte // what was pushed and not yet read
	ended  bool
	left   int64 // bytes that may still come of it
	over   onceError
	warned int
	err    error // of find.Found
}

// newDiver returns one that looks for what f looks for, and tells f's Found.
func newDiver(deep *Deep, f *References) *diver {
	d := &diver{Deep: *deep, find: References{StoreDir: f.StoreDir, Encodings: f.Encodings, Hashes: f.Hashes}}
	d.find.Found = func(m *Mention) error {
		if err := f.Found(m); err != nil && d.err == nil {
			d.err, d.left = err, -1 // nothing more is read
		}
		return d.err
	}
	if d.Depth == 0 {
		d.Depth = DefaultDeepDepth
	}
	if d.Size == 0 {
		d.Size = DefaultDeepSize
	}
	if d.Ratio == 0 {
		d.Ratio = DefaultDeepRatio
	}
	if d.free == 0 {
		d.free = freeSize
	}
	return d
}

// begin is told of a file, and of its first bytes: headSize, or all.
func (d *diver) begin(path func() string, head []byte) {
	d.close()
	d.path, d.in, d.ended, d.left, d.warned, d.err = path, nil, false, d.Size, 0, nil
	if packing(head) == "" {
		return
	}
	d.over = onceError{err: fmt.Errorf("expands to more than %d bytes", d.Size)}
	d.next, d.stop = iter.Pull(func(yield func(struct{}) bool) {
		d.open(&pushed{d, yield}, layer{})
	})
}

// push gives it the next bytes of the file.
func (d *diver) push(b []byte) {
	if d.next == nil || len(b) == 0 {
		return
	}
	d.in = b
	if _, more := d.next(); !more {
		d.next = nil
	}
	d.in = nil
}

// end ends the file. Its error is that of Found.
func (d *diver) end() error {
	if d.next != nil {
		d.ended = true
		d.next()
	}
	d.close()
	return d.err
}

// close gives up the file at hand.
func (d *diver) close() {
	if d.stop != nil {
		d.stop()
	}
	d.next, d.stop = nil, nil
}

// pushed reads what is pushed.
type pushed struct {
	d     *diver
	yield func(struct{}) bool
}

var errGivenUp = errors.New("given up")

func (p *pushed) Read(b []byte) (int, error) {
	for len(p.d.in) == 0 {
		if p.d.ended {
			return 0, io.EOF
		}
		if !p.yield(struct{}{}) {
			return 0, errGivenUp
		}
	}
	n := copy(b, p.d.in)
	p.d.in = p.d.in[n:]
	return n, nil
}

// packing names how a file that begins with head is packed; empty: it is not.
func packing(head []byte) string {
	if t := compression.Detect(head); t != compression.None {
		return string(t)
	}
	const local, end = "PK\x03\x04", "PK\x05\x06"
	switch {
	case bytes.HasPrefix(head, []byte(local)), bytes.HasPrefix(head, []byte(end)),
		bytes.HasPrefix(head, []byte("#!")) && bytes.Contains(head, []byte(local)):
		return "zip"
	case len(head) >= 262 && string(head[257:262]) == "ustar":
		return "tar"
	}
	return ""
}

// layer is where in a file a member lies.
type layer struct {
	member string // as in Mention
	packed string // likewise
	depth  int
	hidden bool // it does not stand in the file as it is
}

// inside is the layer of a member of l.
func (l layer) inside(name, packed string, hidden bool) layer {
	if l.packed != "" {
		packed = l.packed + "," + packed
	}
	return layer{l.member + name, packed, l.depth + 1, l.hidden || hidden}
}

// open looks into a layer, and searches it where that is hidden.
func (d *diver) open(r io.Reader, l layer) {
	br := bufio.NewReaderSize(r, headSize)
	head, _ := br.Peek(headSize) // an error comes again
	packed := packing(head)
	if packed != "" && l.depth >= d.Depth {
		d.warn(l, fmt.Errorf("packed more than %d levels deep", d.Depth))
		packed = ""
	}
	switch packed {
	case "":
	case "zip":
		d.zip(br, l)
	case "tar":
		d.tar(br, l)
	default:
		d.stream(br, l)
	}
	if l.hidden {
		d.search(br, l)
	}
}

// search looks for mentions in what is left of a layer.
func (d *diver) search(r io.Reader, l layer) {
	d.find.member, d.find.packed = l.member, l.packed
	if err := d.find.contents(d.path, r); err != nil {
		d.warn(l, err)
	}
}

// searchName looks for mentions in the name of a member, or in its target.
func (d *diver) searchName(part Part, s string, l layer) {
	d.find.member, d.find.packed = l.member, l.packed
	if l.hidden {
		_ = d.find.field(d.path, part, []byte(s)) // Found's error stays in d
	}
}

// warn tells why a layer was not, or not all of it, looked into.
func (d *diver) warn(l layer, err error) {
	var once *onceError
	switch {
	case errors.Is(err, errGivenUp) || d.err != nil:
		return
	case errors.As(err, &once):
		if once.told {
			return
		}
		once.told = true
	}
	d.warned++
	switch path := d.path(); {
	case d.Warn == nil || d.warned > maxWarnings:
	case d.warned == maxWarnings:
		d.Warn(path, errors.New("more members that cannot be looked into"))
	default:
		d.Warn(path+l.member, err)
	}
}

// onceError is an error of a layer, which its members come upon too.
type onceError struct {
	err  error
	told bool
}

func (e *onceError) Error() string { return e.err.Error() }
func (e *onceError) Unwrap() error { return e.err }
