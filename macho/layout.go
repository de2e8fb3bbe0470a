package macho

import "strconv"

// Constants of the file format, from apple-oss-distributions/xnu
// EXTERNAL_HEADERS/mach-o/loader.h and fat.h.
const (
	magic32    = 0xfeedface // MH_MAGIC
	magic64    = 0xfeedfacf // MH_MAGIC_64
	magicFat   = 0xcafebabe // FAT_MAGIC, always big-endian
	magicFat64 = 0xcafebabf // FAT_MAGIC_64, always big-endian

	lcSegment          = 0x1     // LC_SEGMENT
	lcSegment64        = 0x19    // LC_SEGMENT_64
	lcSymtab           = 0x2     // LC_SYMTAB
	lcDysymtab         = 0xb     // LC_DYSYMTAB
	lcUUID             = 0x1b    // LC_UUID
	lcCodeSignature    = 0x1d    // LC_CODE_SIGNATURE
	lcSegmentSplitInfo = 0x1e    // LC_SEGMENT_SPLIT_INFO
	lcEncryptionInfo   = 0x21    // LC_ENCRYPTION_INFO
	lcDyldInfo         = 0x22    // LC_DYLD_INFO
	lcEncryptionInfo64 = 0x2c    // LC_ENCRYPTION_INFO_64
	lcVersionMacOS     = 0x24    // LC_VERSION_MIN_MACOSX
	lcVersionIPhoneOS  = 0x25    // LC_VERSION_MIN_IPHONEOS
	lcFunctionStarts   = 0x26    // LC_FUNCTION_STARTS
	lcDataInCode       = 0x29    // LC_DATA_IN_CODE
	lcVersionTVOS      = 0x2f    // LC_VERSION_MIN_TVOS
	lcVersionWatchOS   = 0x30    // LC_VERSION_MIN_WATCHOS
	lcBuildVersion     = 0x32    // LC_BUILD_VERSION
	lcExportsTrie      = 0x33    // LC_DYLD_EXPORTS_TRIE, without lcRequired
	lcChainedFixups    = 0x34    // LC_DYLD_CHAINED_FIXUPS, without lcRequired
	lcRequired         = 1 << 31 // LC_REQ_DYLD

	platformMacOS = 1 // PLATFORM_MACOS

	typeExecute  = 2 // MH_EXECUTE
	typeDylib    = 6 // MH_DYLIB
	typeDylinker = 7 // MH_DYLINKER
	typeBundle   = 8 // MH_BUNDLE

	protExecute = 4 // VM_PROT_EXECUTE of osfmk/mach/vm_prot.h

	cpuI386  = 7
	cpuX8664 = 0x01000007
	cpuARM64 = 0x0100000c
	cpuPPC   = 18
	cpuPPC64 = 0x01000012

	shortHeader = 28 // sizeof(struct mach_header), the shorter of the two headers

	uuidCommandSize   = 24 // sizeof(struct uuid_command)
	codeSignatureSize = 16 // sizeof(struct linkedit_data_command)
	encryptionSize    = 20 // sizeof(struct encryption_info_command)
)

// A fat header is
//
//	0  magic   u32
//	4  nfat    u32
//	8  nfat records of {cputype, cpusubtype, offset, size, align} u32, or with
//	   magicFat64 of {cputype u32, cpusubtype u32, offset u64, size u64, align u32, reserved u32}
//
// all big-endian. The kernel reads the table from the first page of the file, so the count is at most 204 or 818.
//
// A Java class begins with the same four bytes, then a u16 minor and a u16 major version of at least 45. With 43 or
// more slices, a file counts as an image only if the kernel accepts its whole table: no class has ranges that lie after
// the table, within the file, and do not overlap.
const (
	plainFatSlices = 42
	maxFatTable    = 16 << 10
	smallFatTable  = 4 << 10 // where pages have 4096 bytes
)

// Signature data is big-endian in every image. From xnu osfmk/kern/cs_blobs.h.
//
// LC_CODE_SIGNATURE names a range of the slice. It has a SuperBlob,
//
//	0   magic   u32  CSMAGIC_EMBEDDED_SIGNATURE
//	4   length  u32
//	8   count   u32
//	12  count records of {slot u32, offset u32 from the start of the SuperBlob}
//	    blobs, each {magic u32, length u32, data}
//
// or a single blob, a CodeDirectory. Any bytes after it are padding.
const (
	magicSuperBlob     = 0xfade0cc0 // CSMAGIC_EMBEDDED_SIGNATURE
	magicCodeDirectory = 0xfade0c02 // CSMAGIC_CODEDIRECTORY
	magicBlobWrapper   = 0xfade0b01 // CSMAGIC_BLOBWRAPPER

	slotCodeDirectory = 0       // CSSLOT_CODEDIRECTORY
	slotAlternate     = 0x1000  // CSSLOT_ALTERNATE_CODEDIRECTORIES
	slotAlternateLast = 0x1005  // CSSLOT_ALTERNATE_CODEDIRECTORY_LIMIT
	slotCMS           = 0x10000 // CSSLOT_SIGNATURESLOT

	superBlobHeader = 12
	blobHeader      = 8

	// maxBlobs bounds the index of a SuperBlob. The format defines 21 slots.
	maxBlobs = 1024
)

