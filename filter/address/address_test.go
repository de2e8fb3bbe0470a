package address

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"narseal/filter"
	"narseal/filter/rules"
	"narseal/filter/rules/rulestest"
	"narseal/macho"
	"narseal/macho/machotest"
	"narseal/nar"
	"narseal/nar/nartest"
	"narseal/nar/storepath"
)

const dir = storepath.DefaultDir

// naiveAddress follows the definition of each Modulo on the whole archive.
// hashed are ranges of the archive.
func naiveAddress(m Modulo, own string, archive []byte, hashed []macho.Range) nar.ContentAddress {
	b := bytes.Clone(archive)
	enc := rules.UTF8
	if m == ModuloSignatures {
		enc = rules.AllEncodings
		for _, r := range hashed {
			clear(b[r.Off : r.Off+r.Len])
		}
	}
	_, found := rulestest.Replace([]rules.Rule{{From: own, To: own}}, uint8(enc), b)
	suffix := ""
	for _, o := range found {
		first := o.Off + bytes.IndexByte(b[o.Off:], own[0])
		switch width := o.N / len(own); {
		case m == ModuloNix217:
		case width == 1:
			suffix += fmt.Sprintf("|%d", first)
		default:
			suffix += fmt.Sprintf("|%d/%d", first, width)
		}
	}
	for _, o := range found {
		clear(b[o.Off : o.Off+o.N])
	}
	return sha256.Sum256(append(b, suffix...))
}

const goldens = "../../testdata/macho/goldens"

