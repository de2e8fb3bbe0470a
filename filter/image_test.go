package filter_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"narseal/filter"
	"narseal/filter/rules"
	"narseal/filter/spill"
	"narseal/macho"
	"narseal/macho/machotest"
	"narseal/nar"
	"narseal/nar/nartest"
)

var (
	oldHash, newHash = hashOf('c'), hashOf('d')
	elsewhere        = rules.Rule{From: hashOf('f'), To: hashOf('g')} // matches nothing
	theRule          = rules.Rule{From: oldHash, To: newHash}
)

// imageRun is what a run made of one image.
type imageRun struct {
	image      []byte // nil if the archive is not complete
	res        filter.Result
	signatures []filter.Signature
	invalid    []filter.Signature
	err        error
}

func runImage(t *testing.T, c filter.Config, rule rules.Rule, image []byte) (r imageRun) {
	t.Helper()
	c.Rules = compile(t, rule)
	c.Observer.Signature = func(s filter.Signature) { r.signatures = append(r.signatures, s) }
	c.Observer.Invalid = func(s filter.Signature) { r.invalid = append(r.invalid, s) }
	var out bytes.Buffer
	r.res, r.err = c.Run(nar.NewWriter(&out), nar.NewReader(bytes.NewReader(nartest.Tree(nartest.Dir{"x": nartest.Exec(image)}))))
	in := nar.NewReader(&out)
	for {
		e, err := in.Next()
		if err != nil {
			if err != io.EOF {
				r.image = nil
			}
			if (err == io.EOF) != (r.err == nil) {
				t.Fatalf("the run ended with %v, reading the output with %v", r.err, err)
			}
			return r
		}
		if e.Type == nar.TypeRegular {
			if r.image, err = io.ReadAll(in); err != nil && r.err == nil {
				t.Fatal(err)
			}
		}
	}
}

// status wants one slice with this status.
func (r imageRun) status(t *testing.T, want ...macho.Status) {
	t.Helper()
	var got []macho.Status
	for _, s := range r.signatures {
		if s.Path.String() != "/x" {
			t.Errorf("path %q, want /x", s.Path)
		}
		got = append(got, s.Status)
	}
	if len(got) != len(want) {
		t.Fatalf("statuses %q, want %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("statuses %q, want %q", got, want)
		}
	}
}

// passes wants the image to be passed on like this, with so many slices that
// do not hold.
func (r imageRun) passes(t *testing.T, image []byte, invalid int64) {
	t.Helper()
	if r.err != nil {
		t.Fatal(r.err)
	}
	if !bytes.Equal(r.image, image) {
		t.Error("another image comes out than what is wanted")
	}
	if r.res.Invalid != invalid || int64(len(r.invalid)) != invalid {
		t.Errorf("%d invalid slices counted and %d reported, want %d", r.res.Invalid, len(r.invalid), invalid)
	}
}

// refuses wants the run to end before the archive is complete.
func (r imageRun) refuses(t *testing.T, status macho.Status) {
	t.Helper()
	var e *filter.SignatureError
	if !errors.As(r.err, &e) {
		t.Fatalf("got error %v, want a SealError", r.err)
	}
	if e.Path.String() != "/x" || e.Slice.Status != status {
		t.Errorf("error about %q, %s, want /x, %s", e.Path, e.Slice.Status, status)
	}
}

// plainImage is an image with the hash at a few places, of which the first
// page holds none.
func plainImage(hash string, dirs ...machotest.Directory) ([]byte, *machotest.Layout) {
	if dirs == nil {
		dirs = []machotest.Directory{{PageShift: 12}}
	}
	return machotest.Image{CodeSize: 40_000, Text: []byte("/nix/store/" + hash + "-x"), Directories: dirs}.Build()
}

// damaged is a copy in which a byte is inverted.
func damaged(b []byte, at int64) []byte {
	b = bytes.Clone(b)
	b[at] ^= 0xff
	return b
}

