package pagehash

import "golang.org/x/sys/cpu"

// supported sets least to values measured on Zen 5 with pages of 4 KiB. 16 lanes of AVX-512 take as long as the library
// takes for 4 pages with the SHA extensions, and 4 streams of the SHA extensions as long as for 2 pages. Without these
// extensions the library takes three times as long.
func supported() (list []kernel) {
	sha := cpu.X86.HasAVX && hasSHA()
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW {
		k := kernel{lanes: 16, least: 2, lane: 1, word: [8]int{0, 16, 32, 48, 64, 80, 96, 112}}
		if sha {
			k.least = 9
		}
		list = append(list, k)
	}
	if sha {
		// The instructions keep FEBA in one register and HGDC in another.
		list = append(list, kernel{lanes: 4, least: 3, lane: 8, word: [8]int{3, 2, 7, 6, 1, 0, 5, 4}})
	}
	return list
}

func (k *kernel) blocks(state *[maxLanes * 8]uint32, ptrs *[maxLanes]*byte, n int) {
	if k.lanes == 16 {
		blocks16(state, ptrs, n)
	} else {
		blocks4(state, ptrs, n)
	}
}

// blocks16 hashes n blocks, n > 0, at each pointer.
//
//go:noescape
func blocks16(state *[maxLanes * 8]uint32, ptrs *[maxLanes]*byte, n int)

// blocks4 hashes n blocks, n > 0, at each of the first 4 pointers.
//
//go:noescape
func blocks4(state *[maxLanes * 8]uint32, ptrs *[maxLanes]*byte, n int)

// hasSHA reports whether the processor has the SHA extensions, which golang.org/x/sys/cpu does not know.
func hasSHA() bool
