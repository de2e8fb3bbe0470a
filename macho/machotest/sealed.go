package machotest

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Tree is files by path. Directories are those that the paths name.
type Tree map[string]TreeFile

// A TreeFile is a regular file, or with a Link a symlink.
type TreeFile struct {
	Data       []byte
	Executable bool
	Link       string
}

// SealedBundle describes a bundle that Build seals. The zero value of a field is the usual case.
type SealedBundle struct {
	Form       string // "contents" (applications, kexts), "framework" with versions, or "flat"
	Executable string // name of the main executable
	Image      Image  // of it; External is set by Build. Default: one CodeDirectory with SHA-256
	Fat        bool   // the main executable has a slice for x86_64 too
	Info       string // contents of Info.plist, to which Build adds the name of the executable
	// Files are the others by path from the base: a string for contents, a Link, an Image for a library, or a
	// *SealedBundle. In a flat bundle, those in Resources lie in Files: with Resources, it would not be flat.
	Files map[string]any

	FilesOnly  bool                    // the list has no files2 and rules2, and the signature no other digests than SHA-1, as the list
	BinaryList bool                    // it is a binary property list, in which equal values are one object
	AsFiles    bool                    // nothing is nested code: everything is sealed as a file
	Digests    []string                // of files2; those of the main executable's CodeDirectories are always there
	Order      func(key string) string // by which keys are sorted
}

// Link is the target of a symlink.
type Link string

// Build returns the files of the bundle and the hashes of the main executable's CodeDirectories.
func (b *SealedBundle) Build() (tree Tree, cdhashes [][]byte) {
	prefix, executable, info := "", b.Executable, "Info.plist"
	switch b.Form {
	case "contents":
		prefix, executable = "Contents/", "MacOS/"+b.Executable
	case "framework":
		prefix, info = "Versions/A/", "Resources/Info.plist"
	}
	base := Tree{info: {Data: []byte(b.infoPlist())}}
	code := map[string][][]byte{} // nested code by path
	inside := map[string]bool{}   // paths in it
	for path, v := range b.Files {
		if in, ok := strings.CutPrefix(path, "Resources/"); ok && b.Form == "flat" {
			path = "Files/" + in
		}
		switch v := v.(type) {
		case string:
			base[path] = TreeFile{Data: []byte(v)}
		case Link:
			base[path] = TreeFile{Link: string(v)}
		case Image:
			data, hashes := buildCode(v, false)
			base[path] = TreeFile{Data: data, Executable: true}
			if !b.AsFiles {
				code[path], inside[path] = hashes, true
			}
		case *SealedBundle:
			sub, hashes := v.Build()
			for p, f := range sub {
				base[path+"/"+p] = f
				inside[path+"/"+p] = !b.AsFiles
			}
			if !b.AsFiles {
				code[path] = hashes
			}
		}
	}
	im := b.Image
	if im.Directories == nil || b.FilesOnly {
		im.Directories = []Directory{{PageShift: 12}}
	}
	if b.FilesOnly {
		im.Directories[0].HashType = 1
	}
	list := b.list(base, code, inside, im.Directories)
	im.External = map[int][]byte{1: base[info].Data, 3: list}
	data, cdhashes := buildCode(im, b.Fat)
	base[executable] = TreeFile{Data: data, Executable: true}
	base["_CodeSignature/CodeResources"] = TreeFile{Data: list}
	tree = Tree{}
	for path, f := range base {
		tree[prefix+path] = f
	}
	if b.Form == "framework" {
		tree["Versions/Current"] = TreeFile{Link: "A"}
		tree[b.Executable] = TreeFile{Link: "Versions/Current/" + b.Executable}
		tree["Resources"] = TreeFile{Link: "Versions/Current/Resources"}
	}
	return tree, cdhashes
}

// infoPlist returns the contents of Info.plist, which names the executable. A binary one stays as it is.
func (b *SealedBundle) infoPlist() string {
	name := "<dict><key>CFBundleExecutable</key><string>" + b.Executable + "</string>"
	switch {
	case strings.Contains(b.Info, "CFBundleExecutable") || strings.HasPrefix(b.Info, "bplist"):
		return b.Info
	case strings.Contains(b.Info, "<dict>"):
		return strings.Replace(b.Info, "<dict>", name, 1)
	}
	return "<plist>" + name + "<key>text</key><string>" + b.Info + "</string></dict></plist>"
}

// buildCode builds an image and returns the hashes of its CodeDirectories.
func buildCode(im Image, fat bool) (data []byte, hashes [][]byte) {
	data, l := im.Build()
	hashes = codeHashes(data, l)
	if fat {
		im.CPU, im.Sub = 0x01000007, 3
		other, l2 := im.Build()
		hashes = append(codeHashes(other, l2), hashes...)
		data = Fat(false, false, Slice{CPU: 0x01000007, Sub: 3, Data: other}, Slice{CPU: 0x0100000c, Data: data})
	}
	return data, hashes
}

func codeHashes(data []byte, l *Layout) (hashes [][]byte) {
	for _, d := range l.Directories {
		at := l.Blobs[d.Slot]
		cd := data[at : at+int64(binary.BigEndian.Uint32(data[at+4:]))]
		hashes = append(hashes, digest(cd[37], cd)[:20])
	}
	return hashes
}

