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

// Unpack makes a Scanner search packed files: gzip, xz, zstd and bzip2 streams, zip archives, tar archives, and any
// nesting of these. Its fields limit the search. Bytes that are not compressed, such as a member that zip only stores,
// are not searched again.
//
// Contents that are damaged, encrypted or beyond a limit, or that programs may read in different ways, are reported to
// Warn, and counted by Scanner.Incomplete. They are never an error.
type Unpack struct {
	// Limits; 0 means the default.
	Depth int   // nested levels of packing
	Size  int64 // total bytes that all levels of one file expand to
	Ratio int64 // maximum expansion ratio, after the first 64 MiB of a member and 256 MiB of all files
	// Memory is the maximum number of bytes that all levels of a file may use at the same time: windows of decoders,
	// records of an archive's directory, and archives in memory. The default is half the limit of Spill plus 24 MiB.
	// The process uses up to twice as much, because unused memory is not freed immediately.
	Memory int64
	// Warn, if not nil, is called for each member that was not searched completely, with the path of the entry and the
	// member (only the end of a long one) and the reason. The error is an ErrLimit if a limit was the reason.
	Warn func(path string, err error)
	// Spill says where to store zip archives, which need random access and may have up to 256 MiB.
	Spill spill.Options

	free int64 // bytes to which a member may expand at any ratio
	pool int64 // bytes to which all files together may expand at any ratio
}

// The default limits.
const (
	DefaultDepth = 8
	DefaultSize  = 4 << 30
	DefaultRatio = 1000
)

// HeadSize is the number of bytes at the start of a file that Unpacker.Begin needs. It allows for a short script before
// a zip archive.
const HeadSize = 4096

const (
	freeSize    = 64 << 20  // Unpack.free if that is 0
	poolSize    = 256 << 20 // Unpack.pool if that is 0
	maxWarnings = 10        // per file
)

// An Unpacker searches packed files that are passed to it piece by piece. The decoders run in a coroutine, which waits
// for the next piece.
type Unpacker struct {
	Unpack
	scan   Scanner // searches unpacked contents
	memory budget

	limited, unreadable int64 // see Incomplete
	garbage             int64 // see freed
	holes               int64 // bytes of the holes that were passed on; see wants

	// For the current file:
	path   func() nar.Path
	next   func() (struct{}, bool) // nil: the file is not packed, or its search has ended
	stop   func()
	in     []byte // pushed and not yet read
	ended  bool
	format string  // of packing
	end    zipTail // of a file that is not a zip archive
	leaf   zipTail // of a member that is not packed
	left   int64   // bytes that the file may still expand to
	packed int64   // bytes that were pushed
	over   onceError
	ratio  onceError
	warned int
	err    error // of Found
}

