package macho

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"narseal/macho/internal/audit"
	"narseal/macho/machotest"
)

// brokenRules returns the rules that the slices of an image break, by checkRules and by the audit, and whether the
// signatures of all signed slices are well-formed.
func brokenRules(t *testing.T, image Image) (checked, audited string, ok bool) {
	t.Helper()
	src := newWindow(image)
	all, err := parseContainer(src)
	if err != nil {
		t.Fatal(err)
	}
	var jobs []*sliceJob
	var offsets []int64
	names := map[string]bool{}
	for _, s := range all {
		if err := s.readHeader(src, false); err != nil {
			t.Fatal(err)
		}
		if !s.signed() {
			continue
		}
		g, err := s.readSignature(src)
		if err != nil {
			t.Fatal(err)
		}
		if s.refuse(g) != nil || g.unknownHash() != nil {
			return "", "", false
		}
		jobs = append(jobs, &sliceJob{slice: s, sig: g, out: &Slice{}})
		offsets = append(offsets, s.off)
		if v := s.checkRules(g); v != nil {
			names[v.name] = true
		}
	}
	if v := checkTogether(all, jobs); v != nil {
		names[v.name] = true
	}
	audited, err = audit.Rules(image, offsets)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), " "), audited, len(jobs) > 0
}

// TestRulesAlone checks that each image breaks its rule and no other, and that the audit, which shares no code with the
// check, says the same.
func TestRulesAlone(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range machotest.Rules() {
		want := ""
		if c.Breaks {
			want, seen[c.Rule] = c.Rule, true
		}
		if checked, audited, ok := brokenRules(t, Bytes(c.Data)); !ok || checked != want || audited != want {
			t.Errorf("%s, %s: the check says %q and the audit %q, want %q", c.Rule, c.Name, checked, audited, want)
		}
	}
	for _, r := range rules {
		if !seen[r.name] {
			t.Errorf("no image breaks %s", r.name)
		}
	}
}

