package binarycache

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// A journal notes what a run has finished, so that the next one of the same work
// does not repeat it. That is more than a matter of time: a rule that swaps two
// hashes would swap them back.
//
// It is a file of JSON objects, one a line. A record is written before the narinfo
// is published, and holds only if the cache then has a narinfo of that name and hash.
type journal struct {
	mu   sync.Mutex
	file *os.File
	path string

	done    map[infoID]record // by what was the input
	results map[infoID]bool   // by what came out
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

type record struct {
	In  infoID `json:"in"`
	Out infoID `json:"out"`
	// OldNAR and NewNAR are the objects named by In and by Out.
	OldNAR string `json:"oldNar"`
	NewNAR string `json:"newNar"`
}

func (r record) changed() bool { return r.In != r.Out }

// openJournal opens the journal of this work, or begins it.
func openJournal(folder, work string) (*journal, error) {
	h := sha256.Sum256([]byte(work))
	j := newJournal()
	j.path = filepath.Join(folder, "journal-"+hex.EncodeToString(h[:16]))
	b, err := os.ReadFile(j.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	whole := bytes.LastIndexByte(b, '\n') + 1 // the last line may have been cut off
	for i, l := range bytes.Split(b[:whole], []byte("\n")) {
		if len(l) == 0 {
			continue
		}
		var r record
		if err := json.Unmarshal(l, &r); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", j.path, i+1, err)
		}
		j.note(r)
	}
	if j.file, err = os.OpenFile(j.path, os.O_WRONLY|os.O_CREATE, 0o666); err != nil {
		return nil, err
	}
	if err := j.file.Truncate(int64(whole)); err != nil {
		return nil, errors.Join(err, j.file.Close())
	}
	if _, err := j.file.Seek(int64(whole), 0); err != nil {
		return nil, errors.Join(err, j.file.Close())
	}
	return j, nil
}

// newJournal returns one that lives in memory only.
func newJournal() *journal {
	return &journal{done: map[infoID]record{}, results: map[infoID]bool{}}
}

func (j *journal) note(r record) {
	j.done[r.In] = r
	j.results[r.Out] = true
}

// add writes a record, durably if there is a change that it must precede.
func (j *journal) add(r record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.note(r)
	if j.file == nil {
		return nil
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := j.file.Write(append(b, '\n')); err != nil {
		return err
	}
	if !r.changed() {
		return nil
	}
	return j.file.Sync()
}

// find returns what was made of an input.
func (j *journal) find(in infoID) (record, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r, ok := j.done[in]
	return r, ok
}

// made tells the narinfos that this work has made.
func (j *journal) made(id infoID) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.results[id]
}

// records are all changes.
func (j *journal) records() (rs []record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range j.done {
		if r.changed() {
			rs = append(rs, r)
		}
	}
	return rs
}

// close ends the journal. If the work is finished, nothing is left of it, or with keep
// only the changes.
func (j *journal) close(finished, keep bool) error {
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	if err != nil || !finished {
		return err
	}
	changes := j.records()
	if !keep || len(changes) == 0 {
		return os.Remove(j.path)
	}
	name := filepath.Join(filepath.Dir(j.path), tempPrefix+filepath.Base(j.path))
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(f)
	for _, r := range changes {
		if err := enc.Encode(r); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(name, j.path)
}
