package nar_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"narseal/nar"
	"narseal/nar/nartest"
)

// An exported path is an archive and its trailer.
type exported struct {
	root nartest.Node
	nar.Trailer
}

const (
	pathA = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-a"
	pathB = "/nix/store/zyxwvsrqpnmlkjihgfdcba9876543210-b-1.0"
	drvB  = "/nix/store/00000000000000000000000000000000-b-1.0.drv"
)

var exports = []struct {
	name  string
	paths []exported
}{
	{"nothing", nil},
	{"a path", []exported{{nartest.File("a"), nar.Trailer{Path: pathA}}}},
	{"a path that mentions itself", []exported{{nartest.Symlink(pathA), nar.Trailer{Path: pathA, References: []string{pathA}}}}},
	{"a closure", []exported{
		{nartest.Dir{"a": nartest.Exec("#!/bin/sh\n")}, nar.Trailer{Path: pathA}},
		{nartest.Dir{"b": nartest.Symlink(pathA)}, nar.Trailer{Path: pathB, References: []string{pathA, pathB}, Deriver: drvB}},
	}},
	{"signatures", []exported{
		{nartest.Dir{}, nar.Trailer{Path: pathA, Signature: []byte{}}},
		{nartest.Dir{}, nar.Trailer{Path: pathB, Deriver: drvB, Signature: []byte("signature")}},
	}},
	{"other stores", []exported{
		{nartest.Dir{}, nar.Trailer{Path: "/gnu/store/0123456789abcdfghijklmnpqrsvwxyz-A+B-._?=", References: []string{"/0123456789abcdfghijklmnpqrsvwxyz-x"}}},
	}},
	{"longest paths", []exported{{nartest.Dir{}, nar.Trailer{
		Path:      strings.Repeat("/s", (4095-245)/2) + "/0123456789abcdfghijklmnpqrsvwxyz-" + strings.Repeat("n", 211),
		Signature: bytes.Repeat([]byte("s"), 4095),
	}}}},
	{"over a small buffer", []exported{
		{nartest.File(pattern(smallBuffer)), nar.Trailer{Path: pathA, References: manyReferences(50)}},
		{nartest.File(pattern(1000)), nar.Trailer{Path: pathB}},
	}},
}

func manyReferences(n int) []string {
	var refs []string
	for i := range n {
		refs = append(refs, fmt.Sprintf("/nix/store/%032d-ref", i))
	}
	return refs
}

// exportStream encodes a stream of these paths in the most direct way.
func exportStream(paths []exported) []byte {
	var b []byte
	for _, p := range paths {
		b = append(b, u64(1)...)
		b = append(b, nartest.Tree(p.root)...)
		b = append(b, trailerBytes(p.Trailer)...)
	}
	return append(b, u64(0)...)
}

func trailerBytes(t nar.Trailer) string {
	s := u64(0x4558494e) + str(t.Path) + u64(uint64(len(t.References))) + str(t.References...) + str(t.Deriver)
	if t.Signature == nil {
		return s + u64(0)
	}
	return s + u64(1) + str(string(t.Signature))
}

var storePath = regexp.MustCompile(`^(/[^\x00]*)?/[0-9abcdfghijklmnpqrsvwxyz]{32}-[0-9a-zA-Z+\-._?=]{1,211}$`)

func isStorePath(s string) bool { return len(s) <= 4095 && storePath.MatchString(s) }

