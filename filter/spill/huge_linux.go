package spill

import "syscall"

// hugePages asks the system for large pages for b, which the kernel then fills with fewer page faults and TLB misses. It
// is only advice, so errors do not matter.
func hugePages(b []byte) {
	const size = 2 << 20
	if cap(b) >= 2*size {
		_ = syscall.Madvise(b[:cap(b)], syscall.MADV_HUGEPAGE)
	}
}
