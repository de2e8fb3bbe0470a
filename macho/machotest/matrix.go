package machotest

import (
	"fmt"
	"strings"
)

// Case is an image of the matrix.
type Case struct {
	Name    string
	Data    []byte
	Layouts []*Layout // of the signed slices, in the order of the table
	CMS     bool      // a slice is signed by a certificate
	Refused string    // the rule by which the kernel refuses it although every hash matches; "" if it does not
}

// Matrix returns an image for every form of signature. hash has 32 characters and appears in the code, in the contents
// of special slots and in the identifier. Matrices of different hashes differ only in these places and in the slots
// that depend on them.
func Matrix(hash string) []Case {
	m := matrix{text: "/nix/store/" + hash + "-x", plist: "<plist>" + hash + "</plist>"}
	for shift := range uint8(17) {
		size := max(1200, 5<<shift+123)
		if shift != 12 && shift != 14 {
			m.refused = "page-size"
		}
		m.thin(fmt.Sprintf("page-shift-%d", shift), Image{CodeSize: size, Directories: []Directory{{PageShift: shift}}})
	}
	for _, shift := range []uint8{17, 18, 19} { // around the size of a batch
		m.refused = "page-size"
		m.thin(fmt.Sprintf("page-shift-%d", shift), Image{CodeSize: 3<<shift + 99, Directories: []Directory{{PageShift: shift}, {Slot: 0x1000, HashType: 1, PageShift: shift}}})
	}
	for t := range uint8(5) {
		if t+1 == 5 {
			m.refused = "hash-type"
		}
		m.thin(fmt.Sprintf("hash-type-%d", t+1), Image{Directories: []Directory{{HashType: t + 1, PageShift: 12}}})
		m.refused = "page-size"
		m.thin(fmt.Sprintf("hash-type-%d-one-page", t+1), Image{Directories: []Directory{{HashType: t + 1}}})
	}
	for _, version := range []uint32{0x20001, 0x20100, 0x20200, 0x20300, 0x20400, 0x20500, 0x20600} {
		d := Directory{Version: version, PageShift: 12, Identifier: "x-" + hash}
		if version >= 0x20200 {
			d.Team = "TEAM-" + hash
		}
		if version >= 0x20600 {
			d.Linkage = []byte("linkage is the hash of another")
		}
		m.thin(fmt.Sprintf("version-%x", version), Image{Directories: []Directory{d}})
		m.thin(fmt.Sprintf("version-%x-bare", version), Image{Bare: true, Directories: []Directory{d}})
	}
	m.directories()
	m.special(hash)
	m.fat()
	return m.cases
}

type matrix struct {
	text, plist string
	refused     string // of the next image
	cases       []Case
}

func (m *matrix) thin(name string, im Image) {
	im.Text = []byte(m.text)
	data, layout := im.Build()
	cms := false
	for _, b := range im.Blobs {
		cms = cms || b.Slot == 0x10000 && len(b.Data) > 0
	}
	m.cases = append(m.cases, Case{name, data, []*Layout{layout}, cms, m.refused})
	m.refused = ""
}

// directories adds images with rare parts of CodeDirectories, and with several CodeDirectories.
func (m *matrix) directories() {
	m.refused = "code-limit"
	m.thin("code-limit-64", Image{Directories: []Directory{{Version: 0x20300, Limit64: true, PageShift: 12}}})
	m.thin("pre-encrypt", Image{Directories: []Directory{{Version: 0x20500, PreEncrypt: true, PageShift: 12}}})
	m.refused = "page-size"
	m.thin("pre-encrypt-one-page", Image{Directories: []Directory{{Version: 0x20500, PreEncrypt: true}}})
	m.thin("scatter-all", Image{Directories: []Directory{{Version: 0x20100, PageShift: 12, Scatter: [][2]uint32{{2, 0}, {3, 2}}}}})
	m.refused = "page-size"
	m.thin("scatter-gaps", Image{Directories: []Directory{
		{Version: 0x20500, PageShift: 10, PreEncrypt: true, Scatter: [][2]uint32{{1, 1}, {4, 3}, {2, 9}, {1, 19}}},
		{Slot: 0x1000, HashType: 1, PageShift: 12},
	}})
	m.refused = "page-size"
	m.thin("gap", Image{Gap: 13, Directories: []Directory{{PageShift: 12}, {Slot: 0x1000, HashType: 1}}})
	six := []Directory{{HashType: 1, PageShift: 12}}
	for i, t := range []uint8{2, 3, 4, 5, 2} {
		six = append(six, Directory{Slot: 0x1000 + uint32(i), HashType: t, PageShift: 12})
	}
	m.refused = "hash-type"
	m.thin("six-directories", Image{Directories: six})
	m.refused = "page-size"
	m.thin("seven-page-sizes", Image{Reversed: true, Directories: []Directory{
		{PageShift: 14}, {Slot: 0x1000, HashType: 1, PageShift: 12}, {Slot: 0x1001, HashType: 3},
		{Slot: 0x1002, HashType: 4, PageShift: 16}, {Slot: 0x1003, HashType: 5, PageShift: 8},
		{Slot: 0x1004, PageShift: 5}, {Slot: 0x1005, HashType: 1},
	}})
	m.thin("big", Image{CodeSize: 1<<20 + 123456, Directories: []Directory{{HashType: 1, PageShift: 12}, {Slot: 0x1000, PageShift: 14}}})
}

