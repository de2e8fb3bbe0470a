package machotest

import "bytes"

// Stale returns an image with size bytes of code whose first code slot does not match, and the same image with the slot
// as it should be.
func Stale(size int) (stale, good []byte) {
	good, layout := Image{CodeSize: size, Directories: []Directory{{PageShift: 12}}}.Build()
	stale = bytes.Clone(good)
	stale[layout.Offset+layout.Directories[0].Hashes] ^= 0xff
	return stale, good
}
