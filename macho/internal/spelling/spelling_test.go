package spelling

import (
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
)

// Spellings are those that the Unicode library makes: decomposed, and the same for strings that differ in case only.
func TestSpellings(t *testing.T) {
	const seed = 1
	random := rand.New(rand.NewPCG(seed, seed))
	alphabet := []rune("aAkK\u212aſS/.eé\u0301\u0323\u0302\u0345ệỆ가각\u1100\u1161ΩωΩ\u1e9b\u0344中ÅÅ\u200d\ufeff")
	word := func() string {
		var s []rune
		for range random.IntN(6) {
			s = append(s, alphabet[random.IntN(len(alphabet))])
		}
		return string(s)
	}
	plain := func(s string) string {
		s = strings.Map(func(r rune) rune {
			if strings.ContainsRune("\u200d\ufeff", r) {
				return -1
			}
			return r
		}, s)
		return norm.NFD.String(s)
	}
	same := 0
	for range 300_000 {
		a, b := word(), word()
		want := strings.EqualFold(plain(a), plain(b))
		if want {
			same++
		}
		if got := Of(a).Matches(b); got != want || (Of(a).letters == Of(b).letters) != want || (HashOf(a) == HashOf(b)) != want {
			t.Fatalf("%+q, %+q: %v, want %v", a, b, got, want)
		}
	}
	if same < 1000 {
		t.Errorf("only %d pairs are the same", same)
	}
	for _, pair := range [][2]string{{"Info.pli\ufb06", "info.PLIST"}, {"Stra\u00dfe", "STRASSE"}, {"Stra\u1e9ee", "strasse"}, {"\ufb16", "\u057e\u0576"}} {
		if !Of(pair[0]).Matches(pair[1]) || !Of(pair[1]).Matches(pair[0]) {
			t.Errorf("%q and %q are two", pair[0], pair[1])
		}
	}
	if Of("a\xff").Matches("a\xfe") || !Of("a\xff").Matches("A\xff") {
		t.Error("bytes that are not text are not themselves")
	}
	names := []string{"Info.plist", "Info-macos.plist", "Support Files", "Resources/Info.plist", "Resources", "Contents"}
	table := NewTable(names...)
	for _, name := range names {
		for range 300 {
			path := strings.ToLower(name)
			for _, pair := range [][2]string{{"st", "\ufb06"}, {"fi", "\ufb01"}, {"s", "\u017f"}, {"o", "\u200do"}, {"e", "e\u0301"}, {"a", "A"}, {"n", "\u00f1"}} {
				if random.IntN(4) == 0 {
					path = strings.ReplaceAll(path, pair[0], pair[1])
				}
			}
			want := ""
			if Of(name).Matches(path) {
				want = name
			}
			if got := table.Name(path); got != want {
				t.Errorf("%+q is taken for %q, want %q", path, got, want)
			}
		}
	}
}
