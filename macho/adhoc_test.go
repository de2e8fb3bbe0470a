package macho_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"narseal/macho"
)

// TestCMS checks that a touched image that is signed by a certificate is reported and not changed, and that an intact
// one is valid whatever the policy.
func TestCMS(t *testing.T) {
	c := matrixCase(t, "cms")
	rewritten, touched := rewrite(c.Data, hashA, hashB)
	for _, policy := range []macho.CMSPolicy{macho.CMSFail, macho.CMSKeep, macho.CMSAdhoc} {
		intact := bytes.Clone(c.Data)
		report, err := macho.Config{OnCMS: policy}.Repair(macho.Bytes(intact))
		if err != nil {
			t.Fatal(err)
		}
		if s := report.Slices[0]; s.Status != macho.StatusValid || s.Signature != "cms" || !bytes.Equal(intact, c.Data) {
			t.Errorf("policy %d: intact image: status %s, signature %s", policy, s.Status, s.Signature)
		}
		if policy == macho.CMSAdhoc {
			continue
		}
		for _, ranges := range [][]macho.Range{nil, touched} {
			got := bytes.Clone(rewritten)
			report, err := repair(macho.Config{OnCMS: policy}, macho.Bytes(got), ranges)
			if err != nil {
				t.Fatal(err)
			}
			if s := report.Slices[0]; s.Status != macho.StatusCMS || s.Reason == "" || len(s.CodeDirectories[0].Stale) == 0 {
				t.Errorf("policy %d: status %s (%s), want cms", policy, s.Status, s.Reason)
			}
			if !bytes.Equal(got, rewritten) {
				t.Errorf("policy %d: the image was written to", policy)
			}
		}
	}
	if s := mustVerify(t, macho.Bytes(rewritten)).Slices[0]; s.Status != macho.StatusCMS {
		t.Errorf("Verify says %s, want cms", s.Status)
	}
}

// TestCMSTouched touches bytes that only the certificate protects: no slot covers the CodeDirectory or the CMS blob
// itself.
func TestCMSTouched(t *testing.T) {
	c := matrixCase(t, "cms")
	l := c.Layouts[0]
	for name, at := range map[string]int64{"identifier": l.Blobs[0] + 90, "CMS": l.Blobs[0x10000] + 100} {
		got := bytes.Clone(c.Data)
		report, err := macho.RepairTouched(macho.Bytes(got), []macho.Range{{Off: at, Len: 4}})
		if err != nil {
			t.Fatal(err)
		}
		if s := report.Slices[0]; s.Status != macho.StatusCMS {
			t.Errorf("%s touched: status %s, want cms", name, s.Status)
		}
	}
	// Nothing covers the padding after the SuperBlob.
	report, err := macho.RepairTouched(macho.Bytes(c.Data), []macho.Range{{Off: int64(len(c.Data)) - 3, Len: 3}})
	if err != nil {
		t.Fatal(err)
	}
	if s := report.Slices[0]; s.Status != macho.StatusValid {
		t.Errorf("padding touched: status %s, want valid", s.Status)
	}
}

// TestAdhoc replaces a signature by a certificate with an ad-hoc one, and checks each field that may change. No other
// byte may change.
func TestAdhoc(t *testing.T) {
	c := matrixCase(t, "cms")
	l := c.Layouts[0]
	rewritten, touched := rewrite(c.Data, hashA, hashB)
	for name, ranges := range map[string][]macho.Range{"touched": touched, "all": nil} {
		for view, image := range views {
			got := bytes.Clone(rewritten)
			report, err := repair(macho.Config{OnCMS: macho.CMSAdhoc}, image(got), ranges)
			if err != nil {
				t.Fatal(err)
			}
			if s := report.Slices[0]; s.Status != macho.StatusRepaired || s.Signature != "adhoc" || s.Reason == "" {
				t.Errorf("%s, %s: status %s, signature %s (%s), want repaired and adhoc", name, view, s.Status, s.Signature, s.Reason)
			}
			after := mustVerify(t, image(got))
			if s := after.Slices[0]; s.Status != macho.StatusValid || s.Signature != "adhoc" {
				t.Errorf("%s, %s: afterwards status %s, signature %s (%s)", name, view, s.Status, s.Signature, s.Reason)
			}

			be := binary.BigEndian
			cms := got[l.Blobs[0x10000]:]
			if be.Uint32(cms) != 0xfade0b01 || be.Uint32(cms[4:]) != 8 || len(bytes.Trim(cms[8:8+2400], "\x00")) > 0 {
				t.Errorf("CMS blob begins with %x, want an empty one", cms[:16])
			}
			if req := got[l.Blobs[2]:]; be.Uint32(req[4:]) != 12 || be.Uint32(req[8:]) != 0 {
				t.Errorf("requirements begin with %x, want none", req[:12])
			}
			for _, d := range l.Directories {
				cd := got[l.Blobs[d.Slot]:]
				// Before: 0x10f00 and 0x12f00. After: adhoc set, check-expiration and require-lv cleared.
				if flags := be.Uint32(cd[12:]); flags != 0x10b02 {
					t.Errorf("CodeDirectory %#x has flags %#x, want 0x10b02", d.Slot, flags)
				}
				if cd[38] != 0 || be.Uint32(cd[48:]) != 0 {
					t.Errorf("CodeDirectory %#x has platform %d and team offset %d, want none", d.Slot, cd[38], be.Uint32(cd[48:]))
				}
			}

			// Restore what may change; the rest must be the same.
			for _, d := range l.Directories {
				at := l.Blobs[d.Slot]
				for _, r := range [][2]int64{{12, 4}, {38, 1}, {48, 4}} {
					copy(got[at+r[0]:][:r[1]], rewritten[at+r[0]:])
				}
				from := d.Hashes - 7*d.HashSize
				copy(got[from:d.Hashes+int64(len(d.Pages))*d.HashSize], rewritten[from:])
			}
			for slot, n := range map[uint32]int{0x10000: 2408, 2: 200} {
				at := l.Blobs[slot]
				n = min(n, int(be.Uint32(rewritten[at+4:])))
				copy(got[at:][:n], rewritten[at:])
			}
			if !bytes.Equal(got, rewritten) {
				t.Errorf("%s, %s: other bytes have changed", name, view)
			}
			if len(got) != len(c.Data) {
				t.Errorf("length %d, want %d", len(got), len(c.Data))
			}
		}
	}
}
