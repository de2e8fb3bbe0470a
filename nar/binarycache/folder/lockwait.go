//go:build linux || darwin

package folder

import (
	"sync/atomic"
	"time"
)

const (
	lockTries = 100              // how often a writer tries to lock a directory
	lockPause = time.Millisecond // between two tries
	lockRest  = time.Minute      // for which no writer waits after one has waited in vain
)

// A lockWait limits how long the writers of a store wait for locks. Whoever can read a directory can lock it forever, and
// would delay every object.
type lockWait struct {
	rest  atomic.Int64        // no writer waits before this Unix time, in nanoseconds
	sleep func(time.Duration) // time.Sleep, if nil
}

// again waits after a try, and reports whether to try again.
func (w *lockWait) again(try int) bool {
	now := time.Now()
	if now.UnixNano() < w.rest.Load() {
		return false
	}
	if try >= lockTries {
		w.rest.Store(now.Add(lockRest).UnixNano())
		return false
	}
	if w.sleep != nil {
		w.sleep(lockPause)
	} else {
		time.Sleep(lockPause)
	}
	return true
}