// list returns the list that seals files.
func (b *SealedBundle) list(base Tree, code map[string][][]byte, inside map[string]bool, signed []Directory) []byte {
	digests := slices.Clone(b.Digests)
	if digests == nil {
		digests = []string{"hash", "hash2"}
	}
	types := map[string]uint8{"hash": 1, "hash2": 2, "hash3": 3, "hash4": 4}
	for key, t := range types {
		used := func(d Directory) bool { return d.HashType == t || d.HashType == 0 && t == 2 } // 0: SHA-256
		if slices.ContainsFunc(signed, used) && !slices.Contains(digests, key) {
			digests = append(digests, key)
		}
	}
	files, files2 := plistDict{}, plistDict{}
	for path, f := range base {
		if inside[path] || path == "Info.plist" { // the rules leave it out
			continue
		}
		if f.Link != "" {
			files2[path] = plistDict{"symlink": f.Link}
			continue
		}
		all := plistDict{}
		for _, d := range digests {
			all[d] = digest(types[d], f.Data)
		}
		files2[path] = all
		files[path] = digest(1, f.Data)
		if strings.Contains(path, ".lproj/") {
			all["optional"] = true
			files[path] = plistDict{"hash": digest(1, f.Data), "optional": true}
		}
	}
	for path, hashes := range code {
		var texts []string
		for _, h := range hashes {
			texts = append(texts, fmt.Sprintf(`cdhash H"%x"`, h))
		}
		files2[path] = plistDict{"cdhash": hashes[len(hashes)-1], "requirement": strings.Join(texts, " or ")}
	}
	weight := func(w int, key string) plistDict { return plistDict{key: true, "weight": w} }
	rules := plistDict{"^.*": true, `^Info\.plist$`: weight(20, "omit"), `^.*\.lproj/`: weight(1000, "optional")}
	rules2 := maps.Clone(rules)
	if !b.AsFiles {
		rules2["^(Frameworks|PlugIns|Helpers|XPCServices)/"] = weight(10, "nested")
	}
	top := plistDict{"files": files, "files2": files2, "rules": rules, "rules2": rules2}
	if b.FilesOnly {
		top = plistDict{"files": files, "rules": rules}
	}
	w := plistWriter{order: b.Order}
	if b.BinaryList {
		return w.binary(top)
	}
	return w.xml(top)
}

// plistDict is a dictionary of a property list, with values that are strings, bools, ints, []byte or dictionaries.
type plistDict map[string]any

// plistWriter writes property lists as Apple's tools do.
type plistWriter struct{ order func(string) string }

func (w plistWriter) keys(d plistDict) []string {
	return slices.SortedFunc(maps.Keys(d), func(a, b string) int {
		if w.order == nil {
			return strings.Compare(a, b)
		}
		return strings.Compare(w.order(a), w.order(b))
	})
}

func (w plistWriter) xml(d plistDict) []byte {
	b := bytes.NewBufferString(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
`)
	w.xmlValue(b, d, "")
	b.WriteString("</plist>\n")
	return b.Bytes()
}

func (w plistWriter) xmlValue(b *bytes.Buffer, v any, indent string) {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace
	switch v := v.(type) {
	case string:
		fmt.Fprintf(b, "%s<string>%s</string>\n", indent, escape(v))
	case bool:
		fmt.Fprintf(b, "%s<%v/>\n", indent, v)
	case int:
		fmt.Fprintf(b, "%s<real>%d</real>\n", indent, v)
	case []byte:
		fmt.Fprintf(b, "%s<data>\n", indent)
		// Lines have 76 characters with their tabs, which count as 8.
		text, width := base64.StdEncoding.EncodeToString(v), max(76-8*len(indent), 24)&^3
		for len(text) > 0 {
			n := min(width, len(text))
			fmt.Fprintf(b, "%s%s\n", indent, text[:n])
			text = text[n:]
		}
		fmt.Fprintf(b, "%s</data>\n", indent)
	case plistDict:
		fmt.Fprintf(b, "%s<dict>\n", indent)
		for _, k := range w.keys(v) {
			fmt.Fprintf(b, "%s\t<key>%s</key>\n", indent, escape(k))
			w.xmlValue(b, v[k], indent+"\t")
		}
		fmt.Fprintf(b, "%s</dict>\n", indent)
	}
}

// binary writes a binary property list: all scalars that are equal are one object.
func (w plistWriter) binary(d plistDict) []byte {
	var objects [][]byte
	shared := map[string]uint16{}
	var put func(v any) uint16
	put = func(v any) uint16 {
		var o []byte
		switch v := v.(type) {
		case string:
			o = append(binaryHead(5, len(v)), v...)
		case []byte:
			o = append(binaryHead(4, len(v)), v...)
		case bool:
			o = []byte{8}
			if v {
				o = []byte{9}
			}
		case int:
			o = binary.BigEndian.AppendUint64([]byte{0x13}, uint64(v))
		case plistDict:
			at := len(objects)
			objects = append(objects, nil)
			o = binaryHead(13, len(v))
			for _, k := range w.keys(v) {
				o = binary.BigEndian.AppendUint16(o, put(k))
			}
			for _, k := range w.keys(v) {
				o = binary.BigEndian.AppendUint16(o, put(v[k]))
			}
			objects[at] = o
			return uint16(at)
		}
		if at, ok := shared[string(o)]; ok {
			return at
		}
		shared[string(o)] = uint16(len(objects))
		objects = append(objects, o)
		return shared[string(o)]
	}
	top := put(d)
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

func binaryHead(kind byte, n int) []byte {
	if n < 15 {
		return []byte{kind<<4 | byte(n)}
	}
	return binary.BigEndian.AppendUint16([]byte{kind<<4 | 15, 0x11}, uint16(n))
}

// BinaryPlist returns a binary property list with a dictionary of strings.
func BinaryPlist(d map[string]any) []byte { return plistWriter{}.binary(d) }
