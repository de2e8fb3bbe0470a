package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"narseal/macho/machotest"
	"narseal/nar/compression"
	"narseal/nar/nartest"
)

// TestKernelRules verifies and repairs images that break one rule of the kernel each, and images that just satisfy it:
// verify ends with 3 and names the rule, and no repair ends with 0 on what the kernel refuses.
func TestKernelRules(t *testing.T) {
	for _, c := range machotest.Rules() {
		t.Run(c.Rule+"/"+c.Name, func(t *testing.T) {
			want := statusDone
			if c.Breaks {
				want = statusInvalid
			}
			breaks := c.Breaks
			check := func(what string, o outcome) {
				t.Helper()
				if o.status != want || strings.Contains(o.stdout+o.stderr, c.Rule+": ") != breaks {
					t.Errorf("%s: status %d, want %d:\n%s%s", what, o.status, want, o.stdout, o.stderr)
				}
			}
			name := filepath.Join(t.TempDir(), "image")
			damaged := bytes.Clone(c.Data)
			if at := damageable(c); at > 0 {
				damaged[at] ^= 1
			}
			writeFile(t, name, c.Data)
			check("verify", invoke(nil, "verify", name))
			check("verify, JSON", invoke(nil, "verify", "--format", "json", name))
			check("verify, annotations", invoke(nil, "verify", "--format", "github", name))
			if c.Name == "certificate and none" {
				want, breaks = statusDone, false // --on-cms adhoc makes both ad-hoc
			}
			for state, data := range map[string][]byte{"intact": c.Data, "damaged": damaged} {
				writeFile(t, name, data)
				check(state+", repair --in-place", invoke(nil, "repair", "--in-place", "--on-cms", "adhoc", name))
				check(state+", verify after that", invoke(nil, "verify", name))
				if state == "intact" {
					continue
				}

				archive := nartest.Tree(nartest.Dir{"x": nartest.Exec(data)})
				o := invoke(bytes.NewReader(archive), "repair", "--on-cms", "adhoc")
				repaired := o.stdout
				o.stdout = ""
				check("repair", o)
				check("verify after that", invoke(strings.NewReader(repaired), "verify"))

				if !c.Breaks {
					continue // what is said of archives goes for caches
				}
				cache := t.TempDir()
				writeMember(t, cache, strings.Repeat("1", 32)+"-x", archive, compression.None, nil)
				check("cache repair", invoke(nil, "cache", "repair", "--on-cms", "adhoc", cache))
				check("cache verify after that", invoke(nil, "cache", "verify", cache))
				// A second run passes over what the first one finished.
				check("cache repair again", invoke(nil, "cache", "repair", "--on-cms", "adhoc", cache))
			}
		})
	}
}

// damageable returns a place in the code of the first slice, or 0 if a conversion to ad-hoc would repair more than the
// damage.
func damageable(c machotest.RuleCase) int {
	if c.Rule == "same-signer" || c.Name == "two limits" {
		return 0
	}
	return max(0, bytes.Index(c.Data, []byte("\xcf\xfa\xed\xfe"))) + 3000
}

// TestKernelWarnings checks that what only some versions refuse is shown in every format, and is status 0.
func TestKernelWarnings(t *testing.T) {
	short, _ := machotest.Image{CodeSize: 4096, Directories: []machotest.Directory{{Version: 0x20001, HashType: 1, PageShift: 12, Identifier: "x"}}}.Build()
	misplaced, _ := machotest.Image{FileType: 6, Linkedit: [2]int{0, 1}, Directories: []machotest.Directory{{PageShift: 12}}}.Build()
	dir := nartest.Restore(t, nartest.Tree(nartest.Dir{"short": nartest.Exec(short), "misplaced": nartest.Exec(misplaced)}))
	for _, want := range []string{"CodeDirectory 0x0 has 66 bytes", "is not inside __LINKEDIT"} {
		for _, format := range []string{"text", "json", "github"} {
			o := invoke(nil, "verify", "--format", format, dir)
			mark := map[string]string{"text": "\n  warning: ", "json": `"warnings":["`, "github": "::warning "}[format]
			if o.status != statusDone || !strings.Contains(o.stdout, want) || strings.Count(o.stdout, mark) != 2 || strings.Contains(o.stdout, "::error") {
				t.Errorf("%s: status %d:\n%s%s", format, o.status, o.stdout, o.stderr)
			}
		}
		if page := htmlReport(t, 0, dir); !strings.Contains(page, "Warning: ") || !strings.Contains(page, want) {
			t.Errorf("the HTML report does not have %q", want)
		}
	}
	// A repair changes nothing about it.
	if o := invoke(nil, "repair", "--in-place", dir); o.status != statusDone || o.stderr != "" {
		t.Errorf("repair --in-place: status %d: %s", o.status, o.stderr)
	}
}

// TestManySlices verifies fat files of as many slices as the kernel takes, alone and in archives, and Java classes, which
// begin with the same bytes.
func TestManySlices(t *testing.T) {
	small, layout := machotest.Image{CodeSize: 8192, CPU: cpuARM64, Directories: []machotest.Directory{{PageShift: 12}}}.Build()
	damaged := bytes.Clone(small)
	damaged[layout.Directories[0].Hashes] ^= 1
	fat := func(n int, last []byte) []byte {
		all := make([]machotest.Slice, n)
		for i := range all {
			all[i] = machotest.Slice{CPU: 7, Sub: uint32(i), Data: []byte("!<arch>\n")}
		}
		all[n-1] = machotest.Slice{CPU: cpuARM64, Data: last}
		return machotest.Fat(false, false, all...)
	}
	class := func(major byte) []byte {
		return append([]byte{0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, major, 0, 200, 7}, bytes.Repeat([]byte("\x00\x02\x01\x00\x10java/lang/Object\x0a"), 3000)...)
	}
	for _, test := range []struct {
		name   string
		data   []byte
		status int
		line   string
	}{
		{"42 slices", fat(42, small), statusDone, "1 signed image, 42 slices;"},
		{"43 slices", fat(43, small), statusDone, "1 signed image, 43 slices;"},
		{"43 slices, damaged", fat(43, damaged), statusInvalid, "1 invalid signature"},
		{"818 slices, damaged", fat(818, damaged), statusInvalid, "1 invalid signature"},
		{"819 slices", fat(819, damaged), statusDone, "no signature"},
		{"Java 1.1", class(45), statusDone, "no signature"},
		{"Java 8", class(52), statusDone, "no signature"},
		{"Java 25", class(69), statusDone, "no signature"},
	} {
		archive := nartest.Tree(nartest.Dir{"x": nartest.File(test.data)})
		dir := nartest.Restore(t, archive)
		for what, o := range map[string]outcome{
			"archive": invoke(bytes.NewReader(archive), "verify"), "directory": invoke(nil, "verify", dir),
		} {
			if o.status != test.status || !strings.Contains(o.stdout, test.line) {
				t.Errorf("%s, %s: status %d, want %d and %q:\n%s%s", test.name, what, o.status, test.status, test.line, o.stdout, o.stderr)
			}
		}
		o := invoke(bytes.NewReader(archive), "repair")
		if o.status != statusDone || (o.stdout != string(archive)) != (test.status == statusInvalid) {
			t.Errorf("%s: repair: status %d: %s", test.name, o.status, o.stderr)
		}
	}
}
