package state

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"sync"

	"narseal/nar/binarycache/narinfo"
)

// A State records, in a directory outside the cache, the changes of all runs that do the same work on the same cache,
// so that the next run does not repeat them. This not only saves time: a rule that swaps two hashes would swap them
// back.
//
// A Record is written before the narinfo that it describes. It counts only if the cache has a narinfo with that name
// and those contents, and it never replaces a check: of signatures by trusted keys, of the NAR against its narinfo, and
// by Filter for a NAR with Path.Finished. So anyone who can write a State can prevent a run from changing paths, but
// cannot make it skip a check.
type State struct {
	root *os.Root // of the cache: the lock, and a file for each kind of work
	name string   // of the file of this work
	dir  *os.Root // the parent of root
	id   string   // name of root in dir
	lock *os.File
	path string // for messages

	mu      sync.Mutex
	file    *os.File // nil when it was closed
	end     int64    // of complete lines in file, in bytes
	most    int64    // maximum size of the file, in bytes
	changes room     // for records of changes
	copies  room
	places  map[key]int64 // offset of the record in the file, by its input
	results map[key]bool  // outputs of changes
}

// A room holds the number of records, and its maximum.
type room struct{ n, most int }

// Limits. A record of a change takes about 70 bytes of memory, and one of a copy 40; the rest is read from the file.
const (
	maxChanges = 1 << 22 // more are an error
	maxCopies  = 1 << 19 // more are not remembered: the next run compares them with the input
	maxBytes   = 4 << 30 // of the file; beyond it, the same applies
)

// ErrFull is wrapped by the error for more changes than a State can record.
var ErrFull = errors.New("more changes than can be recorded")

// ID identifies a narinfo by its name and the SHA-256 of its contents in hex.
type ID struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

// Identify returns the ID of a narinfo.
func Identify(name string, contents []byte) ID {
	h := sha256.Sum256(contents)
	return ID{name, hex.EncodeToString(h[:])}
}

// A key is the short form of an ID in memory.
type key [16]byte

func (id ID) key() key {
	h := sha256.Sum256([]byte(id.Name + "\x00" + id.SHA256))
	return key(h[:])
}

// A Record is one change: the narinfo Out, which names NewNAR, has replaced In, which named OldNAR. For a copied path,
// they are the same.
type Record struct {
	In     ID     `json:"in"`
	Out    ID     `json:"out"`
	OldNAR string `json:"oldNar"`
	NewNAR string `json:"newNar"`
}

func (r *Record) check() error {
	if !narinfo.IsName(r.In.Name) || !narinfo.IsName(r.Out.Name) || !narinfo.IsNAR(r.OldNAR) || !narinfo.IsNAR(r.NewNAR) {
		return errors.New("not a record of narinfos and NARs")
	}
	return nil
}

// header is the first line of a file.
type header struct {
	Schema string `json:"schema"`
	Cache  string `json:"cache"`
	Work   string `json:"work"` // SHA-256 in hex
}

const (
	schema  = "narseal-state/1"
	maxLine = 1 << 16 // bytes; a record has at most 2,500
)

// Open opens the State in the directory dir for one kind of work on one cache, and locks the cache against other runs
// that keep their state in dir. cache names the cache that is written, in the same way each time, for example by its
// absolute path or URL. work describes everything that determines the new contents of a path.
//
// Open creates dir if it is missing. Its contents must belong to the user, and no other user may be able to write to
// them.
func Open(dir, cache, work string) (*State, error) {
	s := &State{places: map[key]int64{}, results: map[key]bool{}, changes: room{most: maxChanges}, copies: room{most: maxCopies}, most: maxBytes}
	h := sha256.Sum256([]byte(work))
	head := header{schema, cache, hex.EncodeToString(h[:])}
	s.name = head.Work[:32] + ".jsonl"
	h = sha256.Sum256([]byte(cache))
	s.id = hex.EncodeToString(h[:16])
	s.path = dir + "/" + s.id + "/" + s.name

	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	var err error
	if s.dir, err = os.OpenRoot(dir); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if err := s.acquire(cache); err != nil {
		return nil, errors.Join(fmt.Errorf("state: %w", err), s.dir.Close())
	}
	if err := s.load(head); err != nil {
		return nil, errors.Join(fmt.Errorf("state: %s: %w", s.path, err), s.Close())
	}
	return s, nil
}

