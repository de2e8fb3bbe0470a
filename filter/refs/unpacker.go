package refs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"

	"narseal/filter/spill"
	"narseal/nar"
	"narseal/nar/compression"
)

// Unpack says how far a Scanner looks into packed files: gzip, xz, zstd and bzip2 streams, zip archives, tar archives,
// and all of these inside each other. What stands in the file as it is, such as a member that zip only stores, is not
// searched again.
//
// Contents that are damaged, encrypted or beyond a limit are reported to Warn, and counted by Scanner.Incomplete. They
// are never an error.
type Unpack struct {
	// Limits; 0 stands for the default.
	Depth int   // levels of packing inside each other
	Size  int64 // bytes that all levels of one file expand to together
	Ratio int64 // bytes that a byte expands to, after the first 64 MiB of a member and 256 MiB of all files together
	// Memory is the number of bytes that all levels of a file may take at a time: the windows of decoders, what is kept
	// of an archive's directory, and archives in memory. The default is half the limit of Spill and 24 MiB. The process
	// takes up to twice as much, because memory that is not in use any more is not freed at once.
	Memory int64
	// Warn, if not nil, gets the path of the entry and of the member that was not searched, or not completely, and why.
	// The error is an ErrLimit if one of the limits was the reason.
	// Of a long path it gets the end.
	Warn func(path string, err error)
	// Spill says where a zip archive of up to 256 MiB is kept, which needs random access.
	Spill spill.Options

	free int64 // bytes of a member that may expand at any ratio
	pool int64 // bytes of all files together that may
}

// The default limits.
const (
	DefaultDepth = 8
	DefaultSize  = 4 << 30
	DefaultRatio = 1000
)

// HeadSize is how many of a file's first bytes Unpacker.Begin needs: a zip archive can follow a short script.
const HeadSize = 4096

const (
	freeSize    = 64 << 20  // Unpack.free if that is 0
	poolSize    = 256 << 20 // Unpack.pool if that is 0
	maxWarnings = 10        // about one file
)

// An Unpacker looks into files that it gets piece by piece. The decoders, which read, run in a coroutine that waits for
// the next piece.
type Unpacker struct {
	Unpack
	scan   Scanner // of unpacked contents
	memory budget

	limited, unreadable int64 // see Incomplete
	garbage             int64 // see freed

	// Of the current file:
	path   func() nar.Path
	next   func() (struct{}, bool) // nil: it is not packed, or has been given up
	stop   func()
	in     []byte // pushed and not yet read
	ended  bool
	left   int64 // bytes that may still come out of it
	packed int64 // bytes that were pushed
	over   onceError
	ratio  onceError
	warned int
	err    error // of Found
}

// NewUnpacker returns an Unpacker that looks for what s looks for, and reports it to s.Found.
func NewUnpacker(o *Unpack, s *Scanner) *Unpacker {
	u := &Unpacker{Unpack: *o, scan: Scanner{StoreDir: s.StoreDir, Encodings: s.Encodings, Hashes: s.Hashes}}
	u.scan.Found = func(r *Reference) error {
		if err := s.Found(r); err != nil && u.err == nil {
			u.err, u.left = err, -1 // nothing more is read
		}
		return u.err
	}
	if u.Depth == 0 {
		u.Depth = DefaultDepth
	}
	if u.Size == 0 {
		u.Size = DefaultSize
	}
	if u.Ratio == 0 {
		u.Ratio = DefaultRatio
	}
	if u.free == 0 {
		u.free = freeSize
	}
	if u.pool == 0 {
		u.pool = poolSize
	}
	if u.Memory == 0 {
		u.Memory = u.Spill.Limit()/2 + decoderMemory
	}
	u.memory = budget{u.Memory, u.Memory}
	return u
}

// Begin begins a file. head is its first HeadSize bytes, or all of it.
func (u *Unpacker) Begin(path func() nar.Path, head []byte) {
	u.Close()
	u.path, u.in, u.ended, u.left, u.packed, u.warned, u.err = path, nil, false, u.Size, 0, 0, nil
	if packing(head) == "" {
		return
	}
	u.over = onceError{err: limitError(fmt.Sprintf("expands to more than %d bytes", u.Size))}
	u.ratio = onceError{err: limitError(fmt.Sprintf("expands more than %d:1, as other files did before", u.Ratio))}
	u.next, u.stop = iter.Pull(func(yield func(struct{}) bool) {
		u.open(&pushed{u, yield}, layer{})
	})
}

// Push takes the next bytes of the file, those of head included.
func (u *Unpacker) Push(b []byte) {
	if u.next == nil || len(b) == 0 {
		return
	}
	u.in = b
	u.packed += int64(len(b))
	if _, more := u.next(); !more {
		u.next = nil
	}
	u.in = nil
}

// Finish ends the file. Its error is that of Found.
func (u *Unpacker) Finish() error {
	if u.next != nil {
		u.ended = true
		u.next()
	}
	u.Close()
	return u.err
}

