package narinfo

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	theirs "github.com/nix-community/go-nix/pkg/narinfo"
	"github.com/nix-community/go-nix/pkg/narinfo/signature"
)

// Published by cache.nixos.org, signed by its key.
const published = `StorePath: /nix/store/syd87l2rxw8cbsxmxl853h0r6pdwhwjr-curl-7.82.0-bin
URL: nar/05ra3y72i3qjri7xskf9qj8kb29r6naqy1sqpbs3azi3xcigmj56.nar.xz
Compression: xz
FileHash: sha256:05ra3y72i3qjri7xskf9qj8kb29r6naqy1sqpbs3azi3xcigmj56
FileSize: 68852
NarHash: sha256:1b4sb93wp679q4zx9k1ignby1yna3z7c4c2ri3wphylbc2dwsys0
NarSize: 196040
References: 0jqd0rlxzra1rs38rdxl43yh6rxchgc6-curl-7.82.0 6w8g7njm4mck5dmjxws0z1xnrxvl81xa-glibc-2.34-115 j5jxw3iy7bbz4a57fh9g2xm2gxmyal8h-zlib-1.2.12 yxvjs9drzsphm9pcf42a4byzj1kb9m7k-openssl-1.1.1n
Deriver: 5rwxzi7pal3qhpsyfc16gzkh939q1np6-curl-7.82.0.drv
Sig: cache.nixos.org-1:TsTTb3WGTZKphvYdBHXwo6weVILmTytUjLB+vcX89fOjjRicCHmKA4RCPMVLkj6TMJ4GMX3HPVWRdD1hkeKZBQ==
`

const publishedKey = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="

func TestFingerprint(t *testing.T) {
	key, err := signature.ParsePublicKey(publishedKey)
	if err != nil {
		t.Fatal(err)
	}
	n, err := Parse([]byte(published), "/nix/store")
	if err != nil {
		t.Fatal(err)
	}
	if !key.Verify(n.Fingerprint(), n.sigs[0]) {
		t.Errorf("the published signature does not hold for %q", n.Fingerprint())
	}

	// Nix keeps references in a set: neither their order nor repetition counts.
	refs := strings.Fields(fieldOf(n, "References"))
	n2, err := Parse([]byte(strings.Replace(published, refs[0]+" "+refs[1], refs[1]+" "+refs[0]+" "+refs[1], 1)), "/nix/store")
	if err != nil {
		t.Fatal(err)
	}
	if !key.Verify(n2.Fingerprint(), n.sigs[0]) {
		t.Errorf("other order: %q", n2.Fingerprint())
	}

	// A hash in another encoding is the same hash.
	n3, err := Parse([]byte(strings.Replace(published, HashText(n.NarHash), fmt.Sprintf("sha256:%x", n.NarHash), 1)), "/nix/store")
	if err != nil || !key.Verify(n3.Fingerprint(), n.sigs[0]) {
		t.Errorf("in hexadecimal: %v, %v", n3, err)
	}

	other := strings.ReplaceAll(published, "/nix/store", "/opt/my/store")
	n4, err := Parse([]byte(other), "/opt/my/store")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := n4.Fingerprint(), strings.ReplaceAll(n.Fingerprint(), "/nix/store/", "/opt/my/store/"); got != want {
		t.Errorf("other store:\ngot  %q\nwant %q", got, want)
	}
}

func fieldOf(n *Info, key string) string {
	for _, l := range n.lines {
		if l.key == key {
			return strings.TrimPrefix(l.text, key+": ")
		}
	}
	return ""
}

func TestInfoIsKept(t *testing.T) {
	for _, s := range []string{
		published,
		published + "Unknown: a: b: c\nUnknown: twice\nEmpty: \nOdd:value\n",
		strings.Replace(published, "Deriver: 5rwxzi7pal3qhpsyfc16gzkh939q1np6-curl-7.82.0.drv", "Deriver: unknown-deriver", 1),
		published + "System: x86_64-linux\nCA: fixed:r:sha256:1b4sb93wp679q4zx9k1ignby1yna3z7c4c2ri3wphylbc2dwsys0\n",
	} {
		n, err := Parse([]byte(s), "/nix/store")
		if err != nil {
			t.Errorf("%v in\n%s", err, s)
			continue
		}
		if got := string(n.Encode()); got != s {
			t.Errorf("got\n%s\nwant\n%s", got, s)
		}
	}
}

