package pipe

import (
	"os"

	"golang.org/x/sys/unix"
)

// WatchReader calls gone when the reader of f goes away, even while the program waits for its input. It watches only
// pipes and sockets: other files have no reader that can go away. It uses a kqueue because poll(2) of macOS does not
// report a hang-up to a caller that requests no events.
func WatchReader(f *os.File, gone func()) {
	if !hasReader(f) {
		return
	}
	kq, err := unix.Kqueue()
	if err != nil {
		return // the next write fails
	}
	var change unix.Kevent_t
	unix.SetKevent(&change, int(f.Fd()), unix.EVFILT_WRITE, unix.EV_ADD|unix.EV_CLEAR)
	go func() {
		defer unix.Close(kq)
		events := make([]unix.Kevent_t, 1)
		changes := []unix.Kevent_t{change}
		for {
			n, err := unix.Kevent(kq, changes, events, nil)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return
			}
			changes = nil
			if n > 0 && events[0].Flags&unix.EV_EOF != 0 {
				gone()
				return
			}
		}
	}()
}
