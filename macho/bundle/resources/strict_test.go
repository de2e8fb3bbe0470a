package resources

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"unicode/utf16"

	"narseal/macho"
)

// As SecStaticCode::loadResources does, a list takes files and rules of one version.
func TestVersions(t *testing.T) {
	all := []File{{Path: "a", Sums: sums("a")}, {Path: "b", Sums: sums("b")}, {Path: "l", Kind: Symlink, Link: "a"}}
	a := dict{"a": sums("a").SHA1[:]}
	a2 := dict{"a": dict{"hash": sums("a").SHA1[:]}}
	every, none := dict{"^.*": true}, dict{"^.*": false}
	for _, test := range []struct {
		name string
		list dict
		want string
	}{
		{"first", dict{"files": a, "rules": every}, "b: added"}, // and its symlinks are not sealed
		{"both", dict{"files": a, "rules": none, "files2": a2, "rules2": every}, "b: added; l: added"},
		{"the first has rules2", dict{"files": a, "rules": every, "rules2": none}, "b: added"},
		{"the first has rules2 only", dict{"files": a, "rules2": every}, "error: it has no files or no rules"},
		{"the second has rules", dict{"files2": a2, "rules": every}, "error: it has no files or no rules"},
		{"the second has files and rules", dict{"files": a, "files2": a2, "rules": every}, "error: it has no files or no rules"},
		{"a sealed symlink of the first", dict{"files": dict{"a": a["a"], "l": a["a"]}, "rules": every}, "b: added; l: a symlink, sealed as a file"},
	} {
		for format, data := range map[string][]byte{"XML": xmlDocument(test.list), "binary": binaryOf(test.list)} {
			if got := problems(t, data, all); got != test.want {
				t.Errorf("%s, %s: %s, want %s", test.name, format, got, test.want)
			}
		}
	}
}

