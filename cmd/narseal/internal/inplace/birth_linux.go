package inplace

import (
	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/scan"
)

// birthTime returns the time when a file was created, or zero if the file system does not record it.
func birthTime(f *scan.File) unix.Timespec {
	var st unix.Statx_t
	err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &st)
	if err != nil || st.Mask&unix.STATX_BTIME == 0 {
		return unix.Timespec{}
	}
	return unix.Timespec{Sec: st.Btime.Sec, Nsec: int64(st.Btime.Nsec)}
}
