package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// watchReader calls gone as soon as nobody can read what is written to f any
// more, also while the run waits for its input. poll(2) of macOS does
// not tell a hang-up to who asked for no other events, so this is a kqueue.
func watchReader(f *os.File, gone func()) {
	info, err := f.Stat()
	if err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return
	}
	kq, err := unix.Kqueue()
	if err != nil {
		return // the next write tells
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