// rewritten is what the rule makes of the bytes, signatures aside.
func rewritten(b []byte) []byte { return bytes.ReplaceAll(b, []byte(oldHash), []byte(newHash)) }

// untouchedPlace lies in a page without the hash.
func untouchedPlace(t *testing.T, image []byte, l *machotest.Layout) int64 {
	t.Helper()
	for _, p := range l.Directories[0].Pages {
		page := image[l.Offset+p.From : l.Offset+p.To]
		if p.From > 0 && bytes.Equal(page, rewritten(page)) && !bytes.Contains(page, []byte(oldHash[:8])) {
			return l.Offset + p.From + 100
		}
	}
	t.Fatal("every page holds the hash")
	return 0
}

var allPolicies = []macho.CMSPolicy{macho.CMSFail, macho.CMSKeep, macho.CMSAdhoc}

func TestImageDamagedBefore(t *testing.T) {
	a, l := plainImage(oldHash)
	b, _ := plainImage(newHash)
	at := untouchedPlace(t, a, l)
	in := damaged(a, at)
	for _, policy := range allPolicies {
		// The slots of touched pages are renewed, the damaged page keeps its own.
		r := runImage(t, filter.Config{Signatures: filter.SignatureOptions{OnCMS: policy}}, theRule, in)
		r.passes(t, damaged(b, at), 1)
		r.status(t, macho.StatusStale)
		if r.invalid[0].Reason == "" {
			t.Error("no reason is given")
		}

		r = runImage(t, filter.Config{Signatures: filter.SignatureOptions{OnCMS: policy, Repair: filter.RepairAll}}, theRule, in)
		r.status(t, macho.StatusRepaired)
		r.passes(t, r.image, 0)
		if rep, err := macho.Verify(macho.Bytes(r.image)); err != nil || rep.Slices[0].Status != macho.StatusValid {
			t.Errorf("the image that came out: %v, %+v", err, rep)
		}
		if code := l.Signature; !bytes.Equal(r.image[:code], damaged(b, at)[:code]) {
			t.Error("more than the signature was changed")
		}

		r = runImage(t, filter.Config{Signatures: filter.SignatureOptions{OnCMS: policy, Repair: filter.RepairNone}}, theRule, in)
		r.passes(t, rewritten(in), 1)
		r = runImage(t, filter.Config{Signatures: filter.SignatureOptions{OnCMS: policy, Repair: filter.RepairNone, Verify: true}}, theRule, in)
		r.passes(t, rewritten(in), 1)
		r.status(t, macho.StatusStale)

		// Where the rules match nothing, the damage is nobody's business,
		// unless the run is asked to look.
		r = runImage(t, filter.Config{Signatures: filter.SignatureOptions{OnCMS: policy}}, elsewhere, in)
		r.passes(t, in, 0)
		r.status(t)
		r = runImage(t, filter.Config{Signatures: filter.SignatureOptions{OnCMS: policy, Verify: true}}, elsewhere, in)
		r.passes(t, in, 0)
		r.status(t, macho.StatusStale)
		r = runImage(t, filter.Config{Signatures: filter.SignatureOptions{OnCMS: policy, Repair: filter.RepairAll}}, elsewhere, in)
		r.passes(t, r.image, 0)
		r.status(t, macho.StatusRepaired)
	}
}

func cmsImage(t *testing.T) ([]byte, *machotest.Layout) {
	t.Helper()
	for _, c := range machotest.Matrix(oldHash) {
		if c.CMS && len(c.Layouts) == 1 {
			return c.Data, c.Layouts[0]
		}
	}
	t.Fatal("no image signed by a certificate")
	return nil, nil
}

