package refs

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

// zipHeader holds the fields that both headers of a member have.
type zipHeader struct {
	Version, Flags, Method, Time, Date uint16
	CRC, Packed, Unpacked              uint32
	Name, Extra                        uint16
}

// deflated returns the header and the bytes of a packed member with a name of one byte.
func deflated(data string) (zipHeader, string) {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 9)
	w.Write([]byte(data))
	w.Close()
	return zipHeader{20, 0, zip.Deflate, 0, 0, crc32.ChecksumIEEE([]byte(data)), uint32(b.Len()), uint32(len(data)), 1, 0}, b.String()
}

func packedFields(fields ...any) string {
	var b []byte
	for _, f := range fields {
		if s, ok := f.(string); ok {
			b = append(b, s...)
			continue
		}
		b, _ = binary.Append(b, binary.LittleEndian, f)
	}
	return string(b)
}

func localHeader(h zipHeader, name string) string { return packedFields(zipLocal, h, name) }

func zipDirectoryEntry(h zipHeader, name string, offset int, comment string) string {
	return packedFields(zipEntry, uint16(20), h, uint16(len(comment)), [4]uint16{}, uint32(offset), name, comment)
}

func endRecord(entries, size, offset int, comment string) string {
	return packedFields(zipEnd, [2]uint16{}, [2]uint16{uint16(entries), uint16(entries)}, uint32(size), uint32(offset), uint16(len(comment)), comment)
}

// A zip archive that programs read in different ways is a warning. In each of these, some program (unzip, Python, Java
// or Go) extracts the contents of x with the reference.
func TestZipReadersDiffer(t *testing.T) {
	h, data := deflated(filler + referenceText)
	x := localHeader(h, "x") + data
	plain, harmless := deflated(filler)
	a := localHeader(plain, "a") + harmless
	entryA := zipDirectoryEntry(plain, "a", 0, "")
	stored := h
	stored.Method, stored.CRC, stored.Unpacked = zip.Store, crc32.ChecksumIEEE([]byte(data)), h.Packed
	empty := h
	empty.CRC, empty.Packed, empty.Unpacked = 0, 0, 0
	streamed := empty
	streamed.Flags = zipStreamed
	long := plain
	long.Packed += uint32(len(x))
	encrypted := h
	encrypted.Flags = zipEncrypted
	program := "\x7fELF" + strings.Repeat("\x00", 300)
	directory := func(h zipHeader, offset int) string { return zipDirectoryEntry(h, "x", offset, "") }
	whole := func(before, x, entry string) string {
		return before + x + entry + endRecord(1, len(entry), len(before+x), "")
	}
	commented := zipDirectoryEntry(h, "x", len(program), zipEntry)
	second := len(a) + len(entryA) + 22 // after the first end
	inComment := x + directory(h, second) + strings.TrimSuffix(endRecord(1, len(directory(h, 0)), second+len(x), ""), "\x00\x00") + "\xff\xff"
	decoy := strings.Repeat("\x00", len(entryA)) // so that offsets are not negative
	base := len(decoy) + len(entryA) + len(x) - len(decoy)
	zip64 := packedFields(zip64End, uint64(44), [2]uint16{45, 45}, [2]uint32{}, [4]uint64{1, 1, uint64(len(directory(h, 0))), uint64(len(a) + len(entryA) + len(x))})
	for name, test := range map[string]struct {
		data, want string
	}{
		"control":                   {whole("", x, directory(h, 0)), ""},
		"signature in a comment":    {whole(program, x, commented), "begins with something else"},
		"no size":                   {program + x + directory(h, len(program)) + endRecord(1, 0, len(program+x), ""), "begins with something else"},
		"listed as stored":          {whole("", x, directory(stored, 0)), "headers differ"},
		"listed as empty":           {whole("", x, directory(empty, 0)), "headers differ"},
		"streamed, listed as empty": {whole("", localHeader(streamed, "x")+data, directory(streamed, 0)), "headers differ"},
		"listed as encrypted":       {whole("", x, directory(encrypted, 0)), "encrypted"},
		"in the size of another":    {a + x + zipDirectoryEntry(long, "a", 0, "") + endRecord(1, len(entryA), len(a+x), ""), "headers differ"},
		"after the end of another":  {localHeader(long, "a") + harmless + x + zipDirectoryEntry(long, "a", 0, "") + endRecord(1, len(entryA), len(a+x), ""), "end before their packed size"},
		"in a comment":              {a + entryA + endRecord(1, len(entryA), len(a), inComment), "two ends"},
		"second directory":          {a + decoy + entryA + x + directory(h, len(a+decoy+entryA)-base) + endRecord(1, len(entryA), len(a+decoy), ""), "two directories"},
		"after the directory":       {a + entryA + x + directory(h, len(a+entryA)) + endRecord(1, len(entryA), len(a), ""), "two directories"},
		"zip64 end": {a + entryA + x + directory(h, len(a+entryA)) + zip64 +
			packedFields(zip64Locator, uint32(0), uint64(len(a+entryA+x+directory(h, 0))), uint32(1)) + endRecord(1, len(entryA), len(a), ""), "differ"},
		"tar, too": {whole("", tarHeaderZip(x), directory(h, 0)), "as zip and as tar"},
	} {
		got, warnings := deepOf(t, Unpack{}, nartest.File(test.data))
		if all := strings.Join(warnings, "\n"); test.want == "" && (len(got) != 1 || all != "") || !strings.Contains(all, test.want) {
			t.Errorf("%s: found %d, warnings %q, want %q", name, len(got), warnings, test.want)
		}
	}
}