// NewUnpacker returns an Unpacker that searches for the references of s, and reports them to s.Found.
func NewUnpacker(o *Unpack, s *Scanner) *Unpacker {
	u := &Unpacker{Unpack: *o, scan: Scanner{StoreDir: s.StoreDir, Encodings: s.Encodings, Hashes: s.Hashes}}
	u.scan.Found = func(r *Reference) error {
		if err := s.Found(r); err != nil && u.err == nil {
			u.err, u.left = err, -1 // stop reading
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

// Begin starts a file. head is its first HeadSize bytes or more, or all of it.
func (u *Unpacker) Begin(path func() nar.Path, head []byte) {
	u.Close()
	head = head[:min(len(head), HeadSize)] // as open sees it
	u.path, u.in, u.ended, u.left, u.packed, u.warned, u.err = path, nil, false, u.Size, 0, 0, nil
	u.end.reset()
	if u.format = packing(head); u.format == "" {
		return
	}
	u.over = onceError{err: limitError(fmt.Sprintf("expands to more than %d bytes", u.Size))}
	u.ratio = onceError{err: limitError(fmt.Sprintf("expands more than %d:1, as other files did before", u.Ratio))}
	u.next, u.stop = iter.Pull(func(yield func(struct{}) bool) {
		u.open(&pushed{u, yield}, layer{})
	})
}

// Push searches the next bytes of the file. The bytes of head are pushed, too.
func (u *Unpacker) Push(b []byte) {
	if u.format != "zip" {
		u.end.Write(b)
	}
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

// Finish ends the file. It returns the error of Found.
func (u *Unpacker) Finish() error {
	if u.next != nil {
		u.ended = true
		u.next()
	}
	if u.format != "zip" && u.warned == 0 && u.end.found() {
		u.warn(layer{}, errPrefixedZip)
	}
	u.Close()
	return u.err
}

// Close ends the search of the current file early.
func (u *Unpacker) Close() {
	if u.stop != nil {
		u.stop()
		u.pool -= u.excess()
	}
	u.next, u.stop = nil, nil
}

// excess returns the number of bytes to which the current file expanded beyond the ratio. All files share one pool of
// excess, since otherwise each of many small files could expand so much that it takes seconds.
func (u *Unpacker) excess() int64 {
	out := u.Size - u.left
	if out/u.Ratio <= u.packed || u.err != nil { // u.left has no meaning after an error
		return 0
	}
	return out - u.Ratio*u.packed
}

// pushed reads the bytes passed to Push.
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

// packing returns the kind of packing of a file that begins with head, or "" if it is not packed.
func packing(head []byte) string {
	if t := compression.Detect(head); t != compression.None {
		return string(t)
	}
	const local, end = "PK\x03\x04", "PK\x05\x06"
	const jmod, split, wasSplit = "JM\x01\x00", "PK\x07\x08", "PK00" // bytes before the first member
	switch {
	case bytes.HasPrefix(head, []byte(local)), bytes.HasPrefix(head, []byte(end)),
		bytes.HasPrefix(head, []byte(jmod+local)), bytes.HasPrefix(head, []byte(split+local)), bytes.HasPrefix(head, []byte(wasSplit+local)),
		bytes.HasPrefix(head, []byte("#!")) && bytes.Contains(head, []byte(local)):
		return "zip"
	case len(head) >= 262 && string(head[257:262]) == "ustar", isTar(head):
		return "tar"
	}
	return ""
}

// layer is the place of a member in a file.
type layer struct {
	member string // as in Reference
	packed string // likewise
	depth  int
	hidden bool // its bytes do not occur uncompressed in the file
}

// maxMember is the maximum length of the name of a member in Reference.Member, in bytes.
const maxMember = 1024

// inside returns the layer of a member of l. name begins with "!" for a member of an archive.
func (l layer) inside(name, packed string, hidden bool) layer {
	if l.packed != "" {
		packed = l.packed + "," + packed
	}
	if len(name) > maxMember {
		name = name[:maxMember] + "…"
	}
	return layer{l.member + name, packed, l.depth + 1, l.hidden || hidden}
}

// unpack searches a layer that r unpacks. in returns the number of packed bytes that r has read. If r fails or a limit
// is reached, unpack warns and returns the error.
func (u *Unpacker) unpack(r io.Reader, in func() int64, l layer) error {
	b := &boundedReader{r: r, u: u, in: in}
	u.open(b, l)
	if b.err == nil || b.err == io.EOF {
		return nil
	}
	u.warn(l, b.err) // if open has not
	return b.err
}

// open searches the members of a layer and, if it is hidden, its raw bytes. It reads all of r, unless it warns.
func (u *Unpacker) open(r io.Reader, l layer) {
	br := bufio.NewReaderSize(r, HeadSize)
	head, _ := br.Peek(HeadSize) // the next read returns an error again
	packed := packing(head)
	if packed != "" && packed != "tar" && isTar(head) {
		u.warn(l, errors.New("it can be read as "+packed+" and as tar"))
	}
	warned := u.limited + u.unreadable
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
	in := io.Reader(br)
	end := &u.end
	if packed != "" && l.depth > 0 {
		end = &zipTail{}
		in = io.TeeReader(in, end)
	}
	var raw *rawSearch
	if packed != "" && l.hidden {
		raw = u.newRawSearch(in, l)
		in = raw
	}
	switch packed {
	case "":
		if l.hidden {
			u.search(br, l)
		} else if l.depth > 0 {
			u.skim(br, l)
		}
	case "tar":
		u.tar(in, end, raw, l)
	default:
		u.stream(in, l)
	}
	var err error
	switch {
	case raw != nil:
		err = raw.rest()
	case l.depth > 0:
		_, err = io.Copy(io.Discard, in)
	}
	if err != nil {
		u.warn(l, err)
	}
	if packed != "" && l.depth > 0 && u.limited+u.unreadable == warned && end.found() {
		u.warn(l, errPrefixedZip)
	}
}

// enter starts a level of packing.
func (u *Unpacker) enter(l layer) error {
	if l.depth >= u.Depth {
		return limitError(fmt.Sprintf("packed more than %d levels deep", u.Depth))
	}
	return u.memory.take(levelMemory)
}

// search searches the rest of a layer.
func (u *Unpacker) search(r io.Reader, l layer) {
	u.scan.member, u.scan.packed = l.member, l.packed
	u.leaf.reset()
	if err := u.scan.contents(u.path, io.TeeReader(r, &u.leaf)); err != nil {
		u.warn(l, err)
	} else if u.leaf.found() {
		u.warn(l, errPrefixedZip)
	}
}

// skim reads a member whose bytes occur uncompressed in the file, where they are searched.
func (u *Unpacker) skim(r io.Reader, l layer) {
	u.leaf.reset()
	if _, err := io.Copy(&u.leaf, r); err != nil {
		u.warn(l, err)
	} else if u.leaf.found() {
		u.warn(l, errPrefixedZip)
	}
}

// searchName searches the name or the target of a hidden member. It records the references, so that raw does not report
// them again.
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

// warn reports why a layer was not searched completely.
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

// onceError is an error of a layer that its members also return. It is reported once.
type onceError struct {
	err      error
	reported bool
}

func (e *onceError) Error() string { return e.err.Error() }
func (e *onceError) Unwrap() error { return e.err }
