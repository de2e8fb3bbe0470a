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
			check := func(what string, o outcome) {
				t.Helper()
				if o.status != want || strings.Contains(o.stdout+o.stderr, c.Rule+": ") != c.Breaks {
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

				cache := t.TempDir()
				writeMember(t, cache, strings.Repeat("1", 32)+"-x", archive, compression.None, nil)
				o = invoke(nil, "cache", "repair", "--on-cms", "adhoc", cache)
				if !c.Breaks {
					o.stderr = "" // the path is not signed
				}
				check("cache repair", o)
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
