package machotest

import "fmt"

// RuleCase is an image that breaks one rule of the kernel, although every hash in it matches, or that just satisfies it.
type RuleCase struct {
	Rule   string
	Name   string
	Breaks bool
	Data   []byte
}

const (
	cpuX8664 = 0x01000007
	cpuARM64 = 0x0100000c
)

// Rules returns images for every rule: some that break it and no other, and some that are as close to it as they can be.
func Rules() []RuleCase {
	var r ruleCases
	r.directories()
	r.codeLimit()
	r.coverage()
	r.segments()
	r.fat()
	return r.all
}

type ruleCases struct {
	rule string
	all  []RuleCase
}

func (r *ruleCases) breaks(name string, data []byte) {
	r.all = append(r.all, RuleCase{r.rule, name, true, data})
}

func (r *ruleCases) satisfies(name string, data []byte) {
	r.all = append(r.all, RuleCase{r.rule, name, false, data})
}

func (im Image) data() []byte {
	data, _ := im.Build()
	return data
}

// patched returns the image with bytes of the CodeDirectory in a slot replaced. No hash covers these.
func (im Image) patched(slot uint32, off int64, value []byte) []byte {
	data, layout := im.Build()
	copy(data[layout.Blobs[slot]+off:], value)
	return data
}

func (r *ruleCases) directories() {
	one := func(cpu uint32, d Directory) []byte {
		return Image{CPU: cpu, CodeSize: 70_000, Executable: 32 << 10, Directories: []Directory{d}}.data()
	}
	types := func(slots []uint32, types ...uint8) []byte {
		im := Image{}
		for i, t := range types {
			im.Directories = append(im.Directories, Directory{Slot: slots[i], HashType: t, PageShift: 12})
		}
		return im.data()
	}

	r.rule = "page-size"
	for _, shift := range []uint8{0, 1, 11, 13, 15, 16} {
		r.breaks(fmt.Sprintf("2^%d", shift), one(cpuARM64, Directory{PageShift: shift}))
	}
	r.breaks("16384 on x86_64", one(cpuX8664, Directory{PageShift: 14}))
	r.breaks("an alternate", Image{Directories: []Directory{{HashType: 2, PageShift: 12}, {Slot: 0x1000, HashType: 1, PageShift: 13}}}.data())
	r.satisfies("4096 on arm64", one(cpuARM64, Directory{PageShift: 12}))
	r.satisfies("16384 on arm64", one(cpuARM64, Directory{PageShift: 14}))
	r.satisfies("4096 on x86_64", one(cpuX8664, Directory{PageShift: 12}))
	r.satisfies("another in a slot that the kernel does not read", Image{Directories: []Directory{{PageShift: 12}, {Slot: 0x1005, HashType: 1, PageShift: 13}}}.data())

	slots := []uint32{0, 0x1000, 0x1001}
	r.rule = "hash-type"
	r.breaks("SHA-512", types(slots, 5))
	r.breaks("SHA-512 in an alternate", types(slots, 2, 5))
	r.satisfies("SHA-384", types(slots, 4))
	r.satisfies("truncated SHA-256", types(slots, 1, 3))

	r.rule = "same-hash-type"
	r.breaks("twice SHA-256", types(slots, 2, 2))
	r.breaks("the best one twice", types(slots, 1, 2, 2))
	r.satisfies("three types", types(slots, 1, 3, 2))
	r.satisfies("one that is not the best one twice", types(slots, 1, 2, 1))

	r.rule = "directory-slot"
	r.breaks("0x1005", types([]uint32{0x1005}, 2))
	r.satisfies("0x1004", types([]uint32{0x1004}, 2))
	r.satisfies("0 and 0x1005", types([]uint32{0, 0x1005}, 2, 2))
}

func (r *ruleCases) codeLimit() {
	r.rule = "code-limit"
	both := Image{Directories: []Directory{{PageShift: 12, Version: 0x20300, Limit64: true}}}
	limit := be.AppendUint32(nil, 20_000)
	r.breaks("the 64-bit limit only", both.data())
	r.breaks("two limits", both.patched(0, 32, be.AppendUint32(nil, 19_999)))
	r.satisfies("the same limit twice", both.patched(0, 32, limit))
	r.satisfies("the 32-bit limit only", Image{Directories: []Directory{{PageShift: 12, Version: 0x20300}}}.data())
}

func (r *ruleCases) coverage() {
	r.rule = "executable-pages"
	whole := Image{CodeSize: 5 * 4096, Directories: []Directory{{PageShift: 12}}}
	partial := Image{CodeSize: 5*4096 - 16, Directories: []Directory{{PageShift: 12}}}
	scatter := func(executable int, list ...[2]uint32) []byte {
		return Image{CodeSize: 5 * 4096, Executable: executable, Directories: []Directory{{PageShift: 12, Scatter: list}}}.data()
	}

	whole.Executable = 5 * 4096
	r.satisfies("all of whole pages", whole.data())
	partial.Executable = 4*4096 + 1
	r.breaks("into a partial page", partial.data())
	partial.Executable = 4 * 4096
	r.satisfies("up to a partial page", partial.data())
	partial.Executable, partial.FileType = 5*4096-16, 10 // MH_DSYM
	r.satisfies("of a file that is not executed", partial.data())

	short := Image{CodeSize: 5 * 4096, Gap: 16, Executable: 5 * 4096, Directories: []Directory{{PageShift: 12}}}
	r.breaks("past the limit", short.data())
	r.breaks("a gap in the scatter list", scatter(5*4096, [2]uint32{2, 0}, [2]uint32{2, 3}))
	r.breaks("a scatter list that begins late", scatter(4096, [2]uint32{4, 1}))
	r.breaks("a scatter list that ends early", scatter(5*4096, [2]uint32{4, 0}))
	r.satisfies("a scatter list without the data", scatter(3*4096, [2]uint32{1, 0}, [2]uint32{2, 1}))
	r.breaks("a scatter list with gaps in the data", scatter(2*4096, [2]uint32{2, 0}, [2]uint32{1, 4}))
	r.breaks("a scatter list without the data, before a blob", Image{CodeSize: 5 * 4096, Executable: 3 * 4096, Blobs: []Blob{{2, Requirements, make([]byte, 32)}},
		Directories: []Directory{{PageShift: 12, Scatter: [][2]uint32{{3, 0}}}}}.data())
}