// tarHeaderZip puts a checksum into the first 512 bytes of a zip archive, so that they are a tar header.
func tarHeaderZip(x string) string {
	b := append([]byte(x), make([]byte, max(0, 512-len(x)))...)
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b[:512] {
		sum += int(c)
	}
	copy(b[148:], packedFields(strings.Repeat("0", 6)))
	for i := 153; i >= 148; i-- {
		b[i] = '0' + byte(sum&7)
		sum >>= 3
	}
	return string(b)
}

// Archives as programs write them are searched completely.
func TestZipsOfPrograms(t *testing.T) {
	for name, command := range map[string][]string{
		"zip":          {"zip", "-qr", "out", "d"},
		"zip, stored":  {"zip", "-qr0", "out", "d"},
		"zip to pipe":  {"sh", "-c", "zip -qr - d | cat > out"},
		"zip of stdin": {"sh", "-c", "cat d/text | zip -q - - | cat > out"},
		"zip -j":       {"zip", "-qj", "-z", "out", "d/text"},
		"python":       {"python3", "-c", "import zipfile; z = zipfile.ZipFile('out', 'w', zipfile.ZIP_DEFLATED); z.write('d'); z.write('d/text'); z.write('d/empty')"},
		"python, zip64": {"python3", "-c", "import zipfile\nz = zipfile.ZipFile('out', 'w', zipfile.ZIP_DEFLATED)\n" +
			"with z.open('text', 'w', force_zip64=True) as f: f.write(open('d/text', 'rb').read())\nz.close()"},
		"python to pipe": {"sh", "-c", "python3 -c \"import sys, zipfile; z = zipfile.ZipFile(sys.stdout.buffer, 'w', zipfile.ZIP_DEFLATED); z.write('d'); z.write('d/text'); z.write('d/empty'); z.close()\" | cat > out"},
		"jar":            {"jar", "cf", "out", "d"},
		"jar, stored":    {"jar", "c0f", "out", "d"},
	} {
		t.Run(name, func(t *testing.T) {
			program, _, _ := strings.Cut(name, " ")
			if program = strings.TrimSuffix(program, ","); program == "python" {
				program = "python3"
			}
			if _, err := exec.LookPath(program); err != nil {
				t.Skip(err)
			}
			dir := t.TempDir()
			cmd := exec.Command(command[0], command[1:]...)
			cmd.Dir = dir
			cmd.Stdin = strings.NewReader("")
			os.Mkdir(filepath.Join(dir, "d"), 0o755)
			if err := os.WriteFile(filepath.Join(dir, "d/text"), []byte(filler+referenceText), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "d/empty"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			b, err := os.ReadFile(filepath.Join(dir, "out"))
			if os.IsNotExist(err) {
				b, err = os.ReadFile(filepath.Join(dir, "out.zip"))
			}
			if err != nil {
				t.Fatal(err)
			}
			want := 1
			if strings.HasSuffix(name, "stored") {
				want = 0
			}
			for how, in := range map[string]string{"": string(b), " in tar": tarred(file{"z", string(b)}), ", jmod": "JM\x01\x00" + string(b)} {
				got, warnings := deepOf(t, Unpack{}, nartest.File(in))
				if len(got) != want || warnings != nil {
					t.Errorf("%s%s: found %+v, warnings %q", name, how, got, warnings)
				}
			}
		})
	}
}