// A CodeDirectory has these fields, at offsets from its start:
//
//	0 magic, 4 length, 8 version, 12 flags, 16 hashOffset, 20 identOffset,
//	24 nSpecialSlots, 28 nCodeSlots, 32 codeLimit               u32
//	36 hashSize, 37 hashType, 38 platform, 39 pageSize (log2)   u8
//	40 spare                                                    u32
//	44 scatterOffset  u32   from version 0x20100
//	48 teamOffset     u32   from version 0x20200
//	52 spare u32, 56 codeLimit64 u64          from version 0x20300
//	64 execSegBase, 72 execSegLimit, 80 execSegFlags u64   from version 0x20400
//	88 runtime, 92 preEncryptOffset u32       from version 0x20500
//	96 linkageHashType u8, 97 u8, 98 u16, 100 linkageOffset, 104 linkageSize u32
//	                                          from version 0x20600
//
// Offsets in it count from its start. Code slot i is at hashOffset + i*hashSize, special slot -k at hashOffset -
// k*hashSize.
const (
	versionEarliest    = 0x20001
	versionScatter     = 0x20100 // CS_SUPPORTSSCATTER
	versionTeamID      = 0x20200 // CS_SUPPORTSTEAMID
	versionCodeLimit64 = 0x20300 // CS_SUPPORTSCODELIMIT64
	versionExecSeg     = 0x20400 // CS_SUPPORTSEXECSEG
	versionPreEncrypt  = 0x20500 // CS_SUPPORTSRUNTIME
	versionLinkage     = 0x20600 // CS_SUPPORTSLINKAGE
	// versionLatest is compatibilityLimit of Security.framework's CodeDirectory. The fields of a later version may have
	// any meaning.
	versionLatest = 0x2f000

	cdFlags      = 12
	cdPlatform   = 38
	cdTeamOffset = 48

	flagAdhoc           = 0x2     // CS_ADHOC
	flagCheckExpiration = 0x400   // CS_CHECK_EXPIRATION
	flagRequireLV       = 0x2000  // CS_REQUIRE_LV
	flagLinkerSigned    = 0x20000 // CS_LINKER_SIGNED

	// A scatter list has records {count u32, base page u32, target offset u64, spare u64} and ends with a count of 0. The
	// bound is our own: no signature with a scatter list has been seen.
	scatterSize = 24
	maxScatter  = 1 << 16

	// maxPageShift bounds log2 of the page size. Signers use 12 and 14, and the kernel accepts no others.
	maxPageShift = 32
)

// headerSize returns the size of the fixed part of a CodeDirectory of this version.
func headerSize(version uint32) int64 {
	switch {
	case version >= versionLinkage:
		return 108
	case version >= versionPreEncrypt:
		return 96
	case version >= versionExecSeg:
		return 88
	case version >= versionCodeLimit64:
		return 64
	case version >= versionTeamID:
		return 52
	case version >= versionScatter:
		return 48
	}
	return 44
}

// architectures maps {cputype, cpusubtype without its capability bits} to names. A subtype that is not listed has the
// name of anySubtype.
var architectures = map[[2]uint32]string{
	{7, anySubtype}: "i386", {0x01000007, anySubtype}: "x86_64", {0x01000007, 8}: "x86_64h",
	{12, anySubtype}: "arm", {12, 6}: "armv6", {12, 9}: "armv7", {12, 11}: "armv7s", {12, 12}: "armv7k",
	{0x0100000c, anySubtype}: "arm64", {0x0100000c, 2}: "arm64e", {0x0200000c, anySubtype}: "arm64_32",
	{18, anySubtype}: "ppc", {0x01000012, anySubtype}: "ppc64",
}

const anySubtype = 0xffffffff

func archName(cpuType, cpuSubtype uint32) string {
	const capabilities = 0xff000000 // CPU_SUBTYPE_MASK
	if name, ok := architectures[[2]uint32{cpuType, cpuSubtype &^ capabilities}]; ok {
		return name
	}
	if name, ok := architectures[[2]uint32{cpuType, anySubtype}]; ok {
		return name
	}
	return "cputype-" + strconv.FormatUint(uint64(cpuType), 10)
}
