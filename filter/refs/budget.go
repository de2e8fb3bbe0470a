package refs

import "fmt"

// ErrLimit is wrapped by the errors that Unpack.Warn gets for contents that were not searched because they reached a
// limit of Unpack.
var ErrLimit error = limitError("a limit was reached")

// limitError is an error about a limit. All of them match ErrLimit.
type limitError string

func (e limitError) Error() string { return string(e) }

func (e limitError) Is(target error) bool { return target == ErrLimit }

// budget is the memory that an Unpacker may use at the same time, for all levels of packing together.
type budget struct{ total, left int64 }

// decoderMemory is the part of the default of Unpack.Memory for the windows of decoders, which cannot be spilled.
const decoderMemory = 24 << 20

// Memory of each level of packing, in bytes, rounded up.
const (
	levelMemory = 512 << 10 // buffers, the end of the level, and the coroutine's stack
	// tarMemory is for the map of a sparse file: package archive/tar reads up to 1 MiB of text for it.
	tarMemory = 6 << 20
	// zipMemory is for one entry of the directory, the holes, the positions of members, and a decoder for deflate.
	zipMemory = 4 << 20

	// maxGarbage is the maximum memory of closed decoders and large archives, in bytes, that may wait for the garbage
	// collector.
	maxGarbage = 16 << 20
	// smallDecoder is the maximum memory of a decoder that is reused, or does not count as large.
	smallDecoder = 8 << 20
	// pooledOutput is the maximum output of decoders that are reused, regardless of the window that was requested.
	pooledOutput = 1 << 20
	// smallArchive is the maximum memory of an archive that does not count as large: the first step of a spill.Buffer.
	smallArchive = 1 << 20
)

// take takes n bytes from the budget. give returns them.
func (b *budget) take(n int64) error {
	if n > b.left {
		return limitError(fmt.Sprintf("unpacking takes more than the %d bytes of memory that a run may use", b.total))
	}
	b.left -= n
	return nil
}

func (b *budget) give(n int64) { b.left += n }
