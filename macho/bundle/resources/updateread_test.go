package resources

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"
)

// A requirement on a certificate, which may have the hash of one, stays as it is for code that a certificate signs. For code
// that is ad-hoc signed, whoever made it so, it becomes one on cdhashes.
func TestUpdateCertificate(t *testing.T) {
	hash := codeHashOf("ab")
	leaf := fmt.Sprintf(`identifier "org.nested" and certificate leaf = H"%x"`, codeHashOf("cd"))
	for _, test := range []struct {
		text   string
		adhoc  bool
		want   string
		failed bool
	}{
		{text: leaf, want: leaf}, {text: leaf, adhoc: true, want: fmt.Sprintf(`cdhash H"%x"`, hash)},
		{text: `identifier "org.nested" and anchor apple`, want: `identifier "org.nested" and anchor apple`},
		{text: `identifier "org.nested" and anchor apple`, adhoc: true, failed: true}, // no room
		{text: `identifier "org.nested" and anchor apple generic and info["x"] = "y"`, adhoc: true, want: `identifier "org.nested" and anchor apple generic and info["x"] = "y"`},
		{text: `identifier "org.nested" and cdhash "x"`, adhoc: true, want: `identifier "org.nested" and cdhash "x"`},
	} {
		list := dict{"files2": dict{"code": dict{"requirement": test.text}}, "rules2": dict{"^.*": true}}
		for format, encode := range formats {
			data := encode(list)
			u := &Update{All: true, Files: []File{{
				Path: "code", Sums: sums("code"), Hashes: []CodeHash{{hash, hash}}, Code: []Code{{CDHash: hash[:], Identifier: "org.nested", AdHoc: test.adhoc}},
			}}}
			_, err := u.Apply(data)
			if (err != nil) != test.failed {
				t.Errorf("%s, %s: %v", test.text, format, err)
			}
			if err != nil {
				continue
			}
			got := decoded(t, data).(map[string]any)["files2"].(map[string]any)["code"].(map[string]any)["requirement"].(string)
			if strings.TrimRight(got, " ") != test.want || len(got) != len(test.text) {
				t.Errorf("%s, %s: now %s", test.text, format, got)
			}
		}
	}
}

// An update tells what a comparison reads: neither the key cdhash, nor files beside files2.
func TestUpdateReads(t *testing.T) {
	old, now := codeHashOf("aa"), codeHashOf("bb")
	code := func(cdhash, required [20]byte) dict {
		return dict{"cdhash": cdhash[:], "requirement": fmt.Sprintf(`cdhash H"%x"`, required)}
	}
	rules := dict{"^.*": true}
	for _, test := range []struct {
		name string
		list dict
		want map[string]bool
	}{
		{"nothing", dict{"files2": dict{"code": code(now, now), "a": dict{"hash": sums("a").SHA1[:]}}, "rules2": rules}, map[string]bool{}},
		{"cdhash", dict{"files2": dict{"code": code(old, now)}, "rules2": rules}, map[string]bool{"code": false}},
		{"the requirement", dict{"files2": dict{"code": code(now, old)}, "rules2": rules}, map[string]bool{"code": true}},
		{"both", dict{"files2": dict{"code": code(old, old)}, "rules2": rules}, map[string]bool{"code": true}},
		{"files", dict{"files": dict{"a": sums("b").SHA1[:]}, "rules": rules, "files2": dict{}, "rules2": rules}, map[string]bool{"a": false}},
		{"files only", dict{"files": dict{"a": sums("b").SHA1[:]}, "rules": rules}, map[string]bool{"a": true}},
		{"files and files2", dict{"files": dict{"a": sums("b").SHA1[:]}, "files2": dict{"a": dict{"hash": sums("c").SHA1[:]}}, "rules2": rules}, map[string]bool{"a": true}},
	} {
		for format, encode := range formats {
			data := encode(test.list)
			u := &Update{All: true, Files: []File{{Path: "a", Sums: sums("a")}, {
				Path: "code", Sums: sums("code"), Hashes: []CodeHash{{now, now}}, Code: []Code{{CDHash: now[:], AdHoc: true}},
			}}}
			before := bytes.Clone(data)
			changed, err := u.Apply(data)
			if err != nil || !maps.Equal(changed, test.want) || bytes.Equal(before, data) != (len(test.want) == 0) {
				t.Errorf("%s, %s: %v, %v, want %v", test.name, format, changed, err, test.want)
			}
		}
	}
}

// A requirement that the code meets stays as it is, also if it names other hashes that nobody can tell apart.
func TestUpdateMet(t *testing.T) {
	first, second, a, b := codeHashOf("aa"), codeHashOf("bb"), codeHashOf("cc"), codeHashOf("dd")
	text := fmt.Sprintf(`cdhash H"%x" or cdhash H"%x" or cdhash H"%x"`, a, second, b)
	list := dict{"files2": dict{"code": dict{"requirement": text, "cdhash": first[:]}, "f": dict{"hash": sums("g").SHA1[:]}}, "rules2": dict{"^.*": true}}
	for format, encode := range formats {
		data := encode(list)
		u := &Update{All: true, Files: []File{{
			Path: "code", Sums: sums("code"), Hashes: []CodeHash{{first, first}, {second, second}}, Code: []Code{{CDHash: second[:], AdHoc: true}},
		}, {Path: "f", Sums: sums("f")}}}
		changed, err := u.Apply(data)
		if err != nil || !maps.Equal(changed, map[string]bool{"f": true}) {
			t.Errorf("%s: %v, %v", format, changed, err)
		}
	}
}