// TestRulesAgree changes one field of the load commands or the signature of an image at a time. Of what is well-formed,
// the check and the audit must refuse the same, Verify must call nothing valid that they refuse, and a repair must not make
// an image that they refuse of one that they accept.
func TestRulesAgree(t *testing.T) {
	var images [][]byte
	for _, c := range machotest.Rules() {
		images = append(images, c.Data)
	}
	for _, c := range machotest.Matrix("0123456789abcdfghijklmnpqrsvwxyz") {
		if len(c.Data) < 100<<10 {
			images = append(images, c.Data)
		}
	}
	n := 20_000
	if testing.Short() || raceEnabled { // scripts/test runs it without the race detector, too
		n = 4_000
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	counts := map[string]int{}
	values := []uint32{0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 16, 20, 32, 48, 4096, 16384, 20_000, 0x1000, 0x1004, 0x1005, 0x10000, 0x20001, 0x20200, 0x20300, 0x20600}
	for range n {
		data := bytes.Clone(images[rnd.IntN(len(images))])
		// Most fields are at the start of the file, of a slice, or of a CodeDirectory.
		starts := []int{0, len(data) - 1000}
		for _, magic := range []string{"\xfa\xde\x0c\x02", "\xfa\xde\x0c\xc0", "\xcf\xfa\xed\xfe"} {
			for at := 0; ; at++ {
				i := bytes.Index(data[at:], []byte(magic))
				if i < 0 {
					break
				}
				at += i
				starts = append(starts, at)
			}
		}
		at := max(0, starts[rnd.IntN(len(starts))]) + rnd.IntN(128)
		if at+4 > len(data) {
			continue
		}
		switch rnd.IntN(4) {
		case 0:
			data[at] = byte(values[rnd.IntN(len(values))])
		case 1:
			data[at] ^= 1 << rnd.IntN(8)
		case 2:
			binary.BigEndian.PutUint32(data[at&^3:], values[rnd.IntN(len(values))])
		case 3:
			binary.LittleEndian.PutUint32(data[at&^3:], values[rnd.IntN(len(values))])
		}
		checked, audited, ok := brokenRules(t, Bytes(data))
		if !ok {
			counts["malformed, unsupported or unsigned"]++
			continue
		}
		if (checked == "") != (audited == "") { // the first rule that each finds may differ
			t.Errorf("a change at %d: the check says %q, the audit %q", at, checked, audited)
		}
		report, err := Verify(Bytes(data))
		if err != nil {
			t.Fatal(err)
		}
		refused := slices.ContainsFunc(report.Slices, func(s Slice) bool { return s.Status == StatusRefused })
		if audited != "" && report.OK() || audited == "" && refused {
			t.Errorf("a change at %d: the audit says %q, Verify %+v", at, audited, report.Slices)
		}
		if audited == "" {
			counts[repairAccepted(t, data)]++
		}
		counts[fmt.Sprintf("rule %q", audited)]++
	}
	if counts["repaired"] == 0 || counts["made ad-hoc"] == 0 {
		t.Errorf("%d images were repaired, %d made ad-hoc", counts["repaired"], counts["made ad-hoc"])
	}
	for class, count := range counts {
		t.Logf("%6d %s", count, class)
	}
	for _, r := range rules {
		if counts[fmt.Sprintf("rule %q", r.name)] == 0 {
			t.Errorf("no change breaks %s", r.name)
		}
	}
}

// repairAccepted repairs all of an image that the rules accept, and checks that the audit accepts what becomes of it. It
// returns what that was.
func repairAccepted(t *testing.T, data []byte) string {
	t.Helper()
	report, err := Config{OnCMS: CMSAdhoc}.Repair(Bytes(data))
	if err != nil {
		t.Error(err)
		return "error"
	}
	class := "not stale"
	for _, s := range report.Slices {
		switch {
		case s.Status == StatusRefused:
			t.Errorf("repaired, slice %s at %d is refused: %s", s.Arch, s.Offset, s.Reason)
		case s.Status == StatusRepaired && s.Reason != "":
			class = "made ad-hoc"
		case s.Status == StatusRepaired && class == "not stale":
			class = "repaired"
		}
	}
	if _, audited, ok := brokenRules(t, Bytes(data)); !ok || audited != "" {
		t.Errorf("repaired, the image breaks %q (well-formed: %v)", audited, ok)
	}
	return class
}

// TestRepairedIsAccepted damages images that the rules accept, and checks that the audit, by code of its own, accepts what
// a repair makes of them.
func TestRepairedIsAccepted(t *testing.T) {
	images := map[string][]byte{}
	for _, c := range machotest.Rules() {
		images[c.Rule+", "+c.Name] = c.Data
	}
	for _, c := range machotest.Matrix("0123456789abcdfghijklmnpqrsvwxyz") {
		images[c.Name] = c.Data
	}
	counts := map[string]int{}
	for name, data := range images {
		if _, audited, ok := brokenRules(t, Bytes(data)); !ok || audited != "" {
			continue
		}
		// Everything that a hash covers and that no rule is about: the code of each slice.
		data = bytes.Clone(data)
		src := newWindow(Bytes(data))
		all, err := parseContainer(src)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range all {
			if err := s.readHeader(src, false); err != nil {
				t.Fatal(err)
			}
			if s.signed() {
				data[s.off+s.commands.sigOff-1] ^= 1
			}
		}
		class := repairAccepted(t, data)
		if t.Failed() {
			t.Fatalf("%s: %s", name, class)
		}
		counts[class]++
	}
	if counts["repaired"] < 50 || counts["made ad-hoc"] < 2 {
		t.Errorf("%v", counts)
	}
}

// TestRulesDocument compares the table of the documentation with the rules.
func TestRulesDocument(t *testing.T) {
	doc, err := os.ReadFile("../docs/kernel-rules.md")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(doc)) {
		if strings.HasPrefix(line, "| `") {
			cells := strings.Split(line, "|")
			got = append(got, fmt.Sprintf("%s %s %s %s", strings.Trim(cells[1], " `"), strings.Trim(cells[3], " `"), strings.Trim(cells[4], " `"), strings.TrimSpace(cells[5])))
		}
	}
	var want []string
	for _, r := range rules {
		want = append(want, fmt.Sprintf("%s %s %s %s", r.name, r.function, r.file, r.since))
	}
	if !slices.Equal(got, want) {
		t.Errorf("the table has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
