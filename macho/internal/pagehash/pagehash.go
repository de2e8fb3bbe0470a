// Package pagehash computes the SHA-256 of many pages at once.
//
// Each round of SHA-256 waits for the previous one, so a single stream leaves most of a core idle. Pages are
// independent, so one core hashes several at once, each in its own lane. On a CPU without the necessary instructions,
// crypto/sha256 hashes one page after the other.
package pagehash

import (
	"crypto/sha256"
	"encoding/binary"
)

const (
	maxLanes  = 16
	blockSize = sha256.BlockSize
	// maxBlocks bounds one call of a kernel, because a goroutine cannot be preempted inside assembly. 64 KiB per lane
	// take a fraction of a millisecond.
	maxBlocks = 1024
)

// kernel is assembly that advances the states of several streams by the same number of blocks.
type kernel struct {
	lanes int
	least int    // with fewer pages, the next kernel in kernels is faster
	lane  int    // in state, word i of lane l is at l*lane + word[i]
	word  [8]int // of H0 to H7
}

// kernels lists the kernels that this processor can run, widest first.
var kernels = supported()

// LimitLanes makes Sum256 use at most n lanes until undo is called. Tests use it to check that all kernels give the
// same sums. It must not run concurrently with Sum256.
func LimitLanes(n int) (undo func()) {
	all := kernels
	for len(kernels) > 0 && kernels[0].lanes > n {
		kernels = kernels[1:]
	}
	return func() { kernels = all }
}

// Sum256 sets sums[i] to the SHA-256 of pages[i], for every page. Pages may differ in length, but lanes are used best
// if most have the same length. Sum256 does not allocate.
func Sum256(sums [][sha256.Size]byte, pages [][]byte) {
	sums = sums[:len(pages)]
	for i := range kernels {
		k := &kernels[i]
		n := len(pages) - len(pages)%k.lanes
		if len(pages)-n >= k.least {
			n = len(pages)
		}
		if n > 0 {
			k.sum(sums[:n], pages[:n])
			sums, pages = sums[n:], pages[n:]
		}
	}
	for i, page := range pages {
		sums[i] = sha256.Sum256(page)
	}
}

// sum is Sum256 with one kernel. A lane that is done with its page takes the next one.
func (k *kernel) sum(sums [][sha256.Size]byte, pages [][]byte) {
	var (
		state   [maxLanes * 8]uint32
		ptrs    [maxLanes]*byte
		buffers [maxLanes][2 * blockSize]byte
		streams [maxLanes]struct { // indexed, not pointed to, so that all this stays on the stack
			page       int
			data, tail []byte // whole blocks to hash now, none in an idle lane, and after them
		}
	)
	for next := 0; ; {
		n := maxBlocks
		var busy *byte
		for l := range k.lanes {
			if len(streams[l].data) == 0 && next < len(pages) {
				streams[l].page = next
				streams[l].data, streams[l].tail = split(pages[next], &buffers[l])
				k.reset(&state, l)
				next++
			}
			if data := streams[l].data; len(data) > 0 {
				n = min(n, len(data)/blockSize)
				busy = &data[0]
				ptrs[l] = busy
			}
		}
		if busy == nil {
			return
		}
		for l := range k.lanes {
			if len(streams[l].data) == 0 {
				ptrs[l] = busy // what an idle lane hashes is ignored, but must be readable
			}
		}
		k.blocks(&state, &ptrs, n)
		for l := range k.lanes {
			if len(streams[l].data) == 0 {
				continue
			}
			streams[l].data = streams[l].data[n*blockSize:]
			if len(streams[l].data) == 0 {
				streams[l].data, streams[l].tail = streams[l].tail, nil
			}
			if len(streams[l].data) == 0 {
				k.get(&sums[streams[l].page], &state, l)
			}
		}
	}
}

// reset gives a lane the initial hash value.
func (k *kernel) reset(state *[maxLanes * 8]uint32, l int) {
	for i, w := range k.word {
		state[l*k.lane+w] = initial[i]
	}
}

// get stores the hash of a lane.
func (k *kernel) get(sum *[sha256.Size]byte, state *[maxLanes * 8]uint32, l int) {
	for i, w := range k.word {
		binary.BigEndian.PutUint32(sum[4*i:], state[l*k.lane+w])
	}
}

// split returns a page's whole blocks and, in buffer, its last blocks with the padding. If there are no whole blocks,
// body is the last blocks and tail is nil.
func split(page []byte, buffer *[2 * blockSize]byte) (body, tail []byte) {
	whole := len(page) &^ (blockSize - 1)
	clear(buffer[:])
	n := copy(buffer[:], page[whole:])
	buffer[n] = 0x80
	size := blockSize
	if n+1+8 > blockSize {
		size = 2 * blockSize
	}
	binary.BigEndian.PutUint64(buffer[size-8:], uint64(len(page))*8)
	if whole == 0 {
		return buffer[:size], nil
	}
	return page[:whole], buffer[:size]
}

// FIPS 180-4, 5.3.3 and 4.2.2. The assembly uses the constants.
var (
	initial = [8]uint32{
		0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
	}
	constants = [64]uint32{
		0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
		0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
		0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
		0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
		0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
		0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
		0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
		0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
	}
)
