package resources

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"howett.net/plist"
)

// codeHash returns a hash that begins with these digits.
func codeHashOf(digits string) (h [20]byte) {
	b, err := hex.DecodeString(digits + strings.Repeat("0", 40-len(digits)))
	if err != nil {
		panic(err)
	}
	return [20]byte(b)
}

// updatable returns a list and the files that it seals. Each has the contents of its entry in contents.
func updatable(contents map[string]string, code map[string][]CodeHash, adhoc bool) []File {
	var all []File
	for _, path := range slices.Sorted(maps.Keys(contents)) {
		all = append(all, File{Path: path, Sums: sums(contents[path])})
	}
	for _, path := range slices.Sorted(maps.Keys(code)) {
		all = append(all, File{Path: path, Sums: sums(path), Hashes: code[path], MadeAdhoc: adhoc, Touched: true})
	}
	return all
}

// decoded is a list as the library decodes it.
func decoded(t *testing.T, data []byte) any {
	t.Helper()
	var v any
	if _, err := plist.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// changes returns the paths of values in which two property lists differ.
func changes(at string, a, b any) []string {
	da, ok1 := a.(map[string]any)
	db, ok2 := b.(map[string]any)
	if !ok1 || !ok2 {
		if reflect.DeepEqual(a, b) {
			return nil
		}
		return []string{at}
	}
	var all []string
	for _, k := range slices.Sorted(maps.Keys(da)) {
		all = append(all, changes(at+"|"+k, da[k], db[k])...)
	}
	if len(da) != len(db) {
		all = append(all, at+" has other keys")
	}
	return all
}

// formats are the forms of a list, with one value for equal values or not.
var formats = map[string]func(value) []byte{"XML": xmlDocument, "binary": binaryOf}

// An update changes the digests of files that differ in all hash types and both tables, and nothing else.
func TestUpdate(t *testing.T) {
	all := func(s string) dict {
		return dict{"hash": sums(s).SHA1[:], "hash2": sums(s).SHA256[:], "hash3": sums(s).SHA256[:20], "hash4": sums(s).SHA384[:], "optional": true}
	}
	one, two := codeHashOf("11"), codeHashOf("22")
	v := dict{
		"files":  dict{"a & b": sums("a").SHA1[:], "b": dict{"hash": sums("b").SHA1[:], "optional": true}, "gone": sums("a").SHA1[:]},
		"files2": dict{"a & b": all("a"), "b": all("b"), "link": dict{"symlink": "b"}, "code": dict{"cdhash": one[:], "requirement": fmt.Sprintf(`cdhash H"%x" or cdhash H"%x"`, one, two)}},
		"rules":  dict{"^.*": true}, "rules2": dict{"^.*": true},
	}
	for name, encode := range formats {
		list := encode(v)
		// gone has the digest that a had. In a binary list that is one value.
		if name == "binary" {
			delete(v["files"].(dict), "gone")
			list = encode(v)
		}
		now1, now2 := codeHashOf("aa"), codeHashOf("bb")
		u := &Update{All: true, Nested: func(int) *File { return nil }}
		u.Files = updatable(map[string]string{"a & b": "A", "b": "b"}, map[string][]CodeHash{"code": {{one, now1}, {two, now2}}}, false)
		before := decoded(t, list)
		after := bytes.Clone(list)
		changed, err := u.Apply(after)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := slices.Sorted(maps.Keys(changed)); !slices.Equal(got, []string{"a & b", "code"}) {
			t.Errorf("%s: changed %q", name, got)
		}
		want := []string{
			"|files2|a & b|hash", "|files2|a & b|hash2", "|files2|a & b|hash3", "|files2|a & b|hash4", "|files2|code|cdhash", "|files2|code|requirement", "|files|a & b",
		}
		got := changes("", before, decoded(t, after))
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) || len(after) != len(list) {
			t.Errorf("%s: %d bytes, were %d; changed %q", name, len(after), len(list), got)
		}
		files2 := decoded(t, after).(map[string]any)["files2"].(map[string]any)
		if h := files2["a & b"].(map[string]any)["hash4"].([]byte); !bytes.Equal(h, sums("A").SHA384[:]) {
			t.Errorf("%s: hash4 is %x", name, h)
		}
		code := files2["code"].(map[string]any)
		if want := fmt.Sprintf(`cdhash H"%x" or cdhash H"%x"`, now1, now2); code["requirement"] != want || !bytes.Equal(code["cdhash"].([]byte), now1[:]) {
			t.Errorf("%s: %v", name, code)
		}
		// And back.
		u.Files = updatable(map[string]string{"a & b": "a", "b": "b"}, map[string][]CodeHash{"code": {{now1, one}, {now2, two}}}, false)
		if _, err := u.Apply(after); err != nil || !bytes.Equal(after, list) {
			t.Errorf("%s: changed back, it is not what it was: %v", name, err)
		}
		// Only what was touched.
		u.All = false
		u.Files = updatable(map[string]string{"a & b": "A", "b": "B"}, nil, false)
		u.Files[1].Touched = true
		if changed, err := u.Apply(after); err != nil || !maps.Equal(changed, map[string]bool{"b": true}) {
			t.Errorf("%s: changed %v, %v", name, changed, err)
		}
	}
}

