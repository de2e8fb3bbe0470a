package httpstore

import (
	"strings"
	"testing"
)

// FuzzNetrc: no file makes the parser fail in another way than by an error, which shows nothing of the file.
func FuzzNetrc(f *testing.F) {
	for _, s := range []string{
		"machine a login b password c", "default login \"a b\" password \"\\\"\"", "macdef x\n\nmachine y", "# z\nmachine a\taccount b\n",
		"machine", "\"", "login hunter2",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := parseNetrc(strings.NewReader(s))
		if err != nil && len(err.Error()) > 100 {
			t.Errorf("a long error: %v", err)
		}
		for _, m := range list {
			for _, w := range []string{m.host, m.login, m.password} {
				// A word is in the file as it stands, unless it was quoted.
				if !strings.Contains(s, w) && !strings.Contains(s, `"`) {
					t.Errorf("%q is not in %q", w, s)
				}
			}
		}
		if len(list) > strings.Count(s, "machine")+strings.Count(s, "default") {
			t.Errorf("%d machines in %q", len(list), s)
		}
	})
}
