package machotest

import (
	"bytes"
	"encoding/binary"
)

// Platforms of an LC_BUILD_VERSION.
const (
	MacOS        = 1
	IOS          = 2
	IOSSimulator = 7
)

// Unsigned returns a copy of a thin image of Build, 64-bit and little-endian, without its LC_CODE_SIGNATURE.
func Unsigned(data []byte) []byte {
	data = bytes.Clone(data)
	at := 32 + binary.LittleEndian.Uint32(data[20:]) - 16
	binary.LittleEndian.PutUint32(data[at:], 0x26) // LC_FUNCTION_STARTS
	return data
}

// BuiltFor returns a copy of such an image with an LC_BUILD_VERSION of this platform. No hash in it matches after that.
func BuiltFor(data []byte, platform uint32) []byte {
	return ReplaceUUID(data, 0x32, platform)
}

// ReplaceUUID returns a copy of such an image with another command of the same size in the place of its LC_UUID. value is
// the command's first field.
func ReplaceUUID(data []byte, cmd, value uint32) []byte {
	data = bytes.Clone(data)
	at := bytes.Index(data, []byte("0123456789abcdef")) - 8
	binary.LittleEndian.PutUint32(data[at:], cmd)
	binary.LittleEndian.PutUint32(data[at+8:], value)
	return data
}

// LongCommands returns a copy of such an image with n more bytes of load commands. No hash in it matches after that.
func LongCommands(data []byte, n int) []byte {
	data = bytes.Clone(data)
	le := binary.LittleEndian
	end := 32 + le.Uint32(data[20:])
	le.PutUint32(data[16:], le.Uint32(data[16:])+1)
	le.PutUint32(data[20:], le.Uint32(data[20:])+uint32(n))
	le.PutUint32(data[end:], 0x2d) // LC_LINKER_OPTION
	le.PutUint32(data[end+4:], uint32(n))
	return data
}
