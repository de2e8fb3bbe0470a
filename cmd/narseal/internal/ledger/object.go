package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"narseal/nar/binarycache"
)

// putInterval is the time between two writes of a ledger in a store. After a killed run, the next run repeats the work
// that was not written.
const putInterval = time.Minute

// OpenObject opens a ledger that is an object in a store, such as S3, or begins one. The object is always written as a
// whole: immediately, then every minute, and by Close. If another run writes it in the meantime, that is an error, if
// the store can detect it. file holds the lines until Close.
func OpenObject(ctx context.Context, store binarycache.Store, object, name string, file binarycache.TempFile, o Options) (*Ledger, error) {
	l := &Ledger{name: name, now: time.Now}
	s := &objectSink{ctx: ctx, store: store, object: binarycache.Object{Name: object}, file: file}
	if err := l.beginObject(s, &o); err != nil {
		return nil, errors.Join(l.named(err), file.Close())
	}
	s.ctx = context.WithoutCancel(ctx) // what is recorded is written even if a signal stops the run
	s.stop, s.stopped = make(chan struct{}), make(chan struct{})
	go s.putAgain(putInterval)
	l.out = s
	return l, nil
}

func (l *Ledger) beginObject(s *objectSink, o *Options) error {
	body, object, err := s.store.Open(s.ctx, s.object.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		s.object, s.exists = object, true
		s.size, err = l.load(io.TeeReader(body, io.NewOffsetWriter(s.file, 0)), o)
		if err := errors.Join(err, body.Close()); err != nil {
			return err
		}
		s.written = s.size // there is nothing new to write
	}
	b, err := l.firstLines(o, s.size == 0)
	if err == nil {
		err = s.add(b, true)
	}
	if err != nil {
		return err
	}
	return s.put(s.ctx)
}

// An objectSink collects lines in a file, and writes the file as one object.
type objectSink struct {
	ctx   context.Context
	store binarycache.Store
	file  binarycache.TempFile

	mu   sync.Mutex
	size int64 // of the lines in file
	err  error // of a put

	putting sync.Mutex
	object  binarycache.Object // as it was read or put
	exists  bool
	written int64 // bytes of the object that were read or put

	stop, stopped chan struct{}
}

func (s *objectSink) add(lines []byte, _ bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	n, err := s.file.WriteAt(lines, s.size)
	if err == nil {
		s.size += int64(n)
	}
	return err
}

// putAgain calls put at every interval until the sink is closed.
func (s *objectSink) putAgain(interval time.Duration) {
	defer close(s.stopped)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			if err := s.put(s.ctx); err != nil {
				s.mu.Lock()
				s.err = err
				s.mu.Unlock()
				return
			}
		}
	}
}

// put writes the object if lines were added since the last put.
func (s *objectSink) put(ctx context.Context) error {
	s.putting.Lock()
	defer s.putting.Unlock()
	s.mu.Lock()
	size := s.size
	s.mu.Unlock()
	if size == s.written {
		return nil
	}
	o := s.object
	o.Size = size
	c := binarycache.Condition{Version: o.Version, New: !s.exists}
	v, err := s.store.Put(ctx, o, io.NewSectionReader(s.file, 0, size), c)
	if errors.Is(err, binarycache.ErrChanged) || errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("another run writes it: each shard needs a ledger of its own (%w)", err)
	}
	if err == nil {
		s.object.Version, s.exists, s.written = v, true, size
	}
	return err
}

func (s *objectSink) close() error {
	close(s.stop)
	<-s.stopped
	s.mu.Lock()
	err := s.err
	s.mu.Unlock()
	if err == nil {
		ctx, cancel := context.WithTimeout(s.ctx, putInterval)
		defer cancel()
		err = s.put(ctx)
	}
	return errors.Join(err, s.file.Close())
}