// A hash of nested code whose earlier state is not known is found by elimination, or not at all.
func TestUpdateRequirement(t *testing.T) {
	h := func(s string) string {
		x := codeHashOf(s)
		return fmt.Sprintf(`cdhash H"%x"`, x)
	}
	c := func(before, now string) CodeHash { return CodeHash{codeHashOf(before), codeHashOf(now)} }
	for _, test := range []struct {
		name, old string
		code      []CodeHash
		adhoc     bool
		resumed   bool
		want, err string
	}{
		{name: "known", old: h("11"), code: []CodeHash{c("11", "aa")}, want: h("aa")},
		{name: "two, known, in another order", old: h("22") + " or " + h("11"), code: []CodeHash{c("11", "aa"), c("22", "bb")}, want: h("bb") + " or " + h("aa")},
		{name: "swapped", old: h("11") + " or " + h("22"), code: []CodeHash{c("11", "22"), c("22", "11")}, want: h("22") + " or " + h("11")},
		{name: "one is unknown", old: h("11") + " or " + h("99"), code: []CodeHash{c("11", "aa"), c("22", "bb")}, want: h("aa") + " or " + h("bb")},
		{name: "all are right", old: h("aa") + " or " + h("bb"), code: []CodeHash{c("aa", "aa"), c("bb", "bb")}, want: h("aa") + " or " + h("bb")},
		{name: "one more than there is", old: h("aa") + " or " + h("bb"), code: []CodeHash{c("aa", "aa")}, want: h("aa") + " or " + h("bb")},
		{name: "two are unknown", old: h("88") + " or " + h("99"), code: []CodeHash{c("11", "aa"), c("22", "bb")}, err: "told apart"},
		{name: "two are unknown, resumed", old: h("88") + " or " + h("99"), code: []CodeHash{c("11", "aa"), c("22", "bb")}, resumed: true, want: h("aa") + " or " + h("bb")},
		{name: "one is unknown, for two", old: h("99"), code: []CodeHash{c("11", "aa"), c("22", "bb")}, resumed: true, err: "told apart"},
		{name: "three are unknown, for two", old: h("77") + " or " + h("88") + " or " + h("99"), code: []CodeHash{c("11", "aa"), c("22", "bb")}, resumed: true, err: "told apart"},
		{name: "a certificate's", old: `identifier "x" and anchor apple generic`, code: []CodeHash{c("11", "aa")}, want: `identifier "x" and anchor apple generic`},
		{name: "a certificate's, now ad-hoc", old: `identifier "org.example.x" and anchor apple generic and more`, code: []CodeHash{c("11", "aa")}, adhoc: true, want: h("aa") + "          "},
		{name: "no room", old: `anchor apple`, code: []CodeHash{c("11", "aa")}, adhoc: true, err: "no room"},
		{name: "capitals", old: strings.ToUpper(h("ab")[7:]) + " ", code: []CodeHash{c("ab", "cd")}, want: strings.ToUpper(h("cd")[7:]) + " "},
	} {
		for format, encode := range formats {
			v := dict{"files2": dict{"x": dict{"requirement": test.old}}, "rules2": dict{}}
			list := encode(v)
			u := &Update{All: true, Resumed: test.resumed, Nested: func(int) *File { return nil }, Files: updatable(nil, map[string][]CodeHash{"x": test.code}, test.adhoc)}
			_, err := u.Apply(list)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || !bytes.Equal(list, encode(v)) {
					t.Errorf("%s, %s: got error %v", format, test.name, err)
				}
				continue
			}
			got := decoded(t, list).(map[string]any)["files2"].(map[string]any)["x"].(map[string]any)["requirement"].(string)
			if want := test.want; err != nil || strings.TrimRight(got, " ") != strings.TrimRight(want, " ") || len(got) != len(test.old) {
				t.Errorf("%s, %s: %v, %q, want %q", format, test.name, err, got, want)
			}
		}
	}
}