func TestImageCertificate(t *testing.T) {
	a, l := cmsImage(t)
	for _, repair := range []filter.RepairMode{filter.RepairTouched, filter.RepairAll} {
		runImage(t, filter.Config{Signatures: filter.SignatureOptions{Repair: repair}}, theRule, a).refuses(t, macho.StatusCMS)

		r := runImage(t, filter.Config{Signatures: filter.SignatureOptions{Repair: repair, OnCMS: macho.CMSKeep}}, theRule, a)
		r.passes(t, rewritten(a), 1)
		r.status(t, macho.StatusCMS)

		r = runImage(t, filter.Config{Signatures: filter.SignatureOptions{Repair: repair, OnCMS: macho.CMSAdhoc}}, theRule, a)
		r.passes(t, r.image, 0)
		r.status(t, macho.StatusRepaired)
		if rep, err := macho.Verify(macho.Bytes(r.image)); err != nil || rep.Slices[0].Status != macho.StatusValid || rep.Slices[0].Signature != "adhoc" {
			t.Errorf("the image that came out: %v, %+v", err, rep)
		}
		for _, policy := range allPolicies {
			runImage(t, filter.Config{Signatures: filter.SignatureOptions{Repair: repair, OnCMS: policy}}, elsewhere, a).passes(t, a, 0)
		}
	}
	runImage(t, filter.Config{Signatures: filter.SignatureOptions{Repair: filter.RepairNone}}, theRule, a).passes(t, rewritten(a), 1)

	// Broken before, and not by the rules.
	broken := damaged(a, untouchedPlace(t, a, l))
	runImage(t, filter.Config{}, elsewhere, broken).passes(t, broken, 0)
	runImage(t, filter.Config{Signatures: filter.SignatureOptions{Repair: filter.RepairAll}}, elsewhere, broken).refuses(t, macho.StatusCMS)
	runImage(t, filter.Config{Signatures: filter.SignatureOptions{Repair: filter.RepairAll, OnCMS: macho.CMSKeep}}, elsewhere, broken).passes(t, broken, 1)
}

// Of a fat image only the slices that the rules touch can end the run.
func TestImageFat(t *testing.T) {
	adhoc, la := plainImage(oldHash)
	certified, lc := cmsImage(t)
	broken := damaged(certified, untouchedPlace(t, certified, lc))
	clean := bytes.ReplaceAll(broken, []byte(oldHash), []byte(hashOf('h'))) // not touched, and stale
	fat := func(second []byte) []byte {
		return machotest.Fat(false, false, machotest.Slice{CPU: 7, Data: adhoc, Layout: la}, machotest.Slice{CPU: 12, Data: second, Layout: lc})
	}
	in := fat(clean)
	want := bytes.Clone(in)
	b, _ := plainImage(newHash)
	copy(want[la.Offset:], b)
	r := runImage(t, filter.Config{}, theRule, in)
	r.passes(t, want, 2)
	// The kernel refuses slices of two signers, after the repair as before.
	r.status(t, macho.StatusRefused, macho.StatusCMS)

	runImage(t, filter.Config{}, theRule, fat(certified)).refuses(t, macho.StatusCMS)
}