// Close gives up the current file.
func (u *Unpacker) Close() {
	if u.stop != nil {
		u.stop()
		u.pool -= u.excess()
	}
	u.next, u.stop = nil, nil
}

// excess is how many bytes the current file expanded to beyond the ratio. Few bytes can expand to so many that each of
// many files takes seconds: all files together have one pool for that.
func (u *Unpacker) excess() int64 {
	out := u.Size - u.left
	if out/u.Ratio <= u.packed || u.err != nil { // an error leaves nothing
		return 0
	}
	return out - u.Ratio*u.packed
}

// pushed reads the bytes that are pushed.
type pushed struct {
	u     *Unpacker
	yield func(struct{}) bool
}

var errGivenUp = errors.New("given up")

func (p *pushed) Read(b []byte) (int, error) {
	for len(p.u.in) == 0 {
		if p.u.ended {
			return 0, io.EOF
		}
		if !p.yield(struct{}{}) {
			return 0, errGivenUp
		}
	}
	n := copy(b, p.u.in)
	p.u.in = p.u.in[n:]
	return n, nil
}

// packing names how a file that begins with head is packed. It is empty for other files.
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

// layer is the place of a member in a file.
type layer struct {
	member string // as in Reference
	packed string // likewise
	depth  int
	hidden bool // its bytes do not stand in the file as they are
}

// maxMember bounds the name of a member in Reference.Member, in bytes.
const maxMember = 1024

// inside returns the layer of a member of l. The name of a member of an archive begins with "!".
func (l layer) inside(name, packed string, hidden bool) layer {
	if l.packed != "" {
		packed = l.packed + "," + packed
	}
	if len(name) > maxMember {
		name = name[:maxMember] + "…"
	}
	return layer{l.member + name, packed, l.depth + 1, l.hidden || hidden}
}

// open looks into a layer. If the layer is hidden, it also searches its bytes.
func (u *Unpacker) open(r io.Reader, l layer) {
	br := bufio.NewReaderSize(r, HeadSize)
	head, _ := br.Peek(HeadSize) // an error comes again
	packed := packing(head)
	if packed != "" {
		err := u.enter(l)
		if err == nil {
			defer u.memory.give(levelMemory)
		} else {
			u.warn(l, err)
			packed = ""
		}
	}
	if packed == "zip" {
		u.zip(br, l)
		return
	}
	var raw *rawSearch
	if packed != "" && l.hidden {
		raw = u.newRawSearch(br, l)
	}
	in := io.Reader(br)
	if raw != nil {
		in = raw
	}
	switch packed {
	case "":
		if l.hidden {
			u.search(br, l)
		}
	case "tar":
		u.tar(in, raw, l)
	default:
		u.stream(in, l)
	}
	if raw != nil {
		if err := raw.rest(); err != nil {
			u.warn(l, err)
		}
	}
}

// enter begins a level of packing.
func (u *Unpacker) enter(l layer) error {
	if l.depth >= u.Depth {
		return limitError(fmt.Sprintf("packed more than %d levels deep", u.Depth))
	}
	return u.memory.take(levelMemory)
}

// search searches the rest of a layer.
func (u *Unpacker) search(r io.Reader, l layer) {
	u.scan.member, u.scan.packed = l.member, l.packed
	if err := u.scan.contents(u.path, r); err != nil {
		u.warn(l, err)
	}
}

// searchName searches the name of a hidden member, or its target. raw then leaves out what was found.
func (u *Unpacker) searchName(part Part, s string, l layer, raw *rawSearch) {
	if !l.hidden {
		return
	}
	found := u.scan.Found
	if raw != nil {
		u.scan.Found = func(ref *Reference) error {
			raw.names[foundName{string(ref.Base), ref.Hash}] = true
			return found(ref)
		}
	}
	u.scan.member, u.scan.packed = l.member, l.packed
	_ = u.scan.field(u.path, part, []byte(s)) // Found's error stays in u
	u.scan.Found = found
}

// warn reports why a layer was not searched, or not completely.
func (u *Unpacker) warn(l layer, err error) {
	var once *onceError
	switch {
	case errors.Is(err, errGivenUp) || u.err != nil:
		return
	case errors.As(err, &once):
		if once.reported {
			return
		}
		once.reported = true
	}
	if errors.Is(err, ErrLimit) {
		u.limited++
	} else {
		u.unreadable++
	}
	u.warned++
	switch {
	case u.Warn == nil || u.warned > maxWarnings:
	case u.warned == maxWarnings:
		u.Warn(u.path().Short(), errors.New("more members that cannot be searched"))
	default:
		u.Warn(u.path().Short()+l.member, err)
	}
}

// onceError is an error of a layer that its members return too. It is reported once.
type onceError struct {
	err      error
	reported bool
}

func (e *onceError) Error() string { return e.err.Error() }
func (e *onceError) Unwrap() error { return e.err }
