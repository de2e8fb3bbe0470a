package storepath

import (
	"strings"
	"testing"

	gonix "github.com/nix-community/go-nix/pkg/storepath"
)

const hash = "0123456789abcdfghijklmnpqrsvwxyz"

var baseNames = []struct {
	base string
	want string // part of the error; "" means valid
}{
	{hash + "-x", ""},
	{hash + "-" + strings.Repeat("n", MaxName), ""},
	{hash + "-+-._?=aZ9", ""},
	{hash + "-.hidden", ""},
	{hash + "-..hidden", ""},
	{"", "0 characters"},
	{hash[:31], "31 characters"},
	{hash, "only a hash part"},
	{hash + "x", "at offset 32"},
	{hash + "_x", "at offset 32"},
	{hash + "-", "empty name"},
	{hash + "-" + strings.Repeat("n", MaxName+1), "212 characters"},
	{hash + "-.", `component "."`},
	{hash + "-..", `component ".."`},
	{hash + "-.-x", `component "."`},
	{hash + "-..-x", `component ".."`},
	{hash + "-a/b", "at offset 34"},
	{hash + "-a b", "at offset 34"},
	{hash + "-ä", "at offset 33"},
	{hash + "-a\x00", "at offset 34"},
	{strings.Replace(hash, "a", "e", 1) + "-x", "at offset 10"},
	{strings.ToUpper(hash) + "-x", "at offset 10"},
}

func TestCheckBaseName(t *testing.T) {
	for _, test := range baseNames {
		err := CheckBaseName(test.base)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%q: %v", test.base, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%q: got error %v, want one with %q", test.base, err, test.want)
		}
		// go-nix refuses a name that starts with a dot, as Nix before 2.20 did, and
		// accepts an empty one, one of any length and a missing dash.
		_, name, _ := strings.Cut(test.base, "-")
		if name == "" || strings.HasPrefix(name, ".") || len(name) > MaxName || len(test.base) > HashLen && test.base[HashLen] != '-' {
			continue
		}
		if oracle := gonix.Validate(gonix.StoreDir + "/" + test.base); (oracle == nil) != (err == nil) {
			t.Errorf("%q: got error %v, go-nix says %v", test.base, err, oracle)
		}
	}
}

func TestCharactersAgainstGoNix(t *testing.T) {
	for c := range 256 {
		s := hash + "-x" + string([]byte{byte(c)})
		if got, want := CheckBaseName(s) == nil, gonix.Validate(gonix.StoreDir+"/"+s) == nil; got != want {
			t.Errorf("byte %#x in a name: valid %v, go-nix says %v", c, got, want)
		}
		if got := CheckBaseName(s) == nil; got != IsNameChar(byte(c)) {
			t.Errorf("byte %#x: IsNameChar is %v", c, !got)
		}
		s = hash[:31] + string([]byte{byte(c)}) + "-x"
		if got, want := CheckBaseName(s) == nil, gonix.Validate(gonix.StoreDir+"/"+s) == nil; got != want {
			t.Errorf("byte %#x in a hash part: valid %v, go-nix says %v", c, got, want)
		}
		if got := CheckHash(s[:32]) == nil; got != IsHashChar(byte(c)) {
			t.Errorf("byte %#x: IsHashChar is %v", c, !got)
		}
	}
}

func TestCheckHash(t *testing.T) {
	for s, ok := range map[string]bool{hash: true, hash[1:]: false, hash + "0": false, "": false} {
		if err := CheckHash(s); (err == nil) != ok {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestCheckDir(t *testing.T) {
	for dir, ok := range map[string]bool{
		"/nix/store": true, "/s": true, "/" + strings.Repeat("d", MaxDir-1): true,
		"": false, "/": false, "nix/store": false, "/nix/store/": false, "/nix\x00": false, "/nix\n": false, "/\x1b[2J": false, "/\u009b2J": false, "/\u202e": false, "/\xff": false, "/Träger/mein Laden": true, "/" + strings.Repeat("d", MaxDir): false,
	} {
		if err := CheckDir(dir); (err == nil) != ok {
			t.Errorf("%.20q: %v", dir, err)
		}
	}
}

func TestSplit(t *testing.T) {
	dir, base, err := Split("/a/b/" + hash + "-x-1.2")
	if err != nil || dir != "/a/b" || base != hash+"-x-1.2" {
		t.Errorf("got %q, %q, %v", dir, base, err)
	}
	for _, path := range []string{"", hash + "-x", "a/" + hash + "-x", "/" + hash + "-x", "/a/" + hash, "/a//" + hash + "-x", "/a/" + hash + "-x/"} {
		if _, _, err := Split(path); err == nil {
			t.Errorf("%q: no error", path)
		}
	}
}

func TestBaseIn(t *testing.T) {
	if base, err := BaseIn("/s", "/s/"+hash+"-x"); err != nil || base != hash+"-x" {
		t.Errorf("got %q, %v", base, err)
	}
	for _, path := range []string{"/t/" + hash + "-x", "/s/t/" + hash + "-x", "/s" + hash + "-x", "/s/" + hash} {
		if _, err := BaseIn("/s", path); err == nil {
			t.Errorf("%q: no error", path)
		}
	}
}