func golden(t *testing.T, side, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(goldens, side, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func goldenNames(t *testing.T) (names []string) {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(goldens, "A"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	if len(names) < 11 {
		t.Fatalf("%d goldens", len(names))
	}
	return names
}

// addressed runs the config, and checks what is true of every outcome.
func addressed(t *testing.T, c Config, archive []byte) (*Address, []byte) {
	t.Helper()
	var out bytes.Buffer
	a, err := c.Run(&out, bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	if a.NarSize != int64(len(archive)) || out.Len() != len(archive) || a.NarHash != sha256.Sum256(out.Bytes()) {
		t.Errorf("%d bytes gave %d, reported as %d with hash %x", len(archive), out.Len(), a.NarSize, a.NarHash)
	}
	return a, out.Bytes()
}

func configOf(m Modulo, self string) Config {
	return Config{StoreDir: dir, Self: self + "-x", Modulo: m}
}

// Each golden with its own hash has one address and becomes one archive,
// which has the address already and of which each signature holds.
func TestAddressOfGoldenPairs(t *testing.T) {
	as, bs := strings.Repeat("a", storepath.HashLen), strings.Repeat("b", storepath.HashLen)
	tree := func(image []byte, self string) []byte {
		return nartest.Tree(nartest.Dir{
			"bin":  nartest.Dir{"x": nartest.Exec(image)},
			"link": nartest.Symlink("/nix/store/" + self + "-x/bin/x"),
			"wide": nartest.File(rulestest.Codecs[1].Encode("/nix/store/" + self + "-x")),
		})
	}
	for _, name := range goldenNames(t) {
		fromA, outA := addressed(t, configOf(ModuloSignatures, as), tree(golden(t, "A", name), as))
		fromB, outB := addressed(t, configOf(ModuloSignatures, bs), tree(golden(t, "B", name), bs))
		if fromA.Path != fromB.Path || fromA.CA != fromB.CA || !bytes.Equal(outA, outB) {
			t.Errorf("%s: %s from A, %s from B", name, fromA.Path, fromB.Path)
		}
		if bytes.Contains(outA, []byte(as)) || bytes.Contains(outA, rulestest.Codecs[1].Encode(as)) {
			t.Errorf("%s: the old hash is left", name)
		}
		again, outAgain := addressed(t, configOf(ModuloSignatures, filepath.Base(fromA.Path)[:storepath.HashLen]), outA)
		if again.Path != fromA.Path || !bytes.Equal(outAgain, outA) {
			t.Errorf("%s: %s becomes %s", name, fromA.Path, again.Path)
		}
		image := bytes.Clone(golden(t, "A", name))
		i := bytes.Index(outA, image[:64])
		rep, err := macho.Verify(macho.Bytes(outA[i : i+len(image)]))
		if err != nil || len(rep.Slices) == 0 || !rep.OK() {
			t.Errorf("%s: the result does not verify: %+v, %v", name, rep, err)
		}

		// Nix's own address covers the slots.
		for _, m := range []Modulo{ModuloNix, ModuloNix217} {
			a, out := addressed(t, configOf(m, as), tree(golden(t, "A", name), as))
			if a.Matches || a.Result.Repaired == 0 {
				t.Errorf("%s, %s: said to hold", name, m)
			}
			if !bytes.Contains(out, rulestest.Codecs[1].Encode(as)) {
				t.Errorf("%s, %s: changed what Nix leaves", name, m)
			}
		}
	}
}

func TestAddressAgainstNaive(t *testing.T) {
	plain := func(hash string) nartest.Dir {
		return nartest.Dir{
			"text":       nartest.File("x" + hash + hash + "-y " + hash[:31]),
			"link":       nartest.Symlink("../" + hash + "-x/lib"),
			"n-" + hash:  nartest.File(""),
			"wide":       nartest.File(slicesOfAll(hash)),
			"wide-twice": nartest.File("\x00" + string(rulestest.Codecs[1].Encode(hash)) + "\x00"),
		}
	}
	image := golden(t, "A", "dual-universal")
	as := strings.Repeat("a", storepath.HashLen)
	withImage := plain(as)
	withImage["image"] = nartest.Exec(image)
	long := nartest.Dir{"long": nartest.File(strings.Repeat("0123456789", 26_210) + rulestest.HashA + strings.Repeat("z", 1000) + rulestest.HashA)}
	for name, test := range map[string]struct {
		own  string
		tree nartest.Dir
	}{
		"plain": {rulestest.HashA, plain(rulestest.HashA)}, "without itself": {rulestest.HashB, plain(rulestest.HashA)}, "empty": {rulestest.HashA, nartest.Dir{}}, "long": {rulestest.HashA, long}, "image": {as, withImage},
	} {
		archive := nartest.Tree(test.tree)
		var hashed []macho.Range
		if at := bytes.Index(archive, image); at >= 0 {
			ranges, err := macho.DerivedRanges(macho.Bytes(image))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range ranges {
				hashed = append(hashed, macho.Range{Off: r.Off + int64(at), Len: r.Len})
			}
		}
		for m := range Modulo(len(moduloNames)) {
			a, out := addressed(t, configOf(m, test.own), archive)
			if want := naiveAddress(m, test.own, archive, hashed); a.CA != want {
				t.Errorf("%s, %s: got %s, want %s", name, m, a.CA, want)
			}
			if name == "image" && m != ModuloSignatures {
				continue
			}
			own := filepath.Base(a.Path)[:storepath.HashLen]
			if got := naiveAddress(m, own, out, hashed); got != a.CA || !a.Matches {
				t.Errorf("%s, %s: the result has the address %s, want %s", name, m, got, a.CA)
			}
		}
	}
	// Where no wide text and no signature is, two of them are one.
	archive := nartest.Tree(nartest.File(rulestest.HashA))
	one, _ := addressed(t, configOf(ModuloNix, rulestest.HashA), archive)
	two, _ := addressed(t, configOf(ModuloSignatures, rulestest.HashA), archive)
	if one.CA != two.CA {
		t.Errorf("%s and %s", one.CA, two.CA)
	}
}

func slicesOfAll(hash string) (s string) {
	for _, c := range rulestest.Codecs {
		s += "\xff" + string(c.Encode(hash))
	}
	return s
}

// What differs in more than the archive's own hash has another address.
func TestAddressTellsApart(t *testing.T) {
	as := strings.Repeat("a", storepath.HashLen)
	seen := map[nar.ContentAddress]string{}
	for name, contents := range map[string]string{
		"once":       rulestest.HashA + strings.Repeat("\x00", 96),
		"later":      strings.Repeat("\x00", 32) + rulestest.HashA + strings.Repeat("\x00", 64),
		"zeros":      strings.Repeat("\x00", 128),
		"wide":       string(rulestest.Codecs[1].Encode(rulestest.HashA)) + strings.Repeat("\x00", 64),
		"wide other": string(rulestest.Codecs[2].Encode(rulestest.HashA)) + strings.Repeat("\x00", 64),
		"widest":     string(rulestest.Codecs[3].Encode(rulestest.HashA)),
		"code":       strings.Replace(string(golden(t, "A", "lld-arm64")), as, as[:31]+"b", 1),
		"image":      string(golden(t, "A", "lld-arm64")),
	} {
		archive := nartest.Tree(nartest.File(contents))
		a, _ := addressed(t, configOf(ModuloSignatures, rulestest.HashA), archive)
		if other, ok := seen[a.CA]; ok {
			t.Errorf("%s and %s have one address", name, other)
		}
		seen[a.CA] = name
	}
}

// A stale signature is hashed, as the address does not cover it, and so are
// archives that differ only there.
func TestAddressRepairsWhatItLeavesOut(t *testing.T) {
	image := golden(t, "A", "go-arm64")
	stale := bytes.Clone(image)
	ranges, err := macho.DerivedRanges(macho.Bytes(image))
	if err != nil {
		t.Fatal(err)
	}
	last := ranges[len(ranges)-1]
	stale[last.Off+last.Len-1] ^= 1
	want, good := addressed(t, configOf(ModuloSignatures, rulestest.HashA), nartest.Tree(nartest.Exec(image)))
	got, hashed := addressed(t, configOf(ModuloSignatures, rulestest.HashA), nartest.Tree(nartest.Exec(stale)))
	if got.CA != want.CA || !bytes.Equal(hashed, good) {
		t.Errorf("got %s, want %s", got.CA, want.CA)
	}
	// Nix's address covers it, and nothing touched it.
	plain, same := addressed(t, configOf(ModuloNix, rulestest.HashA), nartest.Tree(nartest.Exec(stale)))
	if !plain.Matches || !bytes.Equal(same, nartest.Tree(nartest.Exec(stale))) {
		t.Errorf("an untouched image was changed")
	}
}

func TestAddressReferences(t *testing.T) {
	others := []string{rulestest.HashC + "-c", rulestest.HashB + "-b", rulestest.HashC + "-c"}
	for _, test := range []struct {
		refs     []string
		contents string
		self     bool
	}{
		{others, "nothing", false},
		{others, rulestest.HashA, true},
		{append([]string{rulestest.HashA + "-x"}, others...), "nothing", true},
		{nil, "nothing", false},
	} {
		c := configOf(ModuloNix, rulestest.HashA)
		c.References = test.refs
		a, _ := addressed(t, c, nartest.Tree(nartest.File(test.contents)))
		want := []string{}
		if test.refs != nil {
			want = []string{dir + "/" + rulestest.HashC + "-c", dir + "/" + rulestest.HashB + "-b"}
		}
		var got []string
		self := false
		for _, ref := range a.References {
			if ref == a.Path {
				self = true
			} else {
				got = append(got, ref)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) && len(got)+len(want) > 0 || self != test.self {
			t.Errorf("%+v: got %q", test, a.References)
		}
	}
}

// Everything that fails leaves no complete archive behind.
func TestAddressFails(t *testing.T) {
	archive := nartest.Tree(nartest.Dir{"f": nartest.File("x" + rulestest.HashA), "g": nartest.Exec(golden(t, "A", "lld-arm64"))})
	for cut := range archive {
		if cut > 300 && cut%997 != 0 && cut < len(archive)-40 {
			continue
		}
		for m := range Modulo(len(moduloNames)) {
			c := configOf(m, rulestest.HashA)
			if a, err := c.Run(io.Discard, bytes.NewReader(archive[:cut]), int64(cut)); a != nil || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%s, cut at %d: got %v, %v", m, cut, a, err)
			}
		}
	}
	for name, c := range map[string]Config{
		"no name":            {StoreDir: dir, Self: rulestest.HashA},
		"no hash":            {StoreDir: dir, Self: "x"},
		"a path":             {StoreDir: dir, Self: dir + "/" + rulestest.HashA + "-x"},
		"no store directory": {Self: rulestest.HashA + "-x"},
		"bad reference":      {StoreDir: dir, Self: rulestest.HashA + "-x", References: []string{"y"}},
	} {
		if _, err := c.Run(io.Discard, bytes.NewReader(archive), int64(len(archive))); err == nil || !strings.HasPrefix(err.Error(), "address: ") {
			t.Errorf("%s: got error %v", name, err)
		}
	}

	var out bytes.Buffer
	changing := &changingInput{in: archive, at: int64(bytes.Index(archive, []byte("x"+rulestest.HashA))), limit: 3 * int64(len(archive)) / 2}
	c := configOf(ModuloNix, rulestest.HashA)
	_, err := c.Run(&out, changing, int64(len(archive)))
	if err == nil || !strings.Contains(err.Error(), "changed while it was read") {
		t.Errorf("a changing input: got error %v", err)
	}
	if out.Len() >= len(archive) {
		t.Errorf("a changing input gave all of an archive")
	}

	export := append(make([]byte, 8), archive...)
	export[0] = 1
	c = configOf(ModuloNix, rulestest.HashA)
	if _, err := c.Run(io.Discard, bytes.NewReader(export), int64(len(export))); err == nil || !strings.Contains(err.Error(), "export stream") {
		t.Errorf("an export stream: got error %v", err)
	}

	// Whatever the new hash is, one of these would have to move.
	names := nartest.Dir{"n" + rulestest.HashA: nartest.File("")}
	for _, c := range storepath.HashAlphabet {
		names["n"+string(c)+"a"] = nartest.File("")
		names["n"+string(c)+"z"] = nartest.File("")
	}
	archive = nartest.Tree(names)
	for m := range Modulo(len(moduloNames)) {
		c := configOf(m, rulestest.HashA)
		_, err := c.Run(io.Discard, bytes.NewReader(archive), int64(len(archive)))
		if err == nil || !strings.Contains(err.Error(), "would change places") {
			t.Errorf("%s: a renamed entry: got error %v", m, err)
		}
	}
}

// changingInput has another byte at this offset after so many bytes were read.
type changingInput struct {
	in              []byte
	at, read, limit int64
}

func (c *changingInput) ReadAt(p []byte, off int64) (int, error) {
	n, err := bytes.NewReader(c.in).ReadAt(p, off)
	c.read += int64(n)
	if c.read > c.limit && off <= c.at && c.at < off+int64(n) {
		p[c.at-off]++
	}
	return n, err
}

// An image that nobody can seal again is not passed on.
func TestAddressOfCertificate(t *testing.T) {
	as := strings.Repeat("a", storepath.HashLen)
	tried := 0
	for _, image := range machotest.Matrix(as) {
		if !image.CMS {
			continue
		}
		tried++
		archive := nartest.Tree(nartest.Exec(image.Data))
		for m := range Modulo(len(moduloNames)) {
			c := configOf(m, as)
			var seal *filter.SignatureError
			if _, err := c.Run(io.Discard, bytes.NewReader(archive), int64(len(archive))); !errors.As(err, &seal) {
				t.Errorf("%s, %s: got error %v", image.Name, m, err)
			}
			// Untouched, it is whole.
			a, out := addressed(t, configOf(m, rulestest.HashA), archive)
			if !bytes.Equal(out, archive) || a.Result.Invalid > 0 {
				t.Errorf("%s, %s: an untouched image was changed", image.Name, m)
			}
		}
	}
	if tried == 0 {
		t.Error("no image with a certificate")
	}
}

// Every form of signature: a fixed point, the same from both hashes.
func TestAddressOfMatrix(t *testing.T) {
	as, bs := strings.Repeat("a", storepath.HashLen), strings.Repeat("b", storepath.HashLen)
	others := machotest.Matrix(bs)
	for i, image := range machotest.Matrix(as) {
		if image.CMS || image.Name == "bundle" || image.Name == "bundle-with-section" {
			continue
		}
		fromA, outA := addressed(t, configOf(ModuloSignatures, as), nartest.Tree(nartest.Exec(image.Data)))
		fromB, outB := addressed(t, configOf(ModuloSignatures, bs), nartest.Tree(nartest.Exec(others[i].Data)))
		if fromA.Path != fromB.Path || !bytes.Equal(outA, outB) {
			t.Errorf("%s: %s from A, %s from B", image.Name, fromA.Path, fromB.Path)
		}
		again, outAgain := addressed(t, configOf(ModuloSignatures, filepath.Base(fromA.Path)[:storepath.HashLen]), outA)
		if again.Path != fromA.Path || !bytes.Equal(outAgain, outA) {
			t.Errorf("%s: %s becomes %s", image.Name, fromA.Path, again.Path)
		}
	}
}

var caPattern = regexp.MustCompile(`^fixed:r:sha256:[0-9a-df-np-sv-z]{52}$`)

func TestParseModulo(t *testing.T) {
	for m := range Modulo(len(moduloNames)) {
		if got, err := ParseModulo(m.String()); got != m || err != nil {
			t.Errorf("%s: %v, %v", m, got, err)
		}
	}
	for _, s := range []string{"", "Nix", "nix-2.35"} {
		if _, err := ParseModulo(s); err == nil || !strings.Contains(err.Error(), "want nix, nix-2.17, signatures") {
			t.Errorf("%q: got error %v", s, err)
		}
	}
	for m, want := range map[Modulo]string{-1: "Modulo(-1)", Modulo(len(moduloNames)): "Modulo(3)"} {
		if got := m.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if s := (nar.ContentAddress{}).String(); !caPattern.MatchString(s) {
		t.Errorf("address %q", s)
	}
}

func TestTail(t *testing.T) {
	for size := range 40 {
		for step := 1; step <= size+1; step++ {
			in := bytes.Repeat([]byte("0123456789"), 4)[:size]
			var out bytes.Buffer
			last := &tail{w: &out}
			for rest := in; len(rest) > 0; rest = rest[min(step, len(rest)):] {
				if n, err := last.Write(rest[:min(step, len(rest))]); n != min(step, len(rest)) || err != nil {
					t.Fatal(n, err)
				}
			}
			if out.Len() != max(0, size-tailSize) {
				t.Errorf("%d bytes, %d at a time: %d passed on", size, step, out.Len())
			}
			if err := last.release(); err != nil || !bytes.Equal(out.Bytes(), in) {
				t.Errorf("got %q, %v, want %q", out.Bytes(), err, in)
			}
		}
	}
}

// The offsets of an archive's own hash are kept, so their number is bounded.
func TestManyOwnHashes(t *testing.T) {
	own := strings.Repeat("a", 32)
	for found, ok := range map[int]bool{0: true, maxOwn - 1: true, maxOwn: false} {
		m, err := newModuloHash(ModuloNix, own)
		if err != nil {
			t.Fatal(err)
		}
		m.found = found
		if _, err := m.Write([]byte(own + strings.Repeat(" ", 1<<20))); (err == nil) != ok {
			t.Errorf("after %d: %v", found, err)
		}
	}
}
