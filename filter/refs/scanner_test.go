package refs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"narseal/filter/rules"
	"narseal/filter/rules/rulestest"
	"narseal/nar"
	"narseal/nar/nartest"
	"narseal/nar/storepath"
)

// seen is a Reference as a value.
type seen struct {
	path string
	part Part
	off  int64
	enc  rules.Encodings
	what string // a base name, or a bare hash part
}

func (s seen) compare(t seen) int {
	return strings.Compare(fmt.Sprintf("%+v", s), fmt.Sprintf("%+v", t))
}

// collect makes a Scanner that appends to the slice that it returns.
func collect(t testing.TB, hashes ...string) (*Scanner, *[]seen) {
	t.Helper()
	f := &Scanner{StoreDir: dir, Encodings: rules.AllEncodings}
	var list []rules.Rule
	for _, h := range hashes {
		list = append(list, rules.Rule{From: h, To: h})
	}
	if list != nil {
		f.Hashes = compile(t, list, rules.AllEncodings)
	}
	all := &[]seen{}
	f.Found = func(m *Reference) error {
		what := string(m.Base)
		if m.Base == nil {
			what = hashes[m.Hash]
		}
		*all = append(*all, seen{m.Path.String(), m.Part, m.Offset, m.Encoding, what})
		return nil
	}
	return f, all
}

// partOracle says what a part of an entry refers to.
func partOracle(path string, part Part, in []byte, hashes []string) (all []seen) {
	for _, p := range rulestest.StorePaths(in, uint8(rules.AllEncodings)) {
		all = append(all, seen{path, part, int64(p.Off), rules.Encodings(p.Enc), p.Base})
	}
	var list []rules.Rule
	for _, h := range hashes {
		list = append(list, rules.Rule{From: h, To: h})
	}
	for _, o := range rulestest.All(list, uint8(rules.AllEncodings), in) {
		h := hashes[o.Rule]
		first := bytes.IndexByte(in[o.Off:], h[0])
		s := seen{path, part, int64(o.Off + first), rules.Encodings(o.N / len(h)), h}
		if !slices.Contains(all, s) { // in both byte orders it is one
			all = append(all, s)
		}
	}
	return all
}

// treeOracle says what a tree refers to.
func treeOracle(path string, n nartest.Node, hashes []string) (all []seen) {
	switch n := n.(type) {
	case nartest.File:
		all = partOracle(path, InContents, []byte(n), hashes)
	case nartest.Symlink:
		all = partOracle(path, InTarget, []byte(n), hashes)
	case nartest.Dir:
		for name, child := range n {
			at := strings.TrimSuffix(path, "/") + "/" + name
			all = append(all, partOracle(at, InName, []byte(name), hashes)...)
			all = append(all, treeOracle(at, child, hashes)...)
		}
	}
	return all
}

func same(t *testing.T, got, want []seen) {
	t.Helper()
	got, want = slices.Clone(got), slices.Clone(want)
	slices.SortFunc(got, seen.compare)
	slices.SortFunc(want, seen.compare)
	if !slices.Equal(got, want) {
		t.Errorf("found\n%+v, want\n%+v", got, want)
	}
}

func TestScannerOfArchive(t *testing.T) {
	a, b := expand("{A}-name"), expand("{B}-y")
	text := func(c codec, s string) nartest.File { return nartest.File(c.encode(s)) }
	tree := nartest.Dir{
		"8":              text(codecs[0], "x/nix/store/"+a+"/bin:/nix/store/"+b),
		"16le":           text(codecs[1], "é/nix/store/"+a+" "+hashB),
		"16be":           text(codecs[2], "/nix/store/"+a),
		"32le":           text(codecs[3], "/nix/store/"+b),
		"32be":           text(codecs[4], hashB[1:]+"/nix/store/"+b),
		"bare-" + hashB:  nartest.File(hashB),
		"link":           nartest.Symlink("/nix/store/" + b + "/lib"),
		"none":           nartest.File("/nix/store/" + hashA),
		"sub-" + hashA:   nartest.Dir{"deep": nartest.Symlink(hashB), "empty": nartest.File("")},
		"zz" + hashB[1:]: nartest.File("é"),
	}
	for name, reader := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "by bytes": iotest.OneByteReader,
	} {
		for _, hashes := range [][]string{nil, {hashB}, {hashA, hashB}} {
			f, got := collect(t, hashes...)
			if err := f.Archive(nar.NewReader(reader(bytes.NewReader(nartest.Tree(tree))))); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			want := treeOracle("/", tree, hashes)
			if len(want) < 7+5*len(hashes) {
				t.Fatalf("oracle found %+v", want)
			}
			same(t, *got, want)
		}
	}
}

func TestScannerOfOneFile(t *testing.T) {
	f, got := collect(t)
	if err := f.Archive(nar.NewReader(bytes.NewReader(nartest.Tree(nartest.File("/nix/store/" + hashA + "-n"))))); err != nil {
		t.Fatal(err)
	}
	same(t, *got, []seen{{"/", InContents, 0, rules.UTF8, hashA + "-n"}})
}