// special adds images with special slots and their blobs.
// CodeResources is the list of a bundle that seals no files. The images of Matrix that are in a bundle seal it.
const CodeResources = "<plist><dict><key>files</key><dict/><key>rules</key><dict/></dict></plist>"

func (m *matrix) special(hash string) {
	blobs := []Blob{
		{2, Requirements, append(make([]byte, 4), m.text...)},
		{5, Entitlements, []byte(m.plist)},
		{7, DEREntitlements, []byte(m.text)},
	}
	for k := range uint32(4) {
		blobs = append(blobs, Blob{8 + k, Constraint, fmt.Appendf(nil, "constraint %d %s", k, hash)})
	}
	dual := []Directory{{HashType: 1, PageShift: 12}, {Slot: 0x1000, PageShift: 12}}
	m.thin("special", Image{Directories: dual, Blobs: blobs})
	m.thin("special-empty-cms", Image{Directories: dual, Blobs: append(blobs[:2:2], Blob{Slot: 0x10000, Magic: CMS})})
	for _, is32 := range []bool{false, true} {
		for _, big := range []bool{false, true} {
			m.thin(fmt.Sprintf("info-plist-32-%v-big-%v", is32, big), Image{
				Is32: is32, BigEndian: big, InfoPlist: []byte(m.plist), Directories: dual, Blobs: blobs[:1],
			})
		}
	}
	external := map[int][]byte{1: []byte("Info.plist"), 3: []byte(CodeResources)}
	m.thin("bundle", Image{Directories: dual, Blobs: blobs[:2], External: external})
	m.thin("bundle-with-section", Image{Directories: dual, InfoPlist: []byte(m.plist), External: external})
	signed := []Directory{
		{HashType: 1, PageShift: 12, Team: "TEAMTEAM00", Flags: 0x10f00, Platform: 1},
		{Slot: 0x1000, PageShift: 12, Team: "TEAMTEAM00", Flags: 0x12f00},
	}
	m.thin("cms", Image{Directories: signed, Blobs: append(blobs[:3:3], Blob{0x10000, CMS, []byte(strings.Repeat("certificate ", 200))})})
}

// fat adds fat images.
func (m *matrix) fat() {
	build := func(cpu uint32, im Image) Slice {
		im.Text, im.FileType = []byte(m.text), 6 // MH_DYLIB
		data, layout := im.Build()
		return Slice{CPU: cpu, Data: data, Layout: layout}
	}
	archive := Slice{CPU: 7, Data: []byte("!<arch>\n" + m.text)}
	for _, fat64 := range []bool{false, true} {
		for _, unordered := range []bool{false, true} {
			all := []Slice{
				build(0x0100000c, Image{Directories: []Directory{{PageShift: 12}}}),
				archive,
				build(18, Image{Is32: true, BigEndian: true, Directories: []Directory{{HashType: 1, PageShift: 12}, {Slot: 0x1000, PageShift: 12}}}),
			}
			data := Fat(fat64, unordered, all...)
			layouts := []*Layout{all[0].Layout, all[2].Layout}
			if unordered {
				layouts[0], layouts[1] = layouts[1], layouts[0]
			}
			m.cases = append(m.cases, Case{fmt.Sprintf("fat-64-%v-unordered-%v", fat64, unordered), data, layouts, false, ""})
		}
	}
}