// decodeExport is the oracle for streams, as decode is for archives.
func decodeExport(b []byte) (paths []exported, ok bool) {
	d := decoder{b}
	defer func() {
		if e := recover(); e != nil {
			if e != errGrammar {
				panic(e)
			}
			ok = false
		}
	}()
	num := func() uint64 {
		d.must(len(d.b) >= 8)
		n := binary.LittleEndian.Uint64(d.b)
		d.b = d.b[8:]
		return n
	}
	path := func() string {
		s := d.str()
		d.must(isStorePath(s))
		return s
	}
	for {
		n := num()
		if n == 0 {
			return paths, len(d.b) == 0
		}
		d.must(n == 1)
		var p exported
		d.want("nix-archive-1")
		p.root = d.node(0)
		d.must(num() == 0x4558494e)
		p.Path = path()
		for n := num(); n > 0; n-- {
			p.References = append(p.References, path())
		}
		if p.Deriver = d.str(); p.Deriver != "" {
			d.must(isStorePath(p.Deriver))
		}
		if n := num(); n != 0 {
			d.must(n == 1)
			p.Signature = []byte(d.str())
			d.must(len(p.Signature) <= 4095)
		}
		paths = append(paths, p)
	}
}

// copyExport reads a stream and writes it; small means with small buffers.
func copyExport(w io.Writer, r io.Reader, small bool) error {
	x, y := nar.NewExportReader(r), nar.NewExportWriter(w)
	if small {
		x, y = nar.NewExportReaderSize(r, smallBuffer), nar.NewExportWriterSize(w, smallBuffer)
	}
	for {
		nr, err := x.Next()
		if err == io.EOF {
			return y.Close()
		} else if err != nil {
			return err
		}
		nw, err := y.Next()
		if err != nil {
			return err
		}
		if err := pass(nr, nw); err != nil {
			return err
		}
		t, err := x.Trailer()
		if err != nil {
			return err
		}
		if err := y.WriteTrailer(t); err != nil {
			return err
		}
	}
}

func eachExport(t *testing.T, f func(t *testing.T, paths []exported, data []byte)) {
	for _, e := range exports {
		t.Run(e.name, func(t *testing.T) { f(t, e.paths, exportStream(e.paths)) })
	}
}

func TestExportDecode(t *testing.T) {
	eachExport(t, func(t *testing.T, paths []exported, data []byte) {
		got, ok := decodeExport(data)
		if !ok || !bytes.Equal(exportStream(got), data) {
			t.Fatal("the oracle does not decode it, or to something else")
		}
	})
}

func TestExportReader(t *testing.T) {
	eachExport(t, func(t *testing.T, paths []exported, data []byte) {
		x := nar.NewExportReader(bytes.NewReader(data))
		at := int64(0)
		for i, want := range paths {
			r, err := x.Next()
			if err != nil {
				t.Fatal(err)
			}
			at += 8
			if r.Offset() != at {
				t.Errorf("archive %d begins at %d, want %d", i, r.Offset(), at)
			}
			if _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
			// The rest of the archive is skipped.
			got, err := x.Trailer()
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*got, want.Trailer) {
				t.Errorf("got  %+v\nwant %+v", *got, want.Trailer)
			}
			if again, err := x.Trailer(); again != got || err != nil {
				t.Errorf("the trailer again: %v, %v", again, err)
			}
			at += int64(len(nartest.Tree(want.root)) + len(trailerBytes(want.Trailer)))
			if _, err := r.Next(); err != io.EOF {
				t.Errorf("the archive's Reader, after its trailer: %v", err)
			}
		}
		for range 2 {
			if _, err := x.Next(); err != io.EOF {
				t.Errorf("at the end: %v", err)
			}
		}
	})
}