// load reads the records of earlier runs, or starts the file. It drops an incomplete last line.
func (s *State) load(head header) error {
	f, err := openOwnFile(s.root, s.name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	s.file = f
	r := bufio.NewReaderSize(io.LimitReader(f, s.most+maxLine), maxLine)
	for n := 1; ; n++ {
		b, err := r.ReadSlice('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if s.end+int64(len(b)) > s.most {
			return fmt.Errorf("line %d: %w: the file has more than %d bytes", n, ErrFull, s.most)
		}
		if err := s.parseLine(b, n == 1, head); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		s.end += int64(len(b))
	}
	if err := f.Truncate(s.end); err != nil {
		return err
	}
	if s.end > 0 {
		return nil
	}
	return s.append(head, true)
}

func (s *State) parseLine(b []byte, first bool, head header) error {
	if first {
		var got header
		if err := json.Unmarshal(b, &got); err != nil {
			return err
		}
		if got != head {
			return fmt.Errorf("this is the state of another work or cache: %.100q", bytes.TrimSpace(b))
		}
		return nil
	}
	r, err := parseRecord(b)
	if err != nil {
		return err
	}
	if s.isFull(r) {
		if r.isCopy() {
			return nil
		}
		return ErrFull
	}
	s.note(r, s.end)
	return nil
}

func parseRecord(b []byte) (r Record, err error) {
	if err = json.Unmarshal(b, &r); err == nil {
		err = r.check()
	}
	return r, err
}

func (r *Record) isCopy() bool { return r.In == r.Out }

// isFull reports whether there is no room for a record.
func (s *State) isFull(r Record) bool {
	if r.isCopy() {
		return s.copies.n >= s.copies.most
	}
	return s.changes.n >= s.changes.most
}

// note adds the record at offset, in bytes, to the index.
func (s *State) note(r Record, offset int64) {
	s.places[r.In.key()] = offset
	if r.isCopy() {
		s.copies.n++
		return
	}
	s.changes.n++
	s.results[r.Out.key()] = true
}

// append writes a line after the last complete one. It fails if the file would be too large.
func (s *State) append(v any, durably bool) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if s.end+int64(len(b)) > s.most {
		return fmt.Errorf("%w: at most %d bytes", ErrFull, s.most)
	}
	if _, err := s.file.WriteAt(b, s.end); err != nil {
		return err
	}
	if durably {
		if err := s.file.Sync(); err != nil {
			return err
		}
	}
	s.end += int64(len(b))
	return nil
}

// read reads the record at offset.
func (s *State) read(offset int64) (Record, error) {
	b, err := bufio.NewReaderSize(io.NewSectionReader(s.file, offset, s.end-offset), 4096).ReadBytes('\n')
	if err != nil {
		return Record{}, err
	}
	return parseRecord(b)
}

// Add writes a record. Call it before the change that the record describes. The record is durable when Add returns,
// unless it is that of a copy.
func (s *State) Add(r Record) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := r.check(); err != nil {
		return fmt.Errorf("state: %w: %+v", err, r)
	}
	if offset, ok := s.places[r.In.key()]; ok {
		if there, err := s.read(offset); err == nil && there == r {
			return nil
		}
	}
	if s.isFull(r) {
		if r.isCopy() {
			return nil
		}
		return fmt.Errorf("state: %s: %w: at most %d", s.path, ErrFull, s.changes.most)
	}
	offset := s.end
	if err := s.append(r, !r.isCopy()); r.isCopy() && errors.Is(err, ErrFull) {
		return nil
	} else if err != nil {
		return fmt.Errorf("state: %s: %w", s.path, err)
	}
	s.note(r, offset)
	return nil
}

// Find returns the record of an input.
func (s *State) Find(in ID) (Record, bool) {
	if s == nil {
		return Record{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	offset, ok := s.places[in.key()]
	if !ok {
		return Record{}, false
	}
	r, err := s.read(offset)
	return r, err == nil && r.In == in
}

// Made reports whether this work has made the narinfo.
func (s *State) Made(id ID) bool {
	r, ok := s.Find(id)
	if s == nil || ok && r.isCopy() {
		return ok
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.results[id.key()]
}

// Changes iterates over the records of changes.
func (s *State) Changes() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if s == nil {
			return
		}
		s.mu.Lock()
		lines := bufio.NewReaderSize(io.NewSectionReader(s.file, 0, s.end), maxLine)
		s.mu.Unlock()
		for first := true; ; first = false {
			b, err := lines.ReadSlice('\n')
			if err == io.EOF {
				return
			}
			var r Record
			if err == nil && !first {
				r, err = parseRecord(b)
			}
			if err != nil {
				yield(r, fmt.Errorf("state: %s: %w", s.path, err))
				return
			}
			if !first && !r.isCopy() && !yield(r, nil) {
				return
			}
		}
	}
}

// Finish removes the records, because the work is finished.
func (s *State) Finish() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.root.Remove(s.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("state: %w", err)
	}
	clear(s.places)
	clear(s.results)
	s.end, s.changes.n, s.copies.n = 0, 0, 0
	return nil
}

// Close unlocks the cache for other runs. Records of unfinished work stay for the next run.
func (s *State) Close() error {
	var err error
	if s.file != nil {
		if s.changes.n+s.copies.n == 0 {
			s.root.Remove(s.name) // Finish may have removed it
		}
		err = s.file.Close()
		s.file = nil
	}
	if s.lock != nil {
		if left, e := fs.ReadDir(s.root.FS(), "."); e == nil && len(left) == 1 { // only the lock
			if s.root.Remove(lockName) == nil {
				s.dir.Remove(s.id) // fails if another run has begun
			}
		}
		err = errors.Join(err, s.lock.Close(), s.root.Close())
		s.lock = nil
	}
	return errors.Join(err, s.dir.Close())
}
