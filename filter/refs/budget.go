package refs

import "fmt"

// ErrLimit is wrapped by the errors that Unpack.Warn gets for contents that were not searched because a limit of Unpack
// was reached.
var ErrLimit error = limitError("a limit was reached")

// limitError is an error about a limit. All of them are ErrLimit.
type limitError string

func (e limitError) Error() string { return string(e) }

func (e limitError) Is(target error) bool { return target == ErrLimit }

// budget is the memory that an Unpacker may keep at a time, for all levels of packing together.
type budget struct{ total, left int64 }

// decoderMemory is a part of the default of Unpack.Memory: windows of decoders cannot be spilled.
const decoderMemory = 24 << 20

// Memory that is kept at each level of packing, in bytes. Each is rounded up.
const (
	levelMemory = 256 << 10 // buffers, and the coroutine's stack
	// tarMemory is for the map of a sparse file, of which package archive/tar reads 1 MiB of text.
	tarMemory = 6 << 20
	// zipMemory is for one entry of the directory, the holes, where the members lie, and a decoder for deflate.
	zipMemory = 4 << 20

	// maxGarbage is the memory of decoders and large archives that may wait to be collected.
	maxGarbage = 16 << 20
	// smallArchive is the memory of archives that do not count as large: the first step of a spill.Buffer.
	smallArchive = 1 << 20
)

// take takes n bytes. They are given back by give.
func (b *budget) take(n int64) error {
	if n > b.left {
		return limitError(fmt.Sprintf("unpacking takes more than the %d bytes of memory that a run may use", b.total))
	}
	b.left -= n
	return nil
}

func (b *budget) give(n int64) { b.left += n }