// A value that several entries share is changed only if all of them change alike.
func TestUpdateShared(t *testing.T) {
	v := dict{"files2": dict{"a": dict{"hash2": sums("x").SHA256[:]}, "b": dict{"hash2": sums("x").SHA256[:]}}, "rules2": dict{}}
	for _, test := range []struct{ a, b, err string }{{"y", "y", ""}, {"y", "x", "one value for several files"}, {"y", "z", "one value for several files"}} {
		list := binaryOf(v)
		u := &Update{All: true, Files: updatable(map[string]string{"a": test.a, "b": test.b}, nil, false)}
		_, err := u.Apply(list)
		if test.err == "" && (err != nil || bytes.Equal(list, binaryOf(v))) || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err) || !bytes.Equal(list, binaryOf(v))) {
			t.Errorf("%v: got error %v", test, err)
		}
	}
	// One that something else uses stays, too.
	v["other"] = sums("x").SHA256[:]
	list := binaryOf(v)
	u := &Update{All: true, Files: updatable(map[string]string{"a": "y", "b": "y"}, nil, false)}
	if _, err := u.Apply(list); err != errShared || !bytes.Equal(list, binaryOf(v)) {
		t.Errorf("used elsewhere: %v", err)
	}
}

// What is written in an unusual way is refused, or changed in the same way.
func TestUpdateText(t *testing.T) {
	old := "ONeE0bZgbRxZUdqkkHzEIGBuGmqdwDh5LUpBzUIPVeE=" // of nothing in particular
	for _, test := range []struct {
		text string
		ok   bool
	}{
		{old, true},
		{" " + old[:7] + "\n\t\r " + old[7:] + "\n", true},
		{old[:7] + "<!-- x -->" + old[7:], false},
		{"<![CDATA[" + old + "]]>", false},
		{old[:7] + "&#x4f;" + old[8:], false},
	} {
		list := []byte("<plist><dict><key>files2</key><dict><key>a</key><dict><key>hash2</key><data>" + test.text + "</data></dict></dict><key>rules2</key><dict/></dict></plist>")
		before := bytes.Clone(list)
		u := &Update{All: true, Files: updatable(map[string]string{"a": "y"}, nil, false)}
		_, err := u.Apply(list)
		if (err == nil) != test.ok || !test.ok && !bytes.Equal(list, before) {
			t.Errorf("%q: %v", test.text, err)
		}
		if !test.ok {
			continue
		}
		got := decoded(t, list).(map[string]any)["files2"].(map[string]any)["a"].(map[string]any)["hash2"].([]byte)
		if !bytes.Equal(got, sums("y").SHA256[:]) {
			t.Errorf("%q: became %x", test.text, got)
		}
	}
}

// FuzzUpdate checks that whatever an update does to a list that Parse accepts, the length stays, Parse still accepts it,
// and the entries that it says it changed seal the files.
func FuzzUpdate(f *testing.F) {
	const maxInput = 768 // as FuzzParse
	for _, encode := range formats {
		f.Add(encode(dict{"files": dict{"z": sums("old").SHA1[:]}, "rules": dict{"^z": true}}))
		f.Add(encode(dict{"files2": dict{"z": dict{"hash2": sums("old").SHA256[:], "hash": sums("old").SHA1[:]}}, "rules2": dict{"^z": true}}))
		f.Add(encode(dict{"files2": dict{"Frameworks/lib.dylib": requirement("11" + strings.Repeat("0", 38))}, "rules2": dict{"^F": true}}))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > maxInput {
			return
		}
		if _, err := Parse(data); err != nil {
			return
		}
		all := files()
		for i := range all {
			for _, c := range all[i].Code {
				all[i].Hashes = append(all[i].Hashes, CodeHash{codeHashOf("11"), [20]byte(c.CDHash)})
			}
		}
		u := &Update{Files: all, All: true, Nested: func(i int) *File { return nil }}
		now := bytes.Clone(data)
		changed, err := u.Apply(now)
		if err != nil || len(changed) == 0 {
			if !bytes.Equal(now, data) {
				t.Fatalf("the list changed: %v", err)
			}
			return
		}
		l, err := Parse(now)
		if err != nil || len(now) != len(data) {
			t.Fatalf("%d bytes, were %d: %v", len(now), len(data), err)
		}
		for i := range all {
			if s := l.files[all[i].Path]; s != nil && changed[all[i].Path] && !s.isCode && !s.isLink && all[i].Kind == Regular && s.match(&all[i]) != "" {
				t.Fatalf("%s: %s", all[i].Path, s.match(&all[i]))
			}
		}
	})
}
