package cachecmd

import (
	"cmp"
	"fmt"
	"sync"
	"time"

	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/metrics"
	"narseal/nar/binarycache"
)

// metricsInterval is how often the file of --metrics is written.
const metricsInterval = 15 * time.Second

// meters collect the numbers for --metrics. The methods that collect do nothing on a nil meters.
type meters struct {
	env  *command.Env
	file string

	mu  sync.Mutex // taken after that of run
	run *run       // nil until its lists are read
	metrics.Values
}

// NoteFailure writes metrics of a run that has ended before its work, unless they are written: its options, the key or the
// rules cannot be read.
func (o *Options) NoteFailure(e *command.Env, name string) {
	if o.Metrics == "" || o.measuring {
		return
	}
	m := o.newMeters(e, name)
	m.End = m.Start
	if err := m.write(); err != nil {
		e.Terminal.Error(err)
	}
}

func (o *Options) newMeters(e *command.Env, name string) *meters {
	return &meters{env: e, file: o.Metrics, Values: metrics.Values{
		Command: "cache " + name, Shard: o.Shard.String(), Version: o.Version, Start: time.Now(), Paths: map[string]int64{},
	}}
}

// measured calls f, and writes metrics from time to time and at the end, even if f cannot read a list or the ledger:
// otherwise the file would still report the success of the run before.
func (o *Options) measured(e *command.Env, name string, f func(*meters) error) error {
	if o.Metrics == "" {
		return f(nil)
	}
	o.measuring = true
	m := o.newMeters(e, name)
	if err := m.write(); err != nil {
		return err
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(metricsInterval)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				if err := m.write(); err != nil {
					e.Terminal.Warnf("%v", err)
				}
			}
		}
	}()
	outcome := f(m)
	close(stop)
	<-stopped
	m.mu.Lock()
	m.End, m.Success = time.Now(), outcome == nil
	m.mu.Unlock()
	if err := m.write(); err != nil {
		e.Terminal.Error(err)
		return cmp.Or(outcome, command.ErrFailed)
	}
	return outcome
}

// of makes write include the numbers of a run.
func (m *meters) of(r *run) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.run = r
}

// write replaces the file.
func (m *meters) write() error {
	out, err := atomicfile.Create(m.env.Cleanup, m.file)
	if err == nil {
		m.update()
		m.mu.Lock()
		err = m.Write(out)
		m.mu.Unlock()
		if err == nil {
			err = out.Commit()
		}
		out.Abort()
	}
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

// update takes the numbers that the run counts for itself.
func (m *meters) update() {
	m.mu.Lock()
	r := m.run
	m.mu.Unlock()
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Newest, m.List, m.Bytes = r.age.newest, r.age.listed, r.read.Load()
}

// plan records how much work is known.
func (m *meters) plan(paths int, bytes int64) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.PathsFound, m.BytesFound = int64(paths), bytes
}

// measure counts a path that is done.
func (m *meters) measure(res *binarycache.Result, f *pathFound) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Paths[string(res.Status)]++
	if f != nil && res.Err == nil {
		m.Slices += f.tally.Slices
		m.Invalid += f.tally.Invalid
		m.Repaired += f.result.Repaired
	}
}