// Calls of Next alone advance from archive to archive.
func TestExportReaderSkips(t *testing.T) {
	eachExport(t, func(t *testing.T, paths []exported, data []byte) {
		x := nar.NewExportReader(bytes.NewReader(data))
		n := 0
		for {
			_, err := x.Next()
			if err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != len(paths) {
			t.Errorf("%d archives, want %d", n, len(paths))
		}
	})
}

func TestExportIdentity(t *testing.T) {
	for _, r := range readers {
		t.Run(r.name, func(t *testing.T) {
			eachExport(t, func(t *testing.T, _ []exported, data []byte) {
				for _, small := range []bool{false, true} {
					var out bytes.Buffer
					if err := copyExport(&out, r.wrap(bytes.NewReader(data)), small); err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(out.Bytes(), data) {
						t.Error("the stream changed")
					}
				}
			})
		})
	}
}

func TestExportCut(t *testing.T) {
	eachExport(t, func(t *testing.T, _ []exported, data []byte) {
		for cut := range data {
			var out bytes.Buffer
			err := copyExport(&out, bytes.NewReader(data[:cut]), true)
			var bad *nar.FormatError
			if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.As(err, &bad) || bad.Offset != int64(cut) {
				t.Fatalf("cut at %d of %d: %v", cut, len(data), err)
			}
			if !bytes.HasPrefix(data, out.Bytes()) || out.Len() == len(data) {
				t.Fatalf("cut at %d of %d: %d bytes were written", cut, len(data), out.Len())
			}
			x := nar.NewExportReaderSize(bytes.NewReader(data[:cut]), smallBuffer)
			var first error
			for first == nil {
				_, first = x.Next()
			}
			if !errors.Is(first, io.ErrUnexpectedEOF) {
				t.Fatalf("cut at %d of %d: Next gives %v", cut, len(data), first)
			}
			if _, err := x.Next(); err != first {
				t.Fatalf("cut at %d: Next gives %v, then %v", cut, first, err)
			}
			if _, err := x.Trailer(); err != first {
				t.Fatalf("cut at %d: Next gives %v, then Trailer %v", cut, first, err)
			}
		}
	})
}

func TestExportViolations(t *testing.T) {
	archive := u64(1) + string(nartest.Tree(nartest.File("x")))
	magic := archive + u64(0x4558494e)
	path := magic + str(pathA)
	refs := path + u64(0)
	deriver := refs + str("")
	whole := deriver + u64(0)
	for _, v := range []struct {
		name string
		good string
		skip int
		bad  string
		want string
	}{
		{"mark 2", "", 0, u64(2), "want 1 before an archive, or 0 at the end, got 2"},
		{"a NAR", "", 0, archive[8:], "got 13"},
		{"mark 2^64-1", whole, 0, u64(1<<64 - 1), "got 18446744073709551615"},
		{"not an archive", u64(1), 0, str("nix-archive-2"), `want the archive's magic "nix-archive-1"`},
		{"archive without root's end", u64(1) + str("nix-archive-1", "(", "type", "directory"), 0, u64(0x4558494e), `want "entry"`},
		{"no trailer", archive, 0, u64(0), "want the trailer's magic 0x4558494e, got 0x0"},
		{"another archive", archive, 0, archive, "got 0x1"},
		{"magic of more than 32 bits", archive, 0, u64(1<<32 | 0x4558494e), "got 0x14558494e"},
		{"empty path", magic, 8, str("") + u64(0), "the trailer's path is empty"},
		{"relative path", magic, 8, str(pathA[1:]), "is not an absolute path"},
		{"path with NUL", magic, 8, str("/\x00" + pathA), "is not an absolute path"},
		{"path of a store", magic, 8, str("/nix/store"), `"/nix/store" is not a store path: `},
		{"path with a slash", magic, 8, str(pathA + "/bin"), "is not a store path"},
		{"path without a name", magic, 8, str(pathA[:len(pathA)-1]), "empty name after the hash part"},
		{"path without a dash", magic, 8, str(strings.Replace(pathA, "-", "_", 1)), `want the end or "-" after a hash part`},
		{"path of a short hash", magic, 8, str("/nix/store/0123-a"), `"-" at offset 4 is not a character of a hash part`},
		{"path with e in its hash", magic, 8, str(strings.Replace(pathA, "0", "e", 1)), "is not a character of a hash part"},
		{"path with a space", magic, 8, str(pathA + " b"), `" " at offset`},
		{"path with another letter", magic, 8, str(pathA + "ä"), "is not a character of a store path's name"},
		{"path with a long name", magic, 8, str(pathA + strings.Repeat("n", 211)), "name has 212 characters, want at most 211"},
		{"path of 4096 bytes", magic, 0, str(strings.Repeat("/", 4096-len(pathA)) + pathA), "the trailer's path has 4096 bytes, at most 4095"},
		{"path of length 2^64-1", magic, 0, u64(1<<64-1) + pathA, "has 18446744073709551615 bytes"},
		{"path with wrong padding", magic, 8 + len(pathA), string(append(nartest.Strings(pathA)[:8+len(pathA)], "x\x00\x00\x00\x00"...)), "padding after the trailer's path"},
		{"reference missing", path + u64(1), 8, str("") + u64(0), "a reference is empty"},
		{"2^64-1 references", path + u64(1<<64-1) + str(pathA), 8, str("") + u64(0), "a reference is empty"},
		{"reference that is none", path + u64(2) + str(pathA), 8, str("glibc"), `a reference: "glibc" is not an absolute path`},
		{"deriver that is none", refs, 8, str("unknown-deriver") + u64(0), `the deriver: "unknown-deriver" is not an absolute path`},
		{"signature flag 2", deriver, 0, u64(2) + str("s"), "want 0, or 1 before a signature, got 2"},
		{"long signature", deriver + u64(1), 0, str(strings.Repeat("s", 4096)), "the signature has 4096 bytes, at most 4095"},
		{"signature of length 2^63", deriver + u64(1), 0, u64(1<<63) + "s", "the signature has 9223372036854775808 bytes"},
		{"trailing byte", whole + u64(0), 0, "\x00", "want the end of the input after the export stream, got more bytes"},
		{"trailing archive", whole + u64(0), 0, archive, "got more bytes"},
	} {
		t.Run(v.name, func(t *testing.T) {
			data := []byte(v.good + v.bad)
			if _, ok := decodeExport(data); ok {
				t.Fatal("the oracle takes it")
			}
			for _, r := range readers {
				err := copyExport(io.Discard, r.wrap(bytes.NewReader(data)), true)
				var bad *nar.FormatError
				if !errors.As(err, &bad) || bad.Offset != int64(len(v.good)+v.skip) || !strings.Contains(err.Error(), v.want) {
					t.Errorf("%s: %v\nwant offset %d, %q", r.name, err, len(v.good)+v.skip, v.want)
				}
			}
		})
	}
}

// A count causes no allocation, and an endless list of references does not fill the memory.
func TestExportReferencesWithoutEnd(t *testing.T) {
	head := []byte(u64(1) + string(nartest.Tree(nartest.File(""))) + u64(0x4558494e) + str(pathA) + u64(1<<64-1))
	ref := nartest.Strings("/nix/store/" + strings.Repeat("0", 32) + "-r")
	var err error
	got := allocated(func() {
		x := nar.NewExportReader(&generated{next: func() []byte {
			if head != nil {
				b := head
				head = nil
				return b
			}
			return ref
		}})
		for err == nil {
			_, err = x.Next()
		}
	})
	if err == nil || !strings.Contains(err.Error(), "the references have more than 16777216 bytes") {
		t.Errorf("got %v", err)
	}
	if got > 128<<20 {
		t.Errorf("%d bytes allocated", got)
	}
}

func TestExportWriterRefuses(t *testing.T) {
	ok := &nar.Trailer{Path: pathA}
	archive := func(x *nar.ExportWriter) *nar.Writer {
		w, err := x.Next()
		if err == nil {
			err = w.WriteEntry(dir(0, ""))
		}
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	closed := func(x *nar.ExportWriter) {
		if err := archive(x).Close(); err != nil {
			t.Fatal(err)
		}
	}
	next := func(x *nar.ExportWriter) error {
		_, err := x.Next()
		return err
	}
	trailer := func(tr nar.Trailer) func(*nar.ExportWriter) error {
		return func(x *nar.ExportWriter) error {
			closed(x)
			return x.WriteTrailer(&tr)
		}
	}
	for _, c := range []struct {
		name string
		do   func(*nar.ExportWriter) error
		want string
	}{
		{"trailer before an archive", func(x *nar.ExportWriter) error { return x.WriteTrailer(ok) }, "no archive comes before the trailer"},
		{"trailer of an open archive", func(x *nar.ExportWriter) error { archive(x); return x.WriteTrailer(ok) }, "is not closed"},
		{"trailer twice", func(x *nar.ExportWriter) error { closed(x); _ = x.WriteTrailer(ok); return x.WriteTrailer(ok) }, "no archive comes before"},
		{"next in an open archive", func(x *nar.ExportWriter) error { archive(x); return next(x) }, "begin an archive: the previous archive has no trailer"},
		{"next before the trailer", func(x *nar.ExportWriter) error { closed(x); return next(x) }, "has no trailer"},
		{"close in an open archive", func(x *nar.ExportWriter) error { archive(x); return x.Close() }, "close: the previous archive has no trailer"},
		{"close before the trailer", func(x *nar.ExportWriter) error { closed(x); return x.Close() }, "has no trailer"},
		{"next after close", func(x *nar.ExportWriter) error { _ = x.Close(); return next(x) }, "was closed"},
		{"archive that failed, trailer", func(x *nar.ExportWriter) error { _ = archive(x).WriteEntry(dir(5, "")); return x.WriteTrailer(ok) }, "depth 5"},
		{"archive that failed, close", func(x *nar.ExportWriter) error { _ = archive(x).WriteEntry(dir(5, "")); return x.Close() }, "depth 5"},
		{"no path", trailer(nar.Trailer{}), "is not an absolute path"},
		{"path that is none", trailer(nar.Trailer{Path: "/nix/store/x"}), "is not a store path"},
		{"reference that is none", trailer(nar.Trailer{Path: pathA, References: []string{pathB, ""}}), "reference"},
		{"deriver that is none", trailer(nar.Trailer{Path: pathA, Deriver: "x"}), "deriver"},
		{"long signature", trailer(nar.Trailer{Path: pathA, Signature: make([]byte, 4096)}), "signature has 4096 bytes"},
		{"too many references", trailer(nar.Trailer{Path: pathA, References: manyReferences(300000)}), "more than 16777216 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			x := nar.NewExportWriter(&out)
			err := c.do(x)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if c.name == "next after close" {
				return // Close made a complete stream
			}
			for name, again := range map[string]error{"Next": next(x), "WriteTrailer": x.WriteTrailer(ok), "Close": x.Close()} {
				if again != err {
					t.Errorf("then %s gives %v", name, again)
				}
			}
			if _, ok := decodeExport(out.Bytes()); ok {
				t.Error("what was written is a complete stream")
			}
		})
	}
}

func TestExportWriterOutputFails(t *testing.T) {
	data := exportStream(exports[len(exports)-1].paths)
	full := errors.New("disk full")
	for limit := 0; limit < len(data); limit += 97 {
		out := &limited{left: limit, err: full}
		if err := copyExport(out, bytes.NewReader(data), true); !errors.Is(err, full) {
			t.Fatalf("output of %d bytes: %v", limit, err)
		}
		if !bytes.Equal(out.got, data[:limit]) {
			t.Fatalf("output of %d bytes: got others", limit)
		}
	}
}

func TestSniff(t *testing.T) {
	nix := nartest.Tree(nartest.File("x"))
	export := exportStream(exports[1].paths)
	for _, c := range []struct {
		name   string
		prefix []byte
		want   nar.Format
	}{
		{"NAR", nix, nar.FormatNAR},
		{"16 bytes of a NAR", nix[:16], nar.FormatNAR},
		{"24 bytes of a NAR", nix[:24], nar.FormatNAR},
		{"15 bytes of a NAR", nix[:15], nar.FormatUnknown},
		{"another magic", nartest.Strings("nix-archive-2"), nar.FormatUnknown},
		{"wrong padding", append(nartest.Strings("nix-archive-1")[:21], 0, 0, 1), nar.FormatUnknown},
		{"export", export, nar.FormatExport},
		{"16 bytes of an export", export[:16], nar.FormatExport},
		{"31 bytes of an export", export[:31], nar.FormatExport},
		{"15 bytes of an export", export[:15], nar.FormatUnknown},
		{"empty export", exportStream(nil), nar.FormatExport},
		{"zeros", make([]byte, 64), nar.FormatUnknown},
		{"7 zeros", make([]byte, 7), nar.FormatUnknown},
		{"1 and something", append([]byte(u64(1)), nartest.Strings("x")...), nar.FormatUnknown},
		{"nothing", nil, nar.FormatUnknown},
		{"text", []byte("#!/bin/sh\necho hello\n"), nar.FormatUnknown},
	} {
		if got := nar.Sniff(c.prefix); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// What Nix exports is read and written byte for byte, and an empty store imports it.
func TestExportAsNix(t *testing.T) {
	s := nartest.Nix(t)
	data := nixExport(t, s)
	x := nar.NewExportReader(bytes.NewReader(data))
	var paths []string
	for {
		if _, err := x.Next(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		tr, err := x.Trailer()
		if err != nil {
			t.Fatal(err)
		}
		refs := strings.Fields(string(s.Run(nil, "nix-store", "--query", "--references", tr.Path)))
		if strings.Join(tr.References, " ") != strings.Join(refs, " ") {
			t.Errorf("%s: references %q, nix-store says %q", tr.Path, tr.References, refs)
		}
		deriver := strings.TrimSpace(string(s.Run(nil, "nix-store", "--query", "--deriver", tr.Path)))
		if tr.Deriver != deriver && (tr.Deriver != "" || deriver != "unknown-deriver") {
			t.Errorf("%s: deriver %q, nix-store says %q", tr.Path, tr.Deriver, deriver)
		}
		paths = append(paths, tr.Path)
	}
	if len(paths) != 3 {
		t.Fatalf("paths %q, want 3", paths)
	}

	var out bytes.Buffer
	if err := copyExport(&out, bytes.NewReader(data), false); err != nil || !bytes.Equal(out.Bytes(), data) {
		t.Fatalf("%v, or the stream changed", err)
	}
	other := nartest.Nix(t)
	imported := strings.Fields(string(other.Run(out.Bytes(), "nix-store", "--import")))
	if strings.Join(imported, " ") != strings.Join(paths, " ") {
		t.Errorf("imported %q, want %q", imported, paths)
	}
	other.Run(nil, "nix-store", "--verify", "--check-contents")
	if got := other.Run(nil, "nix-store", append([]string{"--export"}, paths...)...); !bytes.Equal(got, data) {
		t.Error("exported again it is another stream")
	}
}

// Nix imports the streams of the table too, including those with a signature.
func TestExportTableAsNix(t *testing.T) {
	for _, e := range exports {
		if e.name == "other stores" || e.name == "longest paths" {
			continue // not in /nix/store
		}
		if e.name == "over a small buffer" {
			continue // refers to paths that no store has
		}
		t.Run(e.name, func(t *testing.T) {
			s := nartest.Nix(t)
			imported := strings.Fields(string(s.Run(exportStream(e.paths), "nix-store", "--import")))
			var want []string
			for _, p := range e.paths {
				want = append(want, p.Path)
			}
			if strings.Join(imported, " ") != strings.Join(want, " ") {
				t.Errorf("imported %q, want %q", imported, want)
			}
		})
	}
}

// nixExport returns an export of three paths: the second refers to the first, and the third to both.
func nixExport(t testing.TB, s *nartest.Store) []byte {
	eval := func(expr string) string {
		out := s.Run(nil, "nix-instantiate", "--eval", "--read-write-mode", "--expr", expr)
		return strings.Trim(strings.TrimSpace(string(out)), `"`)
	}
	c := `builtins.toFile "c" "c"`
	b := `builtins.toFile "b" "${` + c + `}"`
	a := `builtins.toFile "a" "${` + b + `} ${` + c + `}"`
	paths := []string{eval(c), eval(b), eval(a)}
	return s.Run(nil, "nix-store", append([]string{"--export"}, paths...)...)
}
