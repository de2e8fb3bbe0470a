package resources

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"unicode/utf16"

	"howett.net/plist"
)

// What people write in an Info.plist, and CoreFoundation reads, does not make it unclear.
func TestUsualInfoPlists(t *testing.T) {
	const head, list = `<?xml version="1.0" encoding="UTF-8"?>` + "\n" +
		`<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">` + "\n",
		"<plist version=\"1.0\">\n<dict>\n<key>CFBundleExecutable</key>\n\t<string>App</string>\n</dict>\n</plist>"
	with := func(more string) string { return head + strings.Replace(list, "</dict>", more+"</dict>", 1) }
	declared := func(declaration string) string { return declaration + list }
	for _, test := range []struct {
		info  string
		clear bool
	}{
		{head + list, true}, {list, true}, {"\n " + head + list, true}, {"<!-- (c) 2020 -- us -->\n" + head + list, true},
		{declared(`<?xml version="1.0" encoding="us-ascii"?>`), true}, {declared(`<?xml version="1.0" encoding="Utf-8" standalone="no"?>`), true},
		{declared(`<?xml version = "1.0" encoding = "UTF-16" ?>`), true}, // CoreFoundation finds no encoding
		{declared(`<?xml version="1.0" encoding=""?>`), false}, {declared(`<?xml version="1.0" encoding="utf-16"?>`), false},
		{declared(`<?xml version="1.0" encoding="UTF-8`), false}, {declared(`<?xml version="1.0"?><?xml-stylesheet href="x"?>`), true},
		{strings.Replace(list, "<plist ", `<plist xmlns="http://x/y" `, 1), true}, {strings.Replace(list, "<dict>", `<dict a="'">`, 1), false},
		{head + list + "\nfoo", true}, {head + list + "\x00\xff", true}, {head + list + list, true},
		{strings.Replace(head, "dtd\">", "dtd\" [\n<!ENTITY x \"y\">\n]>", 1) + list, false}, {head + head + list, false},
		{with("<key>a</key><!-- c --><string>b</string><key>c</key><array><!-- c --></array>"), true},
		{with("<key>a</key><string>b<!-- c --></string>"), false}, // nor does CoreFoundation read that
		{with("<key>a</key><string>\x0c \r\n<![CDATA[<b>&]]>&lt;&#169;</string>"), true}, {with("<key>a</key><string>\xa9</string>"), false},
		{with("<key>a</key><string>\x00</string>"), false}, {with("<key>a</key><string>&nbsp;</string>"), false},
		{with("<key>a</key><string/><key/><array/><key>c</key><dict/><key>d</key><true />"), true}, {with("<key>a</key><true> </true>"), false},
		{with("<key>a</key>" + strings.Repeat("<array>", 200) + strings.Repeat("</array>", 200)), true},
		{with("<key>a</key>" + strings.Repeat("<array>", 300) + strings.Repeat("</array>", 300)), false},
		{strings.Replace(list, "App", "A&#112;p", 1), true}, {with("<key>CFBundleExecutable</key><string>B</string>"), false},
		{with("<key>CFBundleExecutable</key><true/>"), false}, {with("<key>&#67;FBundleExecutable-macos</key><string>B</string>"), false},
		{with("<key><![CDATA[MainHTML]]></key><string>B</string>"), false}, {with("<key>CFBundleExecutableName</key><string>B</string>"), true},
		{with("<key>a</key>"), false}, {with("<true/>"), false}, {with("<key>a</key><key>b</key>"), false}, {with("<key>a</key><array><key>b</key></array>"), false},
		{with("<key>a</key><plist><true/></plist>"), false}, {with("<key>a</key><data/>"), false}, {with("<key>a</key><data>AA*A\n</data>"), true},
		{with("<key>a</key><integer>-0x8000000000000000</integer><key>b</key><integer>+ 18446744073709551615</integer>"), true},
		{with("<key>a</key><integer>18446744073709551616</integer>"), false}, {with("<key>a</key><integer>-9223372036854775809</integer>"), false},
		{with("<key>a</key><integer/>"), false}, {with("<key>a</key><integer>0x</integer>"), false}, {with("<key>a</key><array></dict>"), false},
		{head + strings.TrimSuffix(list, "</plist>"), false}, {head + strings.Replace(list, "</plist>", "<true/></plist>", 1), false},
		{"<plist/>", false}, {"<plist><plist><dict/></plist></plist>", false}, {"<plist><array/></plist>", false},
	} {
		name, clear := MainExecutable([]byte(test.info))
		if clear != test.clear || clear && name != "App" {
			t.Errorf("%s: %q, clear %v, want %v", test.info[max(0, len(test.info)-300):], name, clear, test.clear)
		}
	}
}

