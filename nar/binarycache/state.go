package binarycache

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
	"os"
	"slices"
	"sync"
)

// A State remembers, in a directory outside of the cache, what runs of one work on one cache have changed, so that the
// next run does not change it again. That is more than a matter of time: a rule that swaps two hashes would swap them
// back.
//
// A record is written before the narinfo that it tells of. It is believed only if the cache has a narinfo of that name
// and of those contents, and never spares a check: signatures by trusted keys, the NAR against its narinfo, and what
// Filter says of a NAR with Path.Finished. So whoever can write a State can keep a run from changing paths, but cannot
// pass one off as checked.
type State struct {
	root *os.Root // of the cache: lock, and a file for each work
	name string   // of the file of this work
	dir  *os.Root // that holds root
	id   string   // name of root in dir
	lock *os.File
	path string // for messages

	mu      sync.Mutex
	file    *os.File // nil when it was removed
	records []record
	done    map[[32]byte]int  // place in records, by the key of what was the input
	results map[[32]byte]bool // by the key of what came out
}

// infoID is a narinfo, by its name and the SHA-256 of its contents in hex.
type infoID struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

func identify(name string, contents []byte) infoID {
	h := sha256.Sum256(contents)
	return infoID{name, hex.EncodeToString(h[:])}
}

func (id infoID) key() [32]byte { return sha256.Sum256([]byte(id.Name + "\x00" + id.SHA256)) }

// A record is one change: the narinfo Out, which names NewNAR, has taken the place of In, which named OldNAR. Of a path
// that was copied, they are the same.
type record struct {
	In     infoID `json:"in"`
	Out    infoID `json:"out"`
	OldNAR string `json:"oldNar"`
	NewNAR string `json:"newNar"`
}

func (r *record) check() error {
	if !isInfoName(r.In.Name) || !isInfoName(r.Out.Name) || !isNARName(r.OldNAR) || !isNARName(r.NewNAR) {
		return errors.New("not a record of narinfos and NARs")
	}
	return nil
}

// stateHeader is the first line of a file.
type stateHeader struct {
	Schema string `json:"schema"`
	Cache  string `json:"cache"`
	Work   string `json:"work"` // SHA-256 in hex
}

const (
	stateSchema  = "narseal-state/1"
	maxStateLine = 1 << 16 // bytes; a record has at most 2,500
	lockName     = "lock"
	lockTries    = 100
)

// OpenState opens what is remembered in the directory dir of one work on one cache, and locks the cache against other
// runs that keep their state in dir. cache names the cache that is written, in the same way each time, such as by its
// absolute path or URL. work describes everything that decides what becomes of a path.
//
// dir is made if it is missing. What lies in it must belong to the user and be writable by nobody else.
func OpenState(dir, cache, work string) (*State, error) {
	s := &State{done: map[[32]byte]int{}, results: map[[32]byte]bool{}}
	h := sha256.Sum256([]byte(work))
	header := stateHeader{stateSchema, cache, hex.EncodeToString(h[:])}
	s.name = header.Work[:32] + ".jsonl"
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
	if err := s.load(header); err != nil {
		return nil, errors.Join(fmt.Errorf("state: %s: %w", s.path, err), s.Close())
	}
	return s, nil
}

// acquire opens the directory of the cache and locks it. Another run may remove both when it ends; then this begins
// again.
func (s *State) acquire(cache string) error {
	for range lockTries {
		if err := s.dir.Mkdir(s.id, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		root, err := openOwnRoot(s.dir, s.id)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		lock, err := openOwnFile(root, lockName, os.O_RDWR|os.O_CREATE)
		if err == nil {
			if err = lockFile(lock); err == nil {
				if s.isCurrent(root, lock) {
					s.root, s.lock = root, lock
					return nil
				}
				err = fs.ErrNotExist
			} else {
				err = fmt.Errorf("lock: another run works on %s: %w", cache, err)
			}
			lock.Close()
		}
		root.Close()
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("lock: other runs begin and end on %s all the time", cache)
}

// isCurrent says whether the lock and its directory still have their names.
func (s *State) isCurrent(root *os.Root, lock *os.File) bool {
	same := func(r *os.Root, name string, stat func() (fs.FileInfo, error)) bool {
		byName, err := r.Lstat(name)
		if err != nil {
			return false
		}
		open, err := stat()
		return err == nil && os.SameFile(byName, open)
	}
	return same(root, lockName, lock.Stat) &&
		same(s.dir, s.id, func() (fs.FileInfo, error) { return root.Stat(".") })
}

// openOwnRoot opens a directory in dir that is no symlink and belongs to the user.
func openOwnRoot(dir *os.Root, name string) (*os.Root, error) {
	before, err := dir.Lstat(name)
	if err != nil {
		return nil, err
	}
	root, err := dir.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	info, err := root.Stat(".")
	if err == nil && !os.SameFile(before, info) {
		err = errors.New("it is a symbolic link, or was replaced")
	}
	if err == nil {
		err = checkOwner(info)
	}
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: dir.Name() + "/" + name, Err: err}, root.Close())
	}
	return root, nil
}

