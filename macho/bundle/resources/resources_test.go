package resources

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// value is a property list: a string, a bool, []byte, an int, or a dict.
type (
	value any
	dict  map[string]value
)

func xmlOf(v value) string {
	switch v := v.(type) {
	case string:
		return "<string>" + strings.NewReplacer("&", "&amp;", "<", "&lt;").Replace(v) + "</string>"
	case bool:
		return fmt.Sprintf("<%v/>", v)
	case int:
		return fmt.Sprintf("<real>%d</real>", v)
	case []byte:
		return "<data>\n\t\t" + base64.StdEncoding.EncodeToString(v) + "\n\t\t</data>"
	}
	s := "<dict>\n"
	for _, k := range slices.Sorted(maps.Keys(v.(dict))) {
		s += "<key>" + strings.NewReplacer("&", "&amp;", "<", "&lt;").Replace(k) + "</key>\n" + xmlOf(v.(dict)[k]) + "\n"
	}
	return s + "</dict>"
}

func xmlDocument(v value) []byte {
	return []byte(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">` + "\n" + xmlOf(v) + "\n</plist>\n")
}

// binaryOf encodes a binary property list, in which equal data and strings are one object.
func binaryOf(v value) []byte {
	var objects [][]byte
	shared := map[string]uint16{}
	add := func(b []byte) uint16 { objects = append(objects, b); return uint16(len(objects) - 1) }
	head := func(kind byte, n int) []byte {
		if n < 15 {
			return []byte{kind<<4 | byte(n)}
		}
		return binary.BigEndian.AppendUint16([]byte{kind<<4 | 15, 0x11}, uint16(n))
	}
	var put func(v value) uint16
	put = func(v value) uint16 {
		var b []byte
		switch v := v.(type) {
		case string:
			b = append(head(5, len(v)), v...)
		case []byte:
			b = append(head(4, len(v)), v...)
		case bool:
			b = []byte{8}
			if v {
				b = []byte{9}
			}
		case int:
			b = binary.BigEndian.AppendUint32([]byte{0x12}, uint32(v))
		case dict:
			at := add(nil)
			b = head(13, len(v))
			keys := slices.Sorted(maps.Keys(v))
			for _, k := range keys {
				b = binary.BigEndian.AppendUint16(b, put(k))
			}
			for _, k := range keys {
				b = binary.BigEndian.AppendUint16(b, put(v[k]))
			}
			objects[at] = b
			return at
		}
		if at, ok := shared[string(b)]; ok {
			return at
		}
		at := add(b)
		shared[string(b)] = at
		return at
	}
	top := put(v)
	out := []byte("bplist00")
	var table []byte
	for _, o := range objects {
		table = binary.BigEndian.AppendUint32(table, uint32(len(out)))
		out = append(out, o...)
	}
	at := len(out)
	out = append(append(out, table...), 0, 0, 0, 0, 0, 0, 4, 2)
	for _, n := range []int{len(objects), int(top), at} {
		out = binary.BigEndian.AppendUint64(out, uint64(n))
	}
	return out
}

func sums(data string) *Sums {
	return &Sums{sha1.Sum([]byte(data)), sha256.Sum256([]byte(data)), sha512.Sum384([]byte(data))}
}

const cdhash = "00112233445566778899aabbccddeeff00112233"

// files are those of an application, in depth-first order.
func files() []File {
	hash := make([]byte, 20)
	fmt.Sscanf(cdhash, "%x", &hash)
	nested := []Code{{CDHash: hash, Identifier: "org.nested"}}
	return []File{
		{Path: "CodeResources", Sums: sums("ticket")},
		{Path: "Frameworks", Kind: Directory},
		{Path: "Frameworks/N.framework", Kind: Directory},
		{Path: "Frameworks/N.framework/N", Sums: sums("n"), Code: nested},
		{Path: "Frameworks/N.framework/not sealed here", Sums: sums("n")},
		{Path: "Frameworks/lib.dylib", Sums: sums("lib"), Code: nested},
		{Path: "Frameworks/plain", Kind: Directory},
		{Path: "Frameworks/plain/x.dylib", Sums: sums("x"), Code: nested},
		{Path: "Info.plist", Sums: sums("info")},
		{Path: "MacOS", Kind: Directory},
		{Path: "MacOS/A", Sums: sums("main")},
		{Path: "Resources", Kind: Directory},
		{Path: "Resources/.DS_Store", Sums: sums("noise")},
		{Path: "Resources/a.txt", Sums: sums("a")},
		{Path: "Resources/en.lproj", Kind: Directory},
		{Path: "Resources/en.lproj/a.strings", Sums: sums("strings")},
		{Path: "Resources/link", Kind: Symlink, Link: "a.txt"},
		{Path: "_CodeSignature", Kind: Directory},
		{Path: "_CodeSignature/CodeResources", Sums: sums("list")},
		{Path: "z", Sums: sums("behind")},
	}
}

var rules2 = dict{
	"^.*": true, `^(.*/)?\.DS_Store$`: dict{"omit": true, "weight": 2000}, `^Info\.plist$`: dict{"omit": true, "weight": 20},
	"^(Frameworks|SharedFrameworks|PlugIns)/": dict{"nested": true, "weight": 10},
	`^Resources/.*\.lproj/`:                   dict{"optional": true, "weight": 1000},
}

func requirement(hashes ...string) dict {
	var all []string
	for _, h := range hashes {
		all = append(all, `cdhash H"`+h+`"`)
	}
	return dict{"requirement": strings.Join(all, " or "), "cdhash": []byte("nobody reads this")}
}

func list() dict {
	hash2 := func(s string) dict { return dict{"hash2": sums(s).SHA256[:]} }
	return dict{"rules2": rules2, "rules": dict{}, "files": dict{"gone": sums("gone").SHA1[:]}, "files2": dict{
		"Frameworks/N.framework": requirement(strings.Repeat("0", 40), cdhash), "Frameworks/lib.dylib": requirement(cdhash),
		"Frameworks/plain/x.dylib":     dict{"requirement": `identifier "org.nested" and anchor apple generic`},
		"Resources/a.txt":              dict{"hash": sums("a").SHA1[:], "hash2": sums("a").SHA256[:], "hash3": sums("a").SHA256[:20], "hash4": sums("a").SHA384[:]},
		"Resources/link":               dict{"symlink": "a.txt"},
		"Resources/en.lproj/a.strings": dict{"hash2": sums("strings").SHA256[:], "optional": true},
		"Resources/en.lproj/b.strings": dict{"hash2": sums("absent").SHA256[:], "optional": true},
		"z":                            hash2("behind"),
	}}
}

// problems parses a list and compares it with files.
func problems(t *testing.T, data []byte, all []File) string {
	t.Helper()
	l, err := Parse(data)
	if err != nil {
		return "error: " + err.Error()
	}
	nested := func(i int) []Code {
		for _, f := range all[i:] {
			if f.Path == all[i].Path+"/N" {
				return f.Code
			}
		}
		return nil
	}
	var found []string
	for _, p := range l.Check(&Bundle{Executable: "MacOS/A", Files: all, Nested: nested}) {
		found = append(found, p.Path+": "+p.Problem)
	}
	return strings.Join(found, "; ")
}

func TestCheck(t *testing.T) {
	set := func(path string, change func(*File)) func([]File, dict) []File {
		return func(all []File, _ dict) []File {
			change(&all[slices.IndexFunc(all, func(f File) bool { return f.Path == path })])
			return all
		}
	}
	without := func(path string) func([]File, dict) []File {
		return func(all []File, _ dict) []File {
			return slices.DeleteFunc(all, func(f File) bool { return f.Path == path || strings.HasPrefix(f.Path, path+"/") })
		}
	}
	sealed := func(change func(dict)) func([]File, dict) []File {
		return func(all []File, l dict) []File { change(l["files2"].(dict)); return all }
	}
	other := sums("other")
	for _, test := range []struct {
		name   string
		change func([]File, dict) []File
		want   string
	}{
		{"nothing", func(f []File, _ dict) []File { return f }, ""},
		{"file", set("Resources/a.txt", func(f *File) { f.Sums = other }), "Resources/a.txt: changed"},
		{"behind the list", set("z", func(f *File) { f.Sums = other }), "z: changed"},
		{"missing", without("z"), "z: missing"},
		{"directory missing", without("Frameworks/N.framework"), "Frameworks/N.framework: missing"},
		{"added", func(f []File, _ dict) []File { return append(f, File{Path: "zz", Sums: other}) }, "zz: added"},
		{"added code", func(f []File, _ dict) []File {
			return slices.Insert(f, 2, File{Path: "Frameworks/A.bundle", Kind: Directory}, File{Path: "Frameworks/A.bundle/x", Sums: other})
		}, "Frameworks/A.bundle: added"},
		{"added and omitted", set("Resources/.DS_Store", func(f *File) { f.Sums = other }), ""},
		{"a symlink .DS_Store", set("Resources/.DS_Store", func(f *File) { f.Kind, f.Link = Symlink, "a.txt" }),
			"Resources/.DS_Store: a symlink, which no bundle may have under this name"},
		{"a sealed symlink .ds_store", func(f []File, l dict) []File {
			l["files2"].(dict)["zz/.ds_store"] = dict{"symlink": "a.txt"}
			return append(f, File{Path: "zz", Kind: Directory}, File{Path: "zz/.ds_store", Kind: Symlink, Link: "a.txt"})
		}, "zz/.ds_store: a symlink, which no bundle may have under this name"},
		{"a symlink .DS_Store in nested code", func(f []File, l dict) []File {
			return slices.Insert(f, 3, File{Path: "Frameworks/N.framework/.DS_Store", Kind: Symlink, Link: "N"})
		}, ""}, // its own list is compared with it
		{"a newline in a name", func(f []File, _ dict) []File { return append(f, File{Path: "zz\n.DS_Store", Sums: other}) }, "zz\n.DS_Store: added"},
		{"not sealed", set("Info.plist", func(f *File) { f.Sums = other }), ""},
		{"main executable", set("MacOS/A", func(f *File) { f.Sums = other }), ""},
		{"link", set("Resources/link", func(f *File) { f.Link = "b" }), "Resources/link: symlink changed"},
		{"link to file", set("Resources/link", func(f *File) { f.Kind = Regular }), "Resources/link: a file, sealed as a symlink"},
		{"file to link", set("z", func(f *File) { f.Kind = Symlink }), "z: a symlink, sealed as a file"},
		{"optional missing", without("Resources/en.lproj"), ""},
		{"optional changed", set("Resources/en.lproj/a.strings", func(f *File) { f.Sums = other }), "Resources/en.lproj/a.strings: changed"},
		{"nested bundle", set("Frameworks/N.framework/N", func(f *File) { f.Code = []Code{{CDHash: make([]byte, 19)}} }), "Frameworks/N.framework: nested code changed"},
		{"one of two slices", set("Frameworks/lib.dylib", func(f *File) { f.Code = append(f.Code, Code{CDHash: make([]byte, 20)}) }), "Frameworks/lib.dylib: nested code changed"},
		{"nested unsigned", set("Frameworks/lib.dylib", func(f *File) { f.Code = nil }), "Frameworks/lib.dylib: nested code is not signed"},
		{"identifier", set("Frameworks/plain/x.dylib", func(f *File) { f.Code = []Code{{Identifier: "org.other"}} }), "Frameworks/plain/x.dylib: nested code has another identifier"},
		{"each hash", sealed(func(d dict) { d["z"] = dict{"hash2": sums("behind").SHA256[:], "hash4": other.SHA384[:]} }), "z: changed"},
		{"SHA-1", sealed(func(d dict) { d["z"] = dict{"hash": other.SHA1[:], "hash2": sums("behind").SHA256[:]} }), "z: changed"},
		{"truncated", sealed(func(d dict) { d["z"] = dict{"hash3": other.SHA256[:20]} }), "z: changed"},
		{"no hash", sealed(func(d dict) { d["z"] = dict{} }), `error: files2: "z": it has no digest, no symlink and no requirement`},
		{"short hash", sealed(func(d dict) { d["z"] = other.SHA1[:19] }), `error: files2: "z": a digest of 19 bytes, want 20 for sha1`},
		{"files only", func(f []File, l dict) []File {
			delete(l, "files2")
			delete(l, "rules2")
			l["files"] = dict{"z": other.SHA1[:]}
			l["rules"] = dict{"^z": true}
			return f
		}, "z: changed"},
		{"no rules", func(f []File, l dict) []File { delete(l, "rules2"); delete(l, "rules"); return f }, "error: it has no files or no rules"},
		{"bad rule", func(f []File, l dict) []File { l["rules2"] = dict{"(": true}; return f }, "error: rule \"(\": error parsing regexp: missing closing ): `(`"},
	} {
		l := list()
		all := test.change(files(), l)
		for format, data := range map[string][]byte{"XML": xmlDocument(l), "binary": binaryOf(l)} {
			if got := problems(t, data, all); got != test.want {
				t.Errorf("%s, %s: %s\nwant %s", test.name, format, got, test.want)
			}
		}
	}
}

// What two parsers may read differently, or what would take much memory, is refused.
func TestParseRefuses(t *testing.T) {
	files := func(s string) []byte { return []byte("<plist><dict><key>rules</key><dict/>" + s + "</dict></plist>") }
	deep := func(n int) string { return strings.Repeat("<array>", n) + strings.Repeat("</array>", n) }
	link := "<dict><key>symlink</key><string>x</string></dict>"
	bomb := []byte("bplist00")
	var table []byte
	for i := range 40 { // each array holds the next one twice
		table = append(table, byte(len(bomb)))
		bomb = append(bomb, 0xa2, byte(min(i+1, 39)), byte(min(i+1, 39)))
	}
	at := len(bomb)
	bomb = append(append(bomb, table...), 0, 0, 0, 0, 0, 0, 1, 1)
	for _, n := range []int{40, 0, at} {
		bomb = binary.BigEndian.AppendUint64(bomb, uint64(n))
	}
	rules := func(n int, pattern string) []byte {
		d := dict{}
		for i := range n {
			d[fmt.Sprint(pattern, i)] = true
		}
		return xmlDocument(dict{"files": dict{}, "rules": d})
	}
	for name, data := range map[string][]byte{
		"empty": nil, "text": []byte("{ files = {}; rules = {}; }"), "array": []byte("<plist><array/></plist>"),
		"file twice":  files("<key>files</key><dict><key>a</key>" + link + "<key>a</key>" + link + "</dict>"),
		"table twice": files("<key>files</key><dict/><key>files</key><dict/>"),
		"key twice":   files("<key>files</key><dict><key>a</key><dict><key>symlink</key><string>x</string><key>symlink</key><string>y</string></dict></dict>"),
		"deep":        files("<key>files</key><dict><key>a</key>" + deep(1000) + "</dict>"),
		"deep aside":  files("<key>files</key><dict/><key>other</key>" + deep(1000)),
		"cut":         files("<key>files</key><dict/>")[:60],
		"large value": files("<key>files</key><dict><key>a</key><string>" + strings.Repeat("x", maxValue) + "</string></dict>"),
		"many rules":  xmlDocument(dict{"files": dict{}, "rules": manyRules(maxRules + 1)}),
		"large rule":  rules(1, strings.Repeat(".{1000}", 145)),
		"nested rule": rules(1, "((x{10}){10}){50}"),
		"large rules": rules(maxRules, "x{20}"),
		"large":       make([]byte, MaxSize+1),
		"bomb":        bomb,
		"binary cut":  binaryOf(list())[:200],
	} {
		if l, err := Parse(data); err == nil {
			t.Errorf("%s: %v", name, l)
		}
	}
}

func manyRules(n int) dict {
	d := dict{}
	for i := range n {
		d[fmt.Sprint(i)] = true
	}
	return d
}

// Of 10,000 lists that are damaged somewhere, none makes the parser or the check fail other than by an error.
func TestMutants(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 10_000 {
		data := xmlDocument(list())
		if i%2 == 1 {
			data = binaryOf(list())
		}
		for range 1 + random.IntN(4) {
			at := random.IntN(len(data))
			switch random.IntN(3) {
			case 0:
				data[at] = byte(random.Uint32())
			case 1:
				data = append(data[:at:at], data[min(at+random.IntN(40), len(data)):]...)
			case 2:
				from := random.IntN(len(data))
				copy(data[at:], data[from:min(from+random.IntN(40), len(data))])
			}
			if len(data) == 0 {
				break
			}
		}
		problems(t, data, files())
		MainExecutable(data)
	}
}

func TestExecutable(t *testing.T) {
	info := dict{"CFBundleExecutable": "A", "CFBundleName": dict{"CFBundleExecutable": "B"}}
	for _, data := range [][]byte{xmlDocument(info), binaryOf(info)} {
		if got, _ := MainExecutable(data); got != "A" {
			t.Errorf("got %q", got)
		}
		if got, _ := MainExecutable(data[:len(data)/2]); got != "" {
			t.Errorf("of a half, got %q", got)
		}
	}
}

// FuzzParse has small seeds, and takes no large input: Go tries to leave out each range of bytes of an input that reaches
// new code, and that takes the square of its size.
func FuzzParse(f *testing.F) {
	const maxInput = 768
	hash := dict{"hash": make([]byte, 20), "optional": true}
	for _, d := range []dict{
		{"files": dict{"z": make([]byte, 20)}, "rules": dict{"^z": true}},
		{"files2": dict{"z": hash, "l": dict{"symlink": "a"}}, "rules2": dict{"^z": dict{"weight": 10, "omit": true}}},
		{"files2": dict{"Frameworks/lib.dylib": requirement(cdhash)}, "rules2": dict{"^Fra": dict{"nested": true}}},
		{"CFBundleExecutable": "A"},
	} {
		f.Add(xmlDocument(d))
		f.Add(binaryOf(d))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > maxInput {
			t.Skip()
		}
		problems(t, data, files())
		MainExecutable(data)
	})
}