// Around the end of the buffer, and far behind it.
func TestScannerAtBufferEnds(t *testing.T) {
	for _, c := range codecs {
		name := hashA + "-" + strings.Repeat("n", 60)
		path := c.encode("/nix/store/" + name)
		first, hash := bytes.IndexByte(path, '/'), bytes.IndexByte(path, hashA[0])
		for _, at := range []int{bufferSize - len(path) - 1, bufferSize - len(path)/2, bufferSize - 1, bufferSize,
			2*bufferSize - 100, 3 * bufferSize} {
			in := append(make([]byte, at), path...)
			in = append(in, make([]byte, 77)...)
			f, got := collect(t, hashA)
			if err := f.File(nar.NewPath("file"), bytes.NewReader(in)); err != nil {
				t.Fatal(err)
			}
			same(t, *got, []seen{
				{"file", InContents, int64(at + first), c.enc, name},
				{"file", InContents, int64(at + hash), c.enc, hashA},
			})
		}
	}
}

func TestScannerOfFields(t *testing.T) {
	f, got := collect(t, hashB)
	for part, b := range map[Part]string{InTarget: "/nix/store/" + hashA + "-t", InName: "n" + hashB} {
		if err := f.Field(nar.NewPath("p"), part, []byte(b)); err != nil {
			t.Fatal(err)
		}
	}
	same(t, *got, []seen{{"p", InTarget, 0, rules.UTF8, hashA + "-t"}, {"p", InName, 1, rules.UTF8, hashB}})
}

func TestScannerErrors(t *testing.T) {
	archive := nartest.Tree(nartest.Dir{"f": nartest.File(strings.Repeat("x", 100))})
	f, _ := collect(t, hashA)
	if err := f.Archive(nar.NewReader(bytes.NewReader(archive[:len(archive)/2]))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut archive: %v", err)
	}
	broken := errors.New("broken")
	if err := f.File(nar.NewPath("p"), io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken))); !errors.Is(err, broken) ||
		!strings.Contains(err.Error(), `"p": offset 3`) {
		t.Errorf("failing file: %v", err)
	}
	f.Found = func(*Reference) error { return broken }
	path := "/nix/store/" + hashA + "-x"
	for _, err := range []error{
		f.File(nar.NewPath("p"), strings.NewReader(path)),
		f.Field(nar.NewPath("p"), InTarget, []byte(path)),
		f.Archive(nar.NewReader(bytes.NewReader(nartest.Tree(nartest.File(path))))),
		f.Archive(nar.NewReader(bytes.NewReader(nartest.Tree(nartest.Symlink(path))))),
		f.Archive(nar.NewReader(bytes.NewReader(nartest.Tree(nartest.Dir{hashA: nartest.File("")})))),
	} {
		if !errors.Is(err, broken) {
			t.Errorf("Found failed: got %v", err)
		}
	}
	for _, bad := range []string{"", "nix/store", "/nix/store/", "/" + strings.Repeat("x", storepath.MaxDir)} {
		f.StoreDir = bad
		for _, err := range []error{f.Archive(nil), f.Field(nar.NewPath(""), InName, nil), f.File(nar.NewPath(""), nil)} {
			if err == nil || !strings.Contains(err.Error(), "store directory") {
				t.Errorf("store directory %q: %v", bad, err)
			}
		}
	}
}

func TestScannerOfAnotherStore(t *testing.T) {
	f, got := collect(t)
	f.StoreDir = "/gnu/store"
	in := "/nix/store/" + hashA + "-x /gnu/store/" + hashB + "-y"
	if err := f.File(nar.NewPath("p"), strings.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	same(t, *got, []seen{{"p", InContents, int64(strings.Index(in, "/gnu")), rules.UTF8, hashB + "-y"}})
}

func FuzzScanner(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range codecs {
		var b []byte
		for range 4 {
			b = append(b, c.encode(expand("/nix/store/{A}-n"))...)
			b = append(b, make([]byte, rng.IntN(5))...)
			b = append(b, c.encode(hashB)...)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		want := partOracle("p", InContents, in, []string{hashA, hashB})
		for _, r := range []io.Reader{bytes.NewReader(in), iotest.OneByteReader(bytes.NewReader(in))} {
			refs, got := collect(t, hashA, hashB)
			if err := refs.File(nar.NewPath("p"), r); err != nil {
				t.Fatal(err)
			}
			same(t, *got, want)
		}
		refs, got := collect(t, hashA, hashB)
		archive := nartest.Tree(nartest.Dir{"p": nartest.File(in)})
		if err := refs.Archive(nar.NewReader(iotest.OneByteReader(bytes.NewReader(archive)))); err != nil {
			t.Fatal(err)
		}
		for i := range *got {
			(*got)[i].path = "p"
		}
		same(t, *got, want)
	})
}