// openOwnFile opens a regular file in root that is no symlink and that only the user can write.
func openOwnFile(root *os.Root, name string, flag int) (*os.File, error) {
	f, err := root.OpenFile(name, flag|openFlags, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err == nil {
		var byName fs.FileInfo
		if byName, err = root.Lstat(name); err == nil && byName.Mode()&fs.ModeSymlink != 0 {
			err = errors.New("it is a symbolic link")
		}
	}
	if err == nil {
		err = checkOwner(info)
	}
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: root.Name() + "/" + name, Err: err}, f.Close())
	}
	return f, nil
}

// load reads the records of earlier runs, or begins the file. A last line that was cut off is dropped.
func (s *State) load(header stateHeader) error {
	f, err := openOwnFile(s.root, s.name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	s.file = f
	r := bufio.NewReaderSize(f, maxStateLine)
	var whole int64
	for n := 1; ; n++ {
		b, err := r.ReadSlice('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if err := s.parseLine(b, n == 1, header); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		whole += int64(len(b))
	}
	if err := f.Truncate(whole); err != nil {
		return err
	}
	if _, err := f.Seek(whole, io.SeekStart); err != nil {
		return err
	}
	if whole > 0 {
		return nil
	}
	return s.append(header, true)
}

func (s *State) parseLine(b []byte, first bool, header stateHeader) error {
	if first {
		var got stateHeader
		if err := json.Unmarshal(b, &got); err != nil {
			return err
		}
		if got != header {
			return fmt.Errorf("this is the state of another work or cache: %q", clip(string(bytes.TrimSpace(b))))
		}
		return nil
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return err
	}
	s.note(r)
	return nil
}

func (s *State) note(r record) {
	s.done[r.In.key()] = len(s.records)
	s.results[r.Out.key()] = true
	s.records = append(s.records, r)
}

// append writes a line.
func (s *State) append(v any, durably bool) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := s.file.Write(append(b, '\n')); err != nil || !durably {
		return err
	}
	return s.file.Sync()
}

// add writes a record before what it tells of is done, and durably if that is more than a copy.
func (s *State) add(r record) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.done[r.In.key()]; ok && s.records[i] == r {
		return nil
	}
	if err := r.check(); err != nil {
		return fmt.Errorf("state: %w: %+v", err, r)
	}
	if err := s.append(r, r.In != r.Out); err != nil {
		return fmt.Errorf("state: %s: %w", s.path, err)
	}
	s.note(r)
	return nil
}

// find returns what was made of an input.
func (s *State) find(in infoID) (record, bool) {
	if s == nil {
		return record{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.done[in.key()]
	if !ok {
		return record{}, false
	}
	return s.records[i], true
}

// made tells the narinfos that this work has made.
func (s *State) made(id infoID) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.results[id.key()]
}

// changes are the records of what was changed.
func (s *State) changes() []record {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.records), func(r record) bool { return r.In == r.Out })
}

// finish removes the records of work that is finished.
func (s *State) finish() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.root.Remove(s.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("state: %w", err)
	}
	clear(s.done)
	clear(s.results)
	s.records = nil
	return nil
}

// Close lets other runs work on the cache. What is not finished stays for the next one.
func (s *State) Close() error {
	var err error
	if s.file != nil {
		if len(s.records) == 0 {
			s.root.Remove(s.name) // it may be gone: see finish
		}
		err = s.file.Close()
		s.file = nil
	}
	if s.lock != nil {
		if left, e := fs.ReadDir(s.root.FS(), "."); e == nil && len(left) == 1 { // the lock alone
			if s.root.Remove(lockName) == nil {
				s.dir.Remove(s.id) // fails if another run has begun
			}
		}
		err = errors.Join(err, s.lock.Close(), s.root.Close())
		s.lock = nil
	}
	return errors.Join(err, s.dir.Close())
}