// Where an Info.plist is damaged, the name is unclear, or it is the one that the library finds.
func TestDamagedInfoPlists(t *testing.T) {
	const seed = 7
	random := rand.New(rand.NewPCG(seed, seed))
	whole := []byte(`<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE plist PUBLIC "-//x//EN" "http://x"><!-- a --><plist version="1.0"><dict>` +
		`<key>a</key><array><integer>-4</integer><real>1.5</real><data>AAAA</data><date>2020-01-01T00:00:00Z</date><true/></array>` +
		`<key>CFBundleExecutable</key><string>A&amp;<![CDATA[b]]>&#99;</string><key>d</key><dict><key>e</key><string/></dict></dict></plist>`)
	parts := []string{"<", ">", "/", "&", ";", "]]>", "<![CDATA[", "<!--", "-->", "</dict>", "<dict>", "<key>", "</key>", "<string>", "</string>", "<key>CFBundleExecutable</key>", " ", "\"", "'", "x"}
	clears := 0
	for range 100_000 {
		data := bytes.Clone(whole)
		for range 1 + random.IntN(2) {
			i := random.IntN(len(data))
			switch part := []byte(parts[random.IntN(len(parts))]); random.IntN(4) {
			case 0:
				data = append(data[:i:i], append(part, data[i:]...)...)
			case 1:
				data = append(data[:i:i], data[min(len(data), i+1+random.IntN(20)):]...)
			case 2:
				if data[i] = byte(random.IntN(256)); data[i] == '\r' {
					data[i] = '\n' // which the library makes of it
				}
			default:
				copy(data[i:], part)
			}
		}
		name, clear := MainExecutable(data)
		if !clear || name == "" {
			continue
		}
		clears++
		var list map[string]any
		// The library wants nothing behind the list.
		if end := bytes.Index(data, []byte("</plist>")); end > 0 {
			data = data[:end+len("</plist>")]
		}
		if _, err := plist.Unmarshal(data, &list); err == nil && list["CFBundleExecutable"] != name {
			t.Fatalf("%s: %q, the library reads %q", data, name, list["CFBundleExecutable"])
		}
	}
	if clears < 5000 {
		t.Errorf("only %d are clear", clears)
	}
}

// Reading an Info.plist takes no memory but for the name, whatever it contains.
func TestInfoPlistMemory(t *testing.T) {
	const size = 1 << 20
	fill := func(before, part, after string) []byte {
		return []byte(before + strings.Repeat(part, (size-len(before)-len(after))/len(part)) + after)
	}
	wide := utf16Bytes([]uint16{0xfeff})
	for _, r := range string(fill("<plist><dict><!--", "x", "--></dict></plist>"))[:size/2-20] {
		wide = append(wide, 0, byte(r))
	}
	wideKey := utf16Bytes(utf16.Encode([]rune("\ufeff<plist><dict><key>" + strings.Repeat("\u4e2d", size/2-100) + "</key><true/></dict></plist>")))
	keys := map[string]any{}
	for i := range 50_000 {
		keys[strings.Repeat("x", 1+i%3)+string(rune('a'+i%26))+string(rune(0x100+i/26))] = true
	}
	binary, err := plist.Marshal(keys, plist.BinaryFormat)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		info []byte
		most int64 // per byte
	}{
		"values of the executable": {fill("<plist><dict>", "<key>CFBundleExecutable-0</key><array>"+strings.Repeat("<dict/>", 8000)+"</array>", "</dict></plist>"), 0},
		"arrays":                   {fill("<plist><dict><key>a</key><array>", "<array></array>", "</array></dict></plist>"), 0},
		"keys":                     {fill("<plist><dict>", "<key>CFBundleExecutabl&amp;</key><true/>", "</dict></plist>"), 4},
		"comments":                 {fill("<plist><dict><!--", "- -", "--></dict></plist>"), 0},
		"a long string":            {fill("<plist><dict><key>a</key><string>", "&amp;", "</string></dict></plist>"), 0},
		"a long name":              {fill("<plist><dict><key>CFBundleExecutable</key><string>", "&amp;", "</string></dict></plist>"), 0},
		"a long key":               {fill("<plist><dict><key>CFBundleExecutable-", "&amp;", "</key><true/></dict></plist>"), 4},
		"UTF-16":                   {wide, 2},
		"a long key in UTF-16":     {wideKey, 3},
		"a binary list":            {binary, 1},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		MainExecutable(test.info)
		runtime.ReadMemStats(&after)
		got := int64(after.TotalAlloc - before.TotalAlloc)
		if limit := test.most*int64(len(test.info)) + 64<<10; got > limit {
			t.Errorf("%s: %d bytes are allocated for %d, want at most %d", name, got, len(test.info), limit)
		}
	}
}