// Every file needs a digest of each type that the signature has.
func TestHashTypes(t *testing.T) {
	digests := map[macho.HashType]string{macho.SHA1: "hash", macho.SHA256: "hash2", macho.SHA256Truncated: "hash3", macho.SHA384: "hash4"}
	for have := range 1 << len(digests) {
		entry, bit := dict{"optional": true}, 0
		for _, t := range []macho.HashType{macho.SHA1, macho.SHA256, macho.SHA256Truncated, macho.SHA384} {
			if have&(1<<bit) != 0 {
				entry[digests[t]] = sums("a").of(t)
			}
			bit++
		}
		l, err := Parse(xmlDocument(dict{"files2": dict{"a": entry}, "rules2": dict{"^.*": true}}))
		if have == 0 {
			if err == nil {
				t.Error("a file without digests is accepted")
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for need := range 1 << len(digests) {
			var types []macho.HashType
			for i, t := range []macho.HashType{macho.SHA1, macho.SHA256, macho.SHA256Truncated, macho.SHA384} {
				if need&(1<<i) != 0 {
					types = append(types, t)
				}
			}
			found := l.Check(&Bundle{Files: []File{{Path: "a", Sums: sums("a")}}, HashTypes: types})
			if ok := need&^have == 0; ok != (len(found) == 0) {
				t.Errorf("with digests %04b, a signature with %04b: %v", have, need, found)
			}
		}
	}
}

// Rules of one weight that say different things are not clear.
func TestRulesOfOneWeight(t *testing.T) {
	heavy := func(what string) dict { return dict{what: true, "weight": 20} }
	for _, test := range []struct {
		rules dict
		want  string
	}{
		{dict{"^.*": true, "^a": true}, ""},
		{dict{"^.*": true, "^a": false}, "a.b: not checked"},
		{dict{"^.*": true, "^x": true, "^a": heavy("omit")}, "a.b: missing"},
		{dict{"^.*": true, "^a": heavy("omit"), "b$": heavy("optional")}, "a.b: not checked"},
		{dict{"^.*": true, "^a": heavy("nested"), "b$": heavy("optional")}, ""}, // for a file the same
		{dict{"^.*": true, "^a": heavy("optional"), "b$": dict{"omit": true, "weight": 21}}, "a.b: missing"},
		{dict{"^a": dict{"weight": -1}}, "error"}, {dict{"^a": dict{"weight": 1 << 31}}, "error"},
	} {
		data := xmlDocument(dict{"files2": dict{"a.b": dict{"hash": sums("a").SHA1[:]}}, "rules2": test.rules})
		for range 20 { // maps have no order
			got := problems(t, data, []File{{Path: "a.b", Sums: sums("a")}})
			if got != test.want && (test.want == "" || !strings.HasPrefix(got, test.want)) {
				t.Fatalf("%v: %s, want %s", test.rules, got, test.want)
			}
		}
	}
	fraction := bytes.Replace(xmlDocument(dict{"files2": dict{}, "rules2": dict{"^a": dict{"weight": 25}}}), []byte("25<"), []byte("2.5<"), 1)
	if _, err := Parse(fraction); err == nil {
		t.Error("a weight of 2.5 is accepted")
	}
}

// A requirement on a certificate may name an identifier, and nothing else that would have to be checked.
func TestRequirements(t *testing.T) {
	hash, err := hex.DecodeString(cdhash)
	if err != nil {
		t.Fatal(err)
	}
	certified := []Code{{CDHash: hash, Identifier: "org.nested"}}
	adhoc := []Code{{CDHash: hash, Identifier: "org.nested", AdHoc: true}}
	const (
		developer = `identifier "org.nested" and anchor apple generic and certificate 1[field.1.2.840.113635.100.6.2.6] /* exists */ and ` +
			`certificate leaf[field.1.2.840.113635.100.6.1.13] /* exists */ and certificate leaf[subject.OU] = "A1B2C3D4E5"`
		store = `(anchor apple generic and certificate leaf[field.1.2.840.113635.100.6.1.9] /* exists */ or anchor apple generic and ` +
			`certificate 1[field.1.2.840.113635.100.6.2.6] /* exists */ and certificate leaf[subject.OU] = A1B2C3D4E5) and identifier "org.nested"`
	)
	for _, test := range []struct {
		text             string
		certified, adhoc bool
	}{
		{`cdhash H"` + cdhash + `"`, true, true}, {`(cdhash H"` + strings.ToUpper(cdhash) + `")`, true, true},
		{`cdhash H"` + strings.Repeat("0", 40) + `" or cdhash H"` + cdhash + `"`, true, true},
		{`cdhash H"` + cdhash + `" and cdhash H"` + strings.Repeat("0", 40) + `"`, false, false},
		{`cdhash H"" or cdhash H"` + cdhash + `"`, false, false}, {`cdhash H"` + cdhash[1:] + `" or cdhash H"` + cdhash + `"`, false, false},
		{developer, true, false}, {store, true, false}, {`identifier org.nested and anchor apple`, true, false},
		{`identifier "org.nested" and certificate leaf = H"` + cdhash + `"`, true, false},
		{strings.ReplaceAll(developer, "org.nested", "org.other"), false, false},
		{`anchor apple`, false, false}, {`identifier "org.nested"`, false, false}, {`! identifier "org.nested"`, false, false},
		{`! identifier "org.nested" and anchor apple`, false, false}, {`identifier "org.nested" and ! anchor apple`, false, false},
		{`identifier "org.nested" and cdhash H"` + strings.Repeat("0", 40) + `"`, false, false},
		{`identifier "org.nested" and anchor apple and cdhash H"` + cdhash + `"`, false, false},
		{`identifier org.nested and never`, false, false}, {`identifier org.nested and anchor apple and never`, false, false},
		{`identifier "org.nested" and info["x"]="y" and anchor apple`, false, false},
		{`identifier "org.nested" and entitlement["x"] exists and anchor apple`, false, false},
		{`identifier "org.nested" /* and anchor apple */`, false, false}, {`identifier "org.nested" and identifier "x" and anchor apple`, false, false},
		{`identifier "org.nested" and anchor apple /* x`, false, false}, {`/**/identifier /* " */ "org.nested" and anchor apple/*/*/`, true, false},
		{`identifier "org.nested" and anchor apple /*/`, false, false}, {strings.Repeat("/*a", 20_000), false, false},
		{`identifier "org.nested" and anchor "apple`, false, false}, {`identifier "org.nested\" and anchor apple`, false, false}, {`identifier`, false, false}, {``, false, false},
	} {
		if got := matchCode(test.text, certified); (got == "") != test.certified {
			t.Errorf("%s, signed by a certificate: %q", test.text, got)
		}
		if got := matchCode(test.text, adhoc); (got == "") != test.adhoc {
			t.Errorf("%s, ad hoc: %q", test.text, got)
		}
		for _, unsigned := range []Code{{}, {Identifier: "org.nested"}} {
			if matchCode(test.text, append([]Code{unsigned}, certified...)) == "" {
				t.Errorf("%s: met by a slice without a signature", test.text)
			}
		}
	}
}

// Keys are the same in each encoding of a binary list, and text that parsers read differently is refused.
func TestBinaryStrings(t *testing.T) {
	twice := func(first, second string) []byte {
		// Two keys of one length, of which the second is written as UTF-16, at the end.
		data := binaryOf(dict{"files2": dict{first: dict{"hash": sums("a").SHA1[:]}, second: dict{"hash": sums("b").SHA1[:]}}, "rules2": dict{"^.*": true}})
		return asUTF16(t, data, second, utf16.Encode([]rune(second)))
	}
	if _, err := Parse(twice("aaaa", "bbbb")); err != nil {
		t.Error(err)
	}
	same := asUTF16(t, twice("aaaa", "bbbb"), "aaaa", utf16.Encode([]rune("bbbb")))
	if _, err := Parse(same); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("one key in two encodings: %v", err)
	}
	one := binaryOf(dict{"files2": dict{"bbbb": dict{"hash": sums("a").SHA1[:]}}, "rules2": dict{}})
	ascii := asUTF16(t, one, "bbbb", utf16.Encode([]rune("bbbb")))
	mixed := binaryOf(dict{"files2": dict{"bbbb": dict{"hash": sums("a").SHA1[:]}, "cccc": dict{"hash": sums("a").SHA1[:]}}, "rules2": dict{}})
	mixed = bytes.Replace(asUTF16(t, mixed, "bbbb", utf16.Encode([]rune("cccc"))), []byte("\x54bbbb"), []byte("\x54cccc"), 1)
	if _, err := Parse(mixed); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("one key in ASCII and UTF-16: %v", err)
	}
	if _, err := Parse(ascii); err != nil {
		t.Error(err)
	}
	for _, units := range [][]uint16{{0xd800, 'a', 'b', 'c'}, {'a', 'b', 'c', 0xdc00}, {0xdc00, 0xd800, 'a', 'b'}} {
		if _, err := Parse(asUTF16(t, one, "bbbb", units)); err == nil {
			t.Errorf("%x is accepted", units)
		}
	}
	if _, err := Parse(asUTF16(t, one, "bbbb", []uint16{0xd83d, 0xde00, 'b', 0xfffd})); err != nil {
		t.Error(err)
	}
	if _, err := Parse(bytes.Replace(one, []byte("\x54bbbb"), []byte("\x54b\xc3\xa9b"), 1)); err == nil {
		t.Error("an ASCII string with other bytes is accepted")
	}
}