func TestSet(t *testing.T) {
	n := &Info{lines: []line{{"A", "A: 1"}, {"B", "B:2"}, {"B", "B: 3"}}}
	n.Set("A", "new", "")
	n.Set("C", "after A", "A")
	n.Set("D", "first", "nothing")
	if got, want := string(n.Encode()), "D: first\nA: new\nC: after A\nB:2\nB: 3\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !n.Drop("B") || n.Drop("B") {
		t.Error("drop says otherwise")
	}
	if got, want := string(n.Encode()), "D: first\nA: new\nC: after A\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBadInfos(t *testing.T) {
	swap := func(from, to string) string {
		if !strings.Contains(published, from) {
			t.Fatalf("no %q", from)
		}
		return strings.Replace(published, from, to, 1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"empty":               {"", "line 1"},
		"no colon":            {published + "x\n", "line 11"},
		"an empty line":       {published + "\n", "line 11"},
		"no key":              {published + ": x\n", "line 11"},
		"no blank":            {swap("NarSize: ", "NarSize:"), "line 7"},
		"nothing after colon": {published + "Empty:\n", "line 11"},
		"cut off":             {strings.TrimSuffix(published, "\n"), "line 10 is not complete: unexpected EOF"},
		"twice":               {published + "NarSize: 1\n", "line 11: NarSize occurs twice"},
		"missing dash":        {swap("pdwhwjr-curl", "pdwhwjrccurl"), "want the end or \"-\" after a hash part"},
		"missing name":        {swap("-curl-7.82.0-bin", "-"), "empty name after the hash part"},
		"short hash":          {swap("syd87", "yd87"), "\"-\" at offset 31 is not a character of a hash part"},
		"hash with e":         {swap("syd87", "eyd87"), "\"e\" at offset 0 is not a character of a hash part"},
		"slash in the name":   {swap("curl-7.82.0-bin", "curl/bin"), "\"/\" at offset 37 is not a character"},
		"long name":           {swap("curl-7.82.0-bin", strings.Repeat("x", 212)), "at most 211"},
		"relative":            {swap("/nix/store/syd", "syd"), "is not in the store directory /nix/store"},
		"other store":         {swap("/nix/store/", "/nix/store2/"), "is not in the store directory /nix/store"},
		"bad reference":       {swap("6w8g7njm4mck5dmjxws0z1xnrxvl81xa-glibc", "glibc"), "References"},
		"double blank":        {swap("0jqd0rlxzra1rs38rdxl43yh6rxchgc6-curl-7.82.0 ", "0jqd0rlxzra1rs38rdxl43yh6rxchgc6-curl-7.82.0  "), "References"},
		"bad deriver":         {swap("5rwxzi7pal3qhpsyfc16gzkh939q1np6-curl-7.82.0.drv", "x.drv"), "Deriver"},
		"negative":            {swap("NarSize: 196040", "NarSize: -1"), "NarSize"},
		"zero":                {swap("NarSize: 196040", "NarSize: 0"), "a NAR is never empty"},
		"huge":                {swap("NarSize: 196040", "NarSize: 9223372036854775808"), "out of range"},
		"more than huge":      {swap("NarSize: 196040", "NarSize: 99999999999999999999"), "NarSize"},
		"absolute URL":        {swap("URL: nar/", "URL: /nar/"), "URL"},
		"URL elsewhere":       {swap("URL: nar/", "URL: https://example.org/nar/"), "URL"},
		"URL above":           {swap("URL: nar/", "URL: ../nar/"), "URL"},
		"URL hidden":          {swap("URL: nar/", "URL: .narseal/"), "URL"},
		"URL of a narinfo":    {swap("URL: nar/05ra3y72i3qjri7xskf9qj8kb29r6naqy1sqpbs3azi3xcigmj56.nar.xz", "URL: nix-cache-info"), "URL"},
		"compression":         {swap("Compression: xz", "Compression: br"), `unsupported compression "br"`},
		"short digest":        {swap("NarHash: sha256:1", "NarHash: sha256:"), "NarHash"},
		"no algorithm":        {swap("NarHash: sha256:", "NarHash: "), "NarHash"},
		"another algorithm":   {swap("NarHash: sha256:1b4sb93wp679q4zx9k1ignby1yna3z7c4c2ri3wphylbc2dwsys0", "NarHash: md5:d41d8cd98f00b204e9800998ecf8427e"), "md5 is not supported"},
		"signature":           {swap("Sig: cache.nixos.org-1:", "Sig: cache.nixos.org-1"), "line 10"},
		"carriage returns":    {strings.ReplaceAll(published, "\n", "\r\n"), "\\r"},
		"something with NULs": {"\x00\x00\x00", "line 1"},
	} {
		_, err := Parse([]byte(c.text), "/nix/store")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// Lines and signatures are bounded, because each of them takes far more memory or time than its text.
func TestManyLines(t *testing.T) {
	sig := published[strings.LastIndex(published, "Sig: "):]
	lines := strings.Count(published, "\n")
	for what, c := range map[string]struct {
		text string
		want string
	}{
		"lines":           {published + strings.Repeat("X: 1\n", maxLines-lines), ""},
		"more lines":      {published + strings.Repeat("X: 1\n", maxLines-lines+1), "1025 lines, at most 1024"},
		"signatures":      {published + strings.Repeat(sig, maxSignatures-1), ""},
		"more signatures": {published + strings.Repeat(sig, maxSignatures), "more than 64 signatures"},
	} {
		if _, err := Parse([]byte(c.text), "/nix/store"); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", what, err, c.want)
		}
	}
}

// A long store directory does not multiply the text that signatures sign.
func TestManyReferences(t *testing.T) {
	dir := "/" + strings.Repeat("d", 1000)
	refs := strings.Repeat(" 6w8g7njm4mck5dmjxws0z1xnrxvl81xa-glibc", 20_000)
	text := strings.ReplaceAll(strings.Split(published, "References:")[0], "/nix/store", dir) + "References:" + refs + "\n"
	if _, err := Parse([]byte(text), dir); err == nil || !strings.Contains(err.Error(), "in so long a store directory") {
		t.Errorf("got %v", err)
	}
}

func TestCacheInfos(t *testing.T) {
	for text, want := range map[string]string{
		"StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n": "/nix/store",
		"StoreDir: /gnu/store\n":                                 "/gnu/store",
		"StoreDir:/gnu/store":                                    "/gnu/store",
		"WantMassQuery: 1\n":                                     "/nix/store",
		"":                                                       "/nix/store",
	} {
		c, err := ParseCacheInfo([]byte(text))
		if err != nil || c.StoreDir != want {
			t.Errorf("%q: got %+v, %v, want %s", text, c, err, want)
		}
	}
	for _, text := range []string{"StoreDir: nix/store\n", "StoreDir: /nix/store/\n", "StoreDir: /\n", "<html>\n"} {
		if c, err := ParseCacheInfo([]byte(text)); err == nil {
			t.Errorf("%q: got %+v and no error", text, c)
		}
	}
}

// What is parsed is written as it came, go-nix reads it where it knows the keys, and
// the fingerprints agree in the usual store.
func FuzzInfo(f *testing.F) {
	f.Add([]byte(published))
	f.Add([]byte(published + "Unknown: x\n"))
	f.Add([]byte(strings.Replace(published, "Compression: xz\n", "", 1)))
	f.Add([]byte("NarHash: sha256:" + strings.Repeat("0", 42) + "==\n")) // 31 bytes
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := Parse(b, "/nix/store")
		if err != nil {
			return
		}
		if got := string(n.Encode()); strings.TrimSuffix(got, "\n") != strings.TrimSuffix(string(b), "\n") {
			t.Fatalf("got %q, want %q", got, b)
		}
		if Name(n.Base) != n.Base[:32]+".narinfo" || !IsName(Name(n.Base)) {
			t.Fatalf("the name %q", Name(n.Base))
		}
		other, err := theirs.Parse(strings.NewReader(string(b)))
		if err != nil {
			return // an unknown key, or ": " in a value
		}
		if err := other.Check(); err != nil && other.Compression != "none" {
			t.Fatalf("go-nix: %v", err)
		}
		for i, r := range other.References {
			if i > 0 && r <= other.References[i-1] {
				return // go-nix does not sort
			}
		}
		if got, want := n.Fingerprint(), other.Fingerprint(); len(other.References) > 0 && got != want {
			t.Fatalf("fingerprint %q, go-nix's %q", got, want)
		}
	})
}

// What a run remembers of a path does not keep the whole text of its narinfo in memory.
func TestStorePathMemory(t *testing.T) {
	const n = 1000
	var refs []string
	for i := range n {
		refs = append(refs, fmt.Sprintf("%032d-x", i))
	}
	text := strings.Replace(published, "References: ", "References: "+strings.Join(refs, " ")+" ", 1)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	kept := map[string]string{}
	for i := range n {
		info, err := Parse([]byte(strings.Replace(text, "-bin\n", fmt.Sprintf("-bin%d\n", i), 1)), "/nix/store")
		if err != nil {
			t.Fatal(err)
		}
		kept[info.StorePath] = info.URL + info.Base
		kept[info.Base] = info.URL
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n; each > 2048 {
		t.Errorf("%d bytes for each path of a narinfo of %d", each, len(text))
	}
	runtime.KeepAlive(kept)
}
