package pagehash

import "golang.org/x/sys/cpu"

func supported() []kernel {
	if !cpu.ARM64.HasSHA2 {
		return nil
	}
	return []kernel{{lanes: 4, least: 3, lane: 8, word: [8]int{0, 1, 2, 3, 4, 5, 6, 7}}}
}

func (k *kernel) blocks(state *[maxLanes * 8]uint32, ptrs *[maxLanes]*byte, n int) {
	blocks4(state, ptrs, n)
}

// blocks4 hashes n blocks, n > 0, at each of the first 4 pointers.
//
//go:noescape
func blocks4(state *[maxLanes * 8]uint32, ptrs *[maxLanes]*byte, n int)