func (r *ruleCases) segments() {
	r.rule = "segment-in-slice"
	im := Image{CodeSize: 20_480, Directories: []Directory{{PageShift: 12}}}
	end := len(im.data())
	// linkedit returns a file that ends past the end of the slice by this many bytes, alone or in a fat image.
	linkedit := func(fileType uint32, past int) []byte {
		im := im
		im.FileType, im.Linkedit = fileType, [2]int{20_480, end - 20_480 + past}
		return im.data()
	}
	fat := func(data []byte) []byte {
		return Fat(false, false, Slice{CPU: cpuARM64, Data: data}, Slice{CPU: cpuX8664, Data: []byte("!<arch>\n")})
	}
	r.breaks("a program", linkedit(2, 1))
	r.breaks("a dylinker", linkedit(7, 1))
	r.breaks("a program in a fat file that goes on", fat(linkedit(2, 1)))
	r.satisfies("a program that ends with its segment", linkedit(2, 0))
	r.satisfies("a program in a fat file", fat(linkedit(2, 0)))
	r.satisfies("a dylib, whose segments dyld maps", linkedit(6, 1))
	r.satisfies("a file that is not executed", linkedit(10, 1))
}

func (r *ruleCases) fat() {
	slice := func(cpu, sub uint32, d Directory, blobs ...Blob) Slice {
		d.PageShift = 12
		return Slice{CPU: cpu, Sub: sub, Data: Image{CPU: cpu, Sub: sub, Directories: []Directory{d}, Blobs: blobs}.data()}
	}
	dylib := Slice{CPU: cpuARM64, Data: Image{FileType: 6, Directories: []Directory{{PageShift: 12}}}.data()}
	arm64, x8664 := slice(cpuARM64, 0, Directory{}), slice(cpuX8664, 3, Directory{})

	r.rule = "slice-alignment"
	r.breaks("arm64 at 4096", fatAligned(12, false, false, arm64))
	r.breaks("x86_64 at 2048", fatAligned(11, false, false, x8664))
	r.satisfies("arm64 at 16384", fatAligned(14, false, false, arm64))
	r.satisfies("x86_64 at 4096", fatAligned(12, false, false, x8664))

	r.rule = "table-architecture"
	x := slice(cpuX8664, 3, Directory{})
	capable := slice(cpuX8664, 0x80000003, Directory{})
	r.breaks("another processor", Fat(false, false, Slice{CPU: cpuARM64, Data: x.Data}))
	r.breaks("another subtype", Fat(false, false, Slice{CPU: cpuX8664, Sub: 8, Data: x.Data}))
	r.breaks("capabilities only in the header", Fat(false, false, Slice{CPU: cpuX8664, Sub: 3, Data: capable.Data}))
	r.satisfies("capabilities in both", Fat(false, false, capable))
	r.satisfies("a dylib", Fat(false, false, Slice{CPU: cpuARM64, Sub: 2, Data: dylib.Data}))

	r.rule = "same-architecture"
	r.breaks("arm64 twice", Fat(false, false, arm64, arm64))
	r.breaks("once signed, once not", Fat(false, false, arm64, Slice{CPU: cpuARM64, Data: []byte("!<arch>\n")}))
	r.satisfies("two subtypes", Fat(false, false, arm64, slice(cpuARM64, 2, Directory{})))

	r.rule = "fat64-program"
	r.breaks("program", Fat(true, false, arm64))
	r.satisfies("dylib", Fat(true, false, dylib))
	r.satisfies("program, 32-bit offsets", Fat(false, false, arm64))

	r.rule = "same-signer"
	certificate := Blob{0x10000, CMS, []byte("certificate")}
	team := func(cpu uint32, team string, platform uint8) Slice {
		return slice(cpu, 0, Directory{Team: team, Platform: platform})
	}
	r.breaks("teams", Fat(false, false, team(cpuARM64, "TEAM1", 0), team(cpuX8664, "TEAM2", 0)))
	r.breaks("team and none", Fat(false, false, team(cpuARM64, "TEAM1", 0), x8664))
	r.breaks("team without a name and none", Fat(false, false, team(cpuARM64, "\x00", 0), x8664))
	r.breaks("platform and none", Fat(false, false, team(cpuARM64, "", 1), x8664))
	r.breaks("certificate and none", Fat(false, false, slice(cpuARM64, 0, Directory{}, certificate), x8664))
	r.satisfies("one team", Fat(false, false, team(cpuARM64, "TEAM1", 0), team(cpuX8664, "TEAM1", 0)))
	r.satisfies("platform, whose team does not count", Fat(false, false, team(cpuARM64, "TEAM1", 1), team(cpuX8664, "TEAM2", 1)))
	r.satisfies("two certificates", Fat(false, false, slice(cpuARM64, 0, Directory{}, certificate), slice(cpuX8664, 3, Directory{}, certificate)))
}
