package sweepsummary

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"narseal/cmd/narseal/internal/ledger"
	"narseal/cmd/narseal/internal/report"
)

// All shards of a sweep must have found the same closure, know all of it, and have finished. Of each shard, the latest line
// counts: the last one in a ledger, whatever its clock says. Shards of another number than those of the latest sweep do not
// count.
func TestClosures(t *testing.T) {
	line := func(day int, shard string, paths int, digest, unknown string) string {
		return fmt.Sprintf(`{"closure":{"shard":%q,"paths":%d,"digest":%q,"unknown":[%s],"at":"2026-01-%02dT00:00:00Z"}}`+"\n", shard, paths, digest, unknown, day)
	}
	begun := func(day int, shard string) string {
		return fmt.Sprintf(`{"closure":{"shard":%q,"begun":true,"at":"2026-01-%02dT00:00:00Z"}}`+"\n", shard, day)
	}
	h := `"` + strings.Repeat("1", 32) + `"`
	for name, c := range map[string]struct {
		lines []string
		want  string // in the error
	}{
		"none":             {nil, ""},
		"alike":            {[]string{line(1, "0/2", 3, "a", ""), line(1, "1/2", 3, "a", "")}, ""},
		"one of them":      {[]string{line(1, "1/2", 3, "a", "")}, "no ledger has the closure of 1 shard of 2, such as 0/2"},
		"two of four":      {[]string{line(1, "0/4", 3, "a", ""), line(1, "2/4", 3, "a", "")}, "no ledger has the closure of 2 shards of 4, such as 1/4"},
		"some, later":      {[]string{line(1, "0/2", 3, "a", ""), line(1, "1/2", 3, "a", ""), line(2, "1/3", 3, "a", "")}, "no ledger has the closure of 2 shards of 3, such as 0/3"},
		"begun":            {[]string{line(1, "0/2", 3, "a", ""), begun(1, "1/2")}, "shard 1/2 has begun and not finished"},
		"begun again":      {[]string{line(1, "0/2", 3, "a", ""), begun(1, "1/2"), line(1, "1/2", 3, "a", ""), begun(2, "1/2")}, "shard 1/2 has begun and not finished"},
		"begun, mended":    {[]string{line(1, "0/2", 3, "a", ""), begun(1, "1/2"), begun(1, "1/2"), line(1, "1/2", 3, "a", "")}, ""},
		"begun, all":       {[]string{begun(1, "0/2"), begun(1, "1/2")}, "shard 1/2 has begun and not finished"},
		"begun, whole":     {[]string{begun(1, "")}, "shard 0/1 has begun and not finished"},
		"they differ":      {[]string{line(1, "0/3", 2, "b", ""), line(1, "1/3", 2, "b", ""), line(1, "2/3", 3, "a", "")}, "0/3 found 2 paths, 2/3 found 3 paths"},
		"unknown":          {[]string{line(1, "0/2", 2, "a", h), line(1, "1/2", 2, "a", "")}, "shard 0/2 does not know what " + strings.Trim(h, `"`) + " refers to"},
		"mended":           {[]string{line(1, "0/2", 2, "b", h), line(1, "1/2", 3, "a", ""), line(2, "0/2", 3, "a", "")}, ""},
		"mended, before":   {[]string{line(2, "0/2", 3, "a", ""), line(1, "1/2", 3, "a", ""), header, line(1, "0/2", 2, "b", h)}, ""},
		"clock set back":   {[]string{line(3, "0/2", 3, "a", ""), line(3, "1/2", 3, "a", ""), begun(2, "1/2"), line(2, "1/2", 3, "b", h)}, "shard 1/2 does not know"},
		"clock was ahead":  {[]string{line(3, "0/2", 3, "a", ""), line(3, "1/2", 3, "a", ""), line(2, "0/1", 3, "a", h)}, "shard 0/1 does not know"},
		"copies":           {[]string{line(1, "0/2", 2, "b", h), header, line(1, "1/2", 3, "a", ""), line(2, "0/2", 3, "a", ""), header, line(1, "0/2", 2, "b", h), header, line(1, "1/2", 3, "a", "")}, ""},
		"worse":            {[]string{line(1, "0/2", 3, "a", ""), line(1, "1/2", 3, "a", ""), line(2, "1/2", 2, "b", "")}, "0/2 found 3 paths, 1/2 found 2 paths"},
		"other shards":     {[]string{line(1, "0/4", 2, "b", h), line(2, "0/2", 3, "a", ""), line(1, "3/4", 1, "c", ""), line(2, "1/2", 3, "a", "")}, ""},
		"the whole":        {[]string{line(1, "", 3, "a", "")}, ""},
		"the whole, since": {[]string{line(1, "", 3, "a", h)}, "shard 0/1 does not know"},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(report.NewBudget(1 << 20))
			if err := r.Read(strings.NewReader(header + strings.Join(c.lines, ""))); err != nil {
				t.Fatal(err)
			}
			s := r.Summary(nil)
			err := s.Err()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			var text, html, json bytes.Buffer
			if err := s.WriteText(&text); err != nil {
				t.Fatal(err)
			}
			if err := s.WriteHTML(&html, "x"); err != nil {
				t.Fatal(err)
			}
			if err := s.WriteJSON(&json); err != nil {
				t.Fatal(err)
			}
			for form, b := range map[string]*bytes.Buffer{"text": &text, "HTML": &html, "JSON": &json} {
				if !strings.Contains(b.String(), c.want) || strings.Contains(strings.ToLower(b.String()), "closure") == (c.lines == nil) {
					t.Errorf("%s lacks %q:\n%s", form, c.want, b)
				}
			}
		})
	}
}

// The closures of more shards than anybody has are an error.
func TestManyClosures(t *testing.T) {
	r := NewReader(report.NewBudget(1 << 20))
	c := ledger.Closure{Paths: 1, Digest: "x"}
	for i := range maxClosures + 2 {
		c.Shard = fmt.Sprintf("%d/100000", i%maxClosures) // one of them again
		if i > maxClosures {
			c.Shard = "99999/100000"
		}
		if err := r.addClosure(i, &c); (err == nil) != (i <= maxClosures) {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if err := NewReader(report.NewBudget(1)).OnlyBroken().addClosure(0, &c); err != nil {
		t.Error(err)
	}
}
