// Package ledger keeps a record of the paths that runs have finished, so that the next run processes only new paths.
//
// A ledger consists of lines of JSON. The first identifies the work:
//
//	{"ledger":"narseal/1","command":"cache repair","options":"…"}
//
// Every other line describes a path, or what a run knows of the closure that it searches (see [Closure])
//
//	{"closure":{"shard":"0/16","begun":true,"at":"…"}}
//	{"closure":{"shard":"0/16","paths":…,"digest":"sha256-…","unknown":[],"at":"…"}}
//
// which later runs ignore. Ledgers of the same work can be concatenated; their first lines then recur. If a
// path has several lines, the last one counts. A truncated last line is ignored.
package ledger

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"narseal/cmd/narseal/internal/jsontext"
	"narseal/cmd/narseal/internal/worklist"
	"narseal/macho"
	"narseal/nar/binarycache"
	"narseal/nar/storepath"
)

// Schema is the version of the format.
const Schema = "narseal/1"

// A Work describes what is done to each path. Two runs with equal Works have the same results.
type Work struct {
	Ledger  string `json:"ledger"` // Schema
	Command string `json:"command"`
	Options string `json:"options"` // everything that affects the result
}

// Statuses of Lines that are not finished. The other statuses are those of package binarycache.
const (
	Missing = "missing"                  // the cache does not have the path
	Failed  = string(binarycache.Failed) // see Line.Error
)

// A Line describes one path.
type Line struct {
	StorePath  string      `json:"storePath"` // only the hash part if the path is missing
	NarHash    string      `json:"narHash,omitempty"`
	Status     string      `json:"status"`
	NewNarHash string      `json:"newNarHash,omitempty"` // if the path was changed
	Signatures []Signature `json:"signatures"`           // those that are invalid or were repaired
	Omitted    int64       `json:"omitted,omitempty"`    // signatures that are not listed
	Error      string      `json:"error,omitempty"`
	At         time.Time   `json:"at"`
}

// A Signature is one slice of an image, in the form of verify --format json.
type Signature struct {
	Path string `json:"path"` // in the store path
	macho.Slice
}

// Finished reports whether later runs can skip the path.
func (l *Line) Finished() bool { return l.Status != Missing && l.Status != Failed }

// Hash returns the hash part of the path.
func (l *Line) Hash() (worklist.Hash, error) {
	base := l.StorePath[strings.LastIndexByte(l.StorePath, '/')+1:]
	if len(base) > storepath.HashLen {
		if err := storepath.CheckBaseName(base); err != nil {
			return worklist.Hash{}, err
		}
		base = base[:storepath.HashLen]
	}
	return worklist.ParseHash(base)
}

// maxText is the maximum size of a ledger in bytes, after decompression, since a server may send data without end.
// Tests lower it.
var maxText int64 = 64 << 30

// Maximum lengths of lines that are read and of lines that are written, in bytes.
const (
	maxLine    = 8 << 20
	maxWritten = 1 << 20
)

// encode returns the line with its newline. It leaves out details that would make the line too long.
func (l Line) encode() ([]byte, error) {
	if l.Signatures == nil {
		l.Signatures = []Signature{}
	}
	l.Error = jsontext.String(cut(l.Error, maxError))
	for bare := false; ; bare = true {
		b, err := encode(l)
		if err != nil || len(b) <= maxWritten || len(l.Signatures) == 0 {
			return b, err
		}
		if bare {
			n := len(l.Signatures) / 2
			l.Omitted += int64(len(l.Signatures) - n)
			l.Signatures = l.Signatures[:n]
			continue
		}
		list := make([]Signature, len(l.Signatures))
		for i, s := range l.Signatures {
			s.CodeDirectories = []macho.CodeDirectory{} // they may list many pages
			list[i] = s
		}
		l.Signatures = list
	}
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	err := jsontext.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}

// A record is any line.
type record struct {
	Work
	Line
	closureLine
	Signatures signatureList `json:"signatures"`
}

// line returns the record as the Line of a path.
func (r *record) line() *Line {
	r.Line.Signatures = r.Signatures.list
	r.Line.Omitted += r.Signatures.omitted
	r.Line.Error = cut(r.Line.Error, maxError)
	return &r.Line
}

var errNoWork = errors.New(`not a ledger: it does not begin with {"ledger":"` + Schema + `", …}`)

// Read reads lines until the end or the first error, and returns the number of bytes in complete lines. It calls work
// for each line that begins a ledger, and path for each other line, with the line's number. If a killed run left a
// partial line that the next line continues, only the next line counts.
func Read(r io.Reader, work func(int, Work) error, path func(int, *Line) error, closure func(int, *Closure) error) (whole int64, err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	var long []byte
	for n := 1; ; n++ {
		b, err := readLine(in, &long)
		if err == io.EOF {
			if n == 1 && len(b) > 0 && !bytes.HasPrefix([]byte(`{"ledger":"`), b[:min(len(b), len(`{"ledger":"`))]) {
				return 0, errNoWork
			}
			return whole, nil
		}
		if err == nil {
			err = readRecord(b, n, work, path, closure)
		}
		if err != nil {
			return whole, fmt.Errorf("line %d: %w", n, err)
		}
		if whole += int64(len(b)); whole > maxText {
			return whole, fmt.Errorf("more than %d bytes", maxText)
		}
	}
}

// readLine returns a line with its newline. At the end, it returns io.EOF and the rest that has no newline.
func readLine(in *bufio.Reader, long *[]byte) ([]byte, error) {
	b, err := in.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		return b, err
	}
	*long = (*long)[:0]
	for err == bufio.ErrBufferFull && len(*long) <= maxLine {
		*long = append(*long, b...)
		b, err = in.ReadSlice('\n')
	}
	*long = append(*long, b...)
	if len(*long) > maxLine {
		return nil, fmt.Errorf("more than %d bytes", maxLine)
	}
	return *long, err
}

func readRecord(b []byte, n int, work func(int, Work) error, path func(int, *Line) error, closure func(int, *Closure) error) error {
	var r record
	err := json.Unmarshal(b, &r)
	if err != nil {
		at := max(bytes.LastIndex(b, []byte(`{"storePath":`)), bytes.LastIndex(b, []byte(`{"ledger":`)), bytes.LastIndex(b, []byte(`{"closure":`)))
		if at > 0 {
			r = record{}
			err = json.Unmarshal(b[at:], &r)
		}
	}
	switch {
	case n == 1 && r.Ledger == "":
		return errNoWork
	case err != nil:
		return fmt.Errorf("not a line of a ledger: %w", err)
	case r.Ledger != "" && r.Ledger != Schema:
		return fmt.Errorf("a ledger of the version %q, want %q", cut(r.Ledger, 100), Schema)
	case r.Ledger != "":
		return work(n, r.Work)
	case r.Closure != nil:
		if err := r.Closure.check(); err != nil || closure == nil {
			return err
		}
		return closure(n, r.Closure)
	}
	switch err := checkWords("status", r.Status); {
	case err != nil:
		return err
	case len(r.StorePath) > maxStorePath:
		return fmt.Errorf("storePath: more than %d bytes", maxStorePath)
	case r.Omitted < 0 || r.Omitted > maxOmitted:
		return fmt.Errorf("omitted: %d is out of range", r.Omitted)
	}
	return path(n, r.line())
}

// maxOmitted limits the omitted signatures of a line, so that the sum over all lines does not overflow.
const maxOmitted = 1 << 32

// cut shortens text to n bytes.
func cut(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