// A touched image whose signature nobody can read, or compute, is not passed
// on unless that is asked for; an untouched one is.
func TestImageUnknown(t *testing.T) {
	one, l := plainImage(oldHash)
	unknown := bytes.Clone(one)
	unknown[l.Blobs[0]+37] = 9 // hash type
	two, l2 := plainImage(oldHash, machotest.Directory{PageShift: 12}, machotest.Directory{Slot: 0x1000, HashType: 1, PageShift: 12})
	oneOfTwo := bytes.Clone(two)
	oneOfTwo[l2.Blobs[0x1000]+37] = 9
	for name, test := range map[string]struct {
		in     []byte
		status macho.Status
	}{
		"hash type":           {unknown, macho.StatusUnsupported},
		"one of two":          {oneOfTwo, macho.StatusUnsupported},
		"magic":               {damaged(one, l.Signature), macho.StatusMalformed},
		"code slots":          {damaged(one, l.Blobs[0]+31), macho.StatusMalformed},
		"command":             {damaged(one, l.CommandsEnd-12), macho.StatusMalformed},
		"length of signature": {damaged(one, l.Signature+4), macho.StatusMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			in := test.in
			for _, repair := range []filter.RepairMode{filter.RepairTouched, filter.RepairAll} {
				for _, policy := range []macho.CMSPolicy{macho.CMSFail, macho.CMSAdhoc} {
					runImage(t, filter.Config{Signatures: filter.SignatureOptions{Repair: repair, OnCMS: policy}}, theRule, in).refuses(t, test.status)
				}
				r := runImage(t, filter.Config{Signatures: filter.SignatureOptions{Repair: repair, OnCMS: macho.CMSKeep}}, theRule, in)
				if r.err != nil || r.res.Invalid != 1 {
					t.Errorf("kept: %v, %d invalid", r.err, r.res.Invalid)
				}
				r.status(t, test.status)
			}
			runImage(t, filter.Config{Signatures: filter.SignatureOptions{Repair: filter.RepairNone}}, theRule, in).passes(t, rewritten(in), 1)
			runImage(t, filter.Config{}, elsewhere, in).passes(t, in, 0)
			runImage(t, filter.Config{Signatures: filter.SignatureOptions{Repair: filter.RepairAll}}, elsewhere, in).passes(t, in, 1)
		})
	}
}

// What carries no signature is nobody's business, and is not held either.
func TestImageUnsigned(t *testing.T) {
	one, l := plainImage(oldHash)
	unsigned := bytes.Clone(one)
	copy(unsigned[l.CommandsEnd-16:], []byte{0x26, 0, 0, 0}) // LC_FUNCTION_STARTS in place of LC_CODE_SIGNATURE
	for name, in := range map[string][]byte{
		"unsigned image": unsigned,
		"short":          one[:6],
		"class":          append([]byte{0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 65}, oldHash...),
		"archive":        append([]byte("!<arch>\n"), one...),
		"text":           []byte(oldHash),
	} {
		t.Run(name, func(t *testing.T) {
			r := runImage(t, filter.Config{Signatures: filter.SignatureOptions{Verify: true}, Spill: spill.Options{Memory: 1}}, theRule, in) // without Open, keeping it would fail
			r.passes(t, rewritten(in), 0)
			r.status(t)
		})
	}
}

// TestImageChangedHeader has the rules change where the signature is: an
// occurrence in UTF-16 lies over the offset and the size in the load command.
// What is passed on early must go by the new offset.
func TestImageChangedHeader(t *testing.T) {
	const at = 0x300030 // in UTF-16: 00; 0x7a0030 is 0z
	image, layout := machotest.Image{CodeSize: at, Directories: []machotest.Directory{{PageShift: 12}}}.Build()
	image = append(image, make([]byte, 2*at-len(image))...)
	from, to := "0z00"+strings.Repeat("a", 28), "0000"+strings.Repeat("a", 28)
	for i, c := range []byte(from) {
		copy(image[int(layout.CommandsEnd)-8+2*i:], []byte{c, 0})
	}
	for _, hold := range []int64{0, 1 << 20} {
		var made spillFiles
		c := filter.Config{Spill: spill.Options{Memory: hold, Open: made.new}}
		r := runImage(t, c, rules.Rule{From: from, To: to}, image)
		if r.err != nil || r.res.Replacements() != 1 {
			t.Fatalf("%d replacements, error %v", r.res.Replacements(), r.err)
		}
		r.status(t, macho.StatusRepaired)
		rep, err := macho.Verify(macho.Bytes(r.image))
		if err != nil || len(rep.Slices) != 1 || rep.Slices[0].Status != macho.StatusValid {
			t.Errorf("with %d bytes held the output is %+v, %v", hold, rep, err)
		}
	}
}