// asUTF16 returns a binary list in which a key of four letters is written as UTF-16. It appends the string to the
// objects, and makes the offset table name it.
func asUTF16(t *testing.T, list []byte, key string, units []uint16) []byte {
	t.Helper()
	be := func(b []byte) int { return int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3]) }
	old := bytes.Index(list, append([]byte{0x50 | byte(len(key))}, key...))
	if old < 0 {
		old = bytes.Index(list, append([]byte{0x60 | byte(len(key))}, utf16Bytes(utf16.Encode([]rune(key)))...))
	}
	table := be(list[len(list)-4:])
	object := append([]byte{0x60 | byte(len(units))}, utf16Bytes(units)...)
	out := append(append(bytes.Clone(list[:table]), object...), list[table:]...)
	for at := table + len(object); at < len(out)-binaryTrailer; at += 4 {
		if be(out[at:]) == old {
			copy(out[at:], []byte{byte(table >> 24), byte(table >> 16), byte(table >> 8), byte(table)})
		}
	}
	end := table + len(object)
	copy(out[len(out)-4:], []byte{byte(end >> 24), byte(end >> 16), byte(end >> 8), byte(end)})
	return out
}

func utf16Bytes(units []uint16) (b []byte) {
	for _, u := range units {
		b = append(b, byte(u>>8), byte(u))
	}
	return b
}

