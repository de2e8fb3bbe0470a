package listing

import (
	"io"
	"strings"
	"testing"
)

func BenchmarkRename(b *testing.B) {
	for name, text := range map[string]string{
		"blanks":  `{"a":1` + strings.Repeat(" ", 16<<20) + `}`,
		"entries": `{"root":{"entries":{"a":{}` + strings.Repeat(`,"b":{"type":"regular","size":3,"narOffset":400}`, 300_000) + `}}}`,
		"numbers": `{"a":[1` + strings.Repeat(`,1`, 8<<20) + `]}`,
		"arrays":  `{"a":[[]` + strings.Repeat(`,[]`, 5<<20) + `]}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := Rename(io.Discard, strings.NewReader(text), func(s string) string { return s }); err != nil && !strings.Contains(err.Error(), "order") {
					b.Fatal(err)
				}
			}
		})
	}
}
