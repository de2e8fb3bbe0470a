package resources

import (
	"fmt"
	"strings"
	"testing"

	"howett.net/plist"
)

// A list in binary form has the same meaning as in XML. Another library writes both.
func TestBinaryValues(t *testing.T) {
	sums := map[string]any{"hash": make([]byte, 20), "hash2": []byte(strings.Repeat("b", 32))}
	for name, test := range map[string]struct {
		entry, rule any
		valid       bool
	}{
		"digests":           {sums, true, true},
		"a digest":          {make([]byte, 20), false, true},
		"a symlink":         {map[string]any{"symlink": "a\u4e2d\U0001f600\u0301"}, map[string]any{"omit": true, "weight": 20.0}, true},
		"code":              {map[string]any{"requirement": "cdhash H\"00\"", "cdhash": make([]byte, 20)}, map[string]any{"nested": true, "weight": 10}, true},
		"optional":          {map[string]any{"hash2": make([]byte, 32), "optional": true}, map[string]any{"optional": true, "weight": 300}, true},
		"a large weight":    {sums, map[string]any{"weight": 1 << 31}, false},
		"a negative weight": {sums, map[string]any{"weight": -1}, false},
		"other values":      {map[string]any{"hash": make([]byte, 20), "other": []any{1, "x", map[string]any{"hash": 1}}, "more": map[string]any{"a": "b"}}, map[string]any{"x": 1.5}, true},
		"a text as digest":  {map[string]any{"hash": "x"}, true, false},
		"a short digest":    {map[string]any{"hash": make([]byte, 19)}, true, false},
		"a list":            {[]any{"x"}, true, false},
		"a list as rule":    {sums, []any{}, false},
		"a number":          {7, true, false},
		"long text":         {map[string]any{"symlink": strings.Repeat("x", maxValue+1)}, true, false},
		"long wide text":    {map[string]any{"symlink": strings.Repeat("\u0101", maxValue/2+1)}, true, false},
		"other long text":   {map[string]any{"hash": make([]byte, 20), "x": strings.Repeat("x", maxValue+1)}, true, false},
	} {
		list := map[string]any{
			"files2": map[string]any{"a": test.entry, "\u4e2d\U0001f600": sums}, "rules2": map[string]any{"^.*": test.rule}, "x": "y",
		}
		var parsed []string
		for _, format := range []int{plist.XMLFormat, plist.BinaryFormat} {
			data, err := plist.Marshal(list, format)
			if err != nil {
				t.Fatal(err)
			}
			l, err := Parse(data)
			if (err == nil) != test.valid {
				t.Errorf("%s, format %d: %v", name, format, err)
			}
			if err != nil {
				parsed = append(parsed, "refused")
				continue
			}
			text := ""
			for _, path := range []string{"a", "\u4e2d\U0001f600"} {
				text += fmt.Sprintf("%+v\n", *l.files[path])
			}
			for i := range l.rules {
				l.rules[i].match = nil
			}
			parsed = append(parsed, text+fmt.Sprintf("%+v", l.rules))
		}
		if parsed[0] != parsed[1] {
			t.Errorf("%s: in XML %s\nbinary %s", name, parsed[0], parsed[1])
		}
	}
	// A key may be as long as a value.
	for n, valid := range map[int]bool{maxValue: true, maxValue + 1: false} {
		data, err := plist.Marshal(map[string]any{"files2": map[string]any{strings.Repeat("k", n): sums}, "rules2": map[string]any{}}, plist.BinaryFormat)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(data); (err == nil) != valid {
			t.Errorf("a key of %d bytes: %v", n, err)
		}
	}
}