// What Apple's parser does not read, or may read differently than Go's, is refused in the whole list.
func TestStrictXML(t *testing.T) {
	list := func(entry, aside, behind string) []byte {
		return []byte("<plist><dict><key>other</key>" + aside + "<key>files2</key><dict><key>a</key><dict><key>symlink</key>" + entry +
			"</dict></dict><key>rules2</key><dict/></dict>" + behind + "</plist>\n")
	}
	for _, s := range []string{
		"<string>x</string>", "<string>&lt;&#120;</string>", "<string><![CDATA[x]]></string>", "<string></string>", "<string/>", "<!-- x --><string>x</string>",
	} {
		if _, err := Parse(list(s, "<string/>", "")); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{
		"<string/>", "<real>1.5</real>", "<real>-1e3</real>", "<integer>-4</integer>", "<integer>18446744073709551615</integer>",
		"<integer>-9223372036854775808</integer>", "<integer>+0000000000000000000000018446744073709551615</integer>", "<date>2020-01-01T00:00:00Z</date>", "<data>\r\nAAAA\r\n</data>", "<true/>",
		"<array>\r\n<dict>\r\n<key>a</key>\r\n<false/></dict></array>", "<!-- x --><array><!-- y --></array>",
	} {
		if _, err := Parse(list("<string>x</string>", s, "")); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{
		"<string>x<!-- y --></string>", "<string>x<b>y</b></string>", "<string>x<?y?></string>", "<string>x\r</string>", "<bogus/>", "<array>x</array>",
		"<dict><key>a</key></dict>", "<dict><key>a</key><key>b</key></dict>", "<dict><true/><true/></dict>", "<array><key>x</key></array>",
		"<dict><key>a</key><true/><true/></dict>", "<true>x</true>", "<integer>0x10</integer>", "<integer>x</integer>", "<real>nan</real>",
		"<true> </true>", "<integer></integer>", "<integer/>", "<integer>5 </integer>", "<integer>1.5</integer>", "<real/>", "<real> 1</real>", "<real>1e</real>",
		"<data/>", "<data>A&#65;AA</data>", "<data><![CDATA[AAAA]]></data>", "<data>AA*A</data>", "<date/>", "<date>2020-01-01</date>", "<string>&#xD800;</string>",
		"<string>&#56320;</string>", "<string>&#00000000065;</string>", `<string a="></string><key>b</key><string c=">x</string>`, `<string a='>'>x</string>`,
		"<!---><string>x</string><!-- -->", "<?x?><string>x</string>", "<array>\u00a0</array>", "<array>&#32;</array>", "<array><![CDATA[ ]]></array>",
		"<integer>18446744073709551616</integer>", "<integer>-9223372036854775809</integer>", "<integer>" + strings.Repeat("9", 100) + "</integer>",
		"<array><integer>99999999999999999999</integer></array>",
		"<x:string>x</x:string>", `<string xmlns="x">x</string>`, "<dict><key>a<!-- x --></key><true/></dict>", "<string>&x;</string>",
	} {
		for _, data := range [][]byte{list(s, "<string/>", ""), list("<string>x</string>", s, "")} {
			if _, err := Parse(data); err == nil {
				t.Errorf("%s is accepted", data)
			}
		}
	}
	whole := list("<string>x</string>", "<string/>", "")
	for _, data := range [][]byte{
		list("<string>x</string>", "<string/>", "\u0085"), append(whole, "<?x?>"...), append(whole, "<!DOCTYPE plist>"...), append(whole, "\u00a0"...),
		list("<string>x</string>", "<string/>", "<?x?>"), list("<string>x</string>", "<string/>", "<dict/>"), list("<string>x</string>", "<string/>", "x"), append(whole, "<plist/>"...), append(whole, 'x'),
		bytes.TrimSuffix(whole, []byte("</plist>\n")), append(whole, 0),
	} {
		if _, err := Parse(data); err == nil {
			t.Errorf("%s is accepted", data)
		}
	}
	const apple = `"http://www.apple.com/DTDs/PropertyList-1.0.dtd">`
	for _, before := range []string{
		`<?xml version="1.0" encoding="UTF-8"?>`, "<?xml version='1.0' encoding='utf-8' standalone='no' ?>", `<?xml version="1.0"?>` + "\n", "\n  <!-- x -->\n",
		`<?xml version="1.0" encoding="UTF-8"?>` + "\r\n<!-- x -->" + `<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" ` + apple + "\n",
		`<!DOCTYPE plist PUBLIC "-//Apple Computer//DTD PLIST 1.0//EN"` + "\n  " + apple, `<!DOCTYPE plist SYSTEM "file://localhost/System/Library/DTDs/PropertyList.dtd">`,
		"<!DOCTYPE plist><!-- x -->", "\n" + `<?xml version="1.0" encoding="UTF-8"?>`,
	} {
		if _, err := Parse(append(append([]byte(before), whole...), "<!-- x -->\n"...)); err != nil {
			t.Errorf("%s: %v", before, err)
		}
	}
	for _, before := range []string{
		"<!DOCTYPE plist SYSTEM '>" + string(whole) + "'>", `<!DOCTYPE plist SYSTEM ">` + string(whole) + `">`, "<!DOCTYPE plist <!-- > " + string(whole) + "-->>",
		"<!DOCTYPE plist []>", "<!DOCTYPE plist [<!ENTITY x '>'>]>", "<!DOCTYPE plist><!DOCTYPE plist>", "<!ELEMENT x>", "<!doctype plist>", "<!DOCTYPE plist '>",
		"<?x?>", `<?xml-stylesheet href="x"?>`, `<!-- x --><?xml version="1.0"?>`, `<?xml version="1.0"?><?xml version="1.0"?>`, `<?xml version="1.1"?>`,
		`<?xml version="1.0" encoding="UTF-16"?>`, `<?xml version="1.0" encoding="ISO-8859-1"?>`, `<?xml version="encoding='UTF-7'" version="1.0"?>`,
		`<?xml version="1.0" x="encoding='UTF-7'"?>`, "<!--->", "\xef\xbb\xbf", "\u00a0", "x",
	} {
		if _, err := Parse(append([]byte(before), whole...)); err == nil {
			t.Errorf("%s is accepted before a list", before)
		}
	}
	icon := dict{"files2": dict{"Icon\r": dict{"hash": sums("").SHA1[:]}}, "rules2": dict{"^.*": true}}
	for path, want := range map[string]string{"Icon\r": "", "Icon\n": "Icon\n: added; Icon\r: missing"} {
		if got := problems(t, xmlDocument(icon), []File{{Path: path, Sums: sums("")}}); got != want {
			t.Errorf("%q: %q", path, got)
		}
	}
}

// What may name another executable for CFBundle is not clear.
func TestMainExecutable(t *testing.T) {
	info := func(more string) string {
		return "<plist><dict>" + more + "<key>CFBundleExecutable</key><string>A</string></dict></plist>"
	}
	wide := func(mark, text string) string {
		b := utf16Bytes(utf16.Encode([]rune(text)))
		for i := 0; mark == "\xff\xfe" && i < len(b); i += 2 {
			b[i], b[i+1] = b[i+1], b[i]
		}
		return mark + string(b)
	}
	for _, test := range []struct {
		info  string
		name  string
		clear bool
	}{
		{"<plist><dict><key>CFBundleExecutable</key><string>A</string></dict></plist>", "A", true},
		{"<plist><dict><key>CFBundleName</key><string>A</string></dict></plist>", "", true},
		{info("<key>x</key><string>a\r\nb</string><key>y</key><integer>0x1F</integer><key>z</key><array><real>nan</real><real>-Infinity</real></array>"), "A", true},
		{"<!---- a -- b ---->" + info("<!-- -- --->"), "A", true}, {info("<key>x</key><string><![CDATA[<!-- --]]></string>"), "A", true},
		{info("<!---><key>x</key><true/><!-- -->"), "", false}, {info("<key>x</key><string>a<!-- b --></string>"), "", false},
		{info("<key>x</key><integer>1F</integer>"), "", false}, {info("<key>MainHTML</key><string>x.html</string>"), "A", false},
		{info("<key>x</key><integer>18446744073709551616</integer>"), "", false}, {info("<key>x</key><integer>0x10000000000000000</integer>"), "", false},
		{info("<key>x</key><integer>0xFFFFFFFFFFFFFFFF</integer>"), "A", true}, {info("<key>x</key><integer>-0X8000000000000001</integer>"), "", false},
		{info("<key>x</key><integer>\n- 0x8000000000000000</integer>"), "A", true},
		{"<?xml version = \"1.0\" encoding = \"latin1\" ?>" + info(""), "A", true}, {"<!-- x -->\n<?xml version=\"1.0\" encoding=\"UTF-8\"?>" + info(""), "A", true},
		{"<?xml version=\"1.0\"?><?x y='>' ?><!DOCTYPE plist>" + info("<?z?><key>x</key><array><?z?></array>"), "A", true},
		{"<?xml version='1.0' encoding='us-ascii'?>" + info(""), "A", true}, {"<?xml version='1.0' encoding='us-ascii'?>" + info("<!-- \u00e9 -->"), "", false},
		{info("") + "\x00 <dict> & x", "A", true}, {"<dict><key>CFBundleExecutable</key><string>A</string></dict></dict>x", "A", true},
		{"<plist><dict><key>CFBundleExecutable</key><string>A</string></dict>x</plist>", "", false},
		{"<plist><dict><key>CFBundleExecutable</key><string>A</string></dict><dict/></plist>", "", false},
		{info("<key>CFBundleExecutable</key><string>&#65;</string>"), "", false}, {info("<key>CFBundleExecutable</key><string>B</string>"), "", false},
		{info("<key>x</key>" + strings.Repeat("<array>", 100) + strings.Repeat("</array>", 100)), "A", true},
		{info("<key>x</key>" + strings.Repeat("<array>", 1000) + strings.Repeat("</array>", 1000)), "", false}, {info("<key>x</key><string><?y?></string>"), "", false},
		{info("<key>CFBundleExecutable-x</key><array/>"), "", false}, {info("<key>NSExecutable</key><array><dict/></array>"), "A", true},
		{info("<key>NSExecutable</key><string>" + strings.Repeat("x", 5000) + "</string>"), "", false},
		{info("<key>NSExecutable</key><string>B</string>"), "A", true}, {info("<key>x</key><string b=\">\"/>"), "", false},
		{wide("\xff\xfe", `<?xml version="1.0" encoding="UTF-16"?>`+info("<!-- \U0001F600 -->")), "A", true}, {wide("\xfe\xff", info("")), "A", true},
		{wide("", info("")), "", false}, {wide("\xff\xfe", info(""))[:101], "", false}, {wide("\xff\xfe", info("")) + "\x00\xd8", "", false},
		{`<?xml version="1.0" encoding="UTF-16"?>` + info(""), "", false},
		{"info", "", true}, {"", "", true}, {"CFBundleExecutable;", "", false},
		{"\xef\xbb\xbf<plist><dict><key>CFBundleExecutable</key><string>A</string></dict></plist>", "A", true},
		{"<!DOCTYPE plist '><plist><dict/></plist>'><plist><dict><key>CFBundleExecutable</key><string>A</string></dict></plist>", "", false},
		{`<plist><dict><key>CFBundleExecutable</key><string a=">B</string><key>x</key><string b=">A</string></dict></plist>`, "", false},
		{"<plist><dict><key>CFBundleExecutable</key><string>A</string><key>CFBundleExecutable</key><string>B</string></dict></plist>", "", false},
		{"<plist><dict><key>CFBundleExecutable</key><string>A</string><key>CFBundleExecutable-macos</key><string>B</string></dict></plist>", "A", false},
		{"<plist><dict><key>CFBundleExecutable</key><string>A</string><key>CFBundleExecutable~mac</key><string>B</string></dict></plist>", "A", false},
		{"<plist><dict><key>NSExecutable</key><string>A</string></dict></plist>", "", false},
		{"<plist><dict><key>CFBundleExecutable</key><true/></dict></plist>", "", false},
		{"<plist><dict><key>CFBundleExecutable</key><string>A</string></dict>", "", false},
		{"{ CFBundleExecutable = A; }", "", false}, {"CFBundleExecutable = A;", "", false}, {"bplist00", "", false},
		{"\xfe\xff\x00<\x00p", "", false},
		{"\xef\xbb\xbf<plist><dict><key>CFBundleExecutable</key><string>A</string></dict></plist>", "A", true},
		{"\xef\xbb\xbf\xef\xbb\xbf<plist><dict><key>CFBundleExecutable</key><string>A</string></dict></plist>", "", false},
		{"\xef\xbb\xbf{ CFBundleExecutable = A; }", "", false},
		{"<?xml version='1.0' encoding='ISO-8859-1'?><plist><dict><key>CFBundleExecutable</key><string>A</string></dict></plist>", "", false},
		{"<?xml version='1.0' encoding='ISO-8859-1'?><plist><dict><key>CFBundleExecutable</key><string>\u00e9</string></dict></plist>", "", false},
		{"<?xml version='1.0' encoding='UTF-7'?><plist><dict><key>CFBundleExecutable</key><string>A</string></dict></plist>", "", false},
		{"<dict><key>CFBundleExecutable</key><string>A</string></dict>", "A", true},
	} {
		if name, clear := MainExecutable([]byte(test.info)); name != test.name && clear || clear != test.clear {
			t.Errorf("%s: %q, clear %v", test.info, name, clear)
		}
	}
}
