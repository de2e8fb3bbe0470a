package s3store_test

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// A page takes no more memory than its bytes are worth, whatever elements it has.
func TestPageMemory(t *testing.T) {
	page := func(text string) string { return "<ListBucketResult><Name>cache</Name>" + text + "</ListBucketResult>" }
	const most = 4_000_000
	for name, text := range map[string]string{
		"entries":    page(strings.Repeat("<Contents/>", most/11)),
		"with space": page(strings.Repeat(`<s3:Contents xmlns:s3="s3"></s3:Contents>`, most/41)),
		"metadata":   page(strings.Repeat("<Contents><UserMetadata/></Contents>", most/36)),
		"grants":     page("<Contents>" + strings.Repeat("<Grant/>", most/8) + "</Contents>"),
		"prefixes":   page(strings.Repeat("<CommonPrefixes/>", most/17)),
		"attributes": page("<a " + strings.Repeat(`b="" `, most/5) + "/>"),
		"depth":      page(strings.Repeat("<a>", most/7) + strings.Repeat("</a>", most/7)),
		"error":      "<Error>" + strings.Repeat("<Code/>", 1_000_000/7) + "</Error>",
	} {
		t.Run(name, func(t *testing.T) {
			s := fake(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, text) })
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var err error
			for _, err = range s.List(t.Context(), "") {
			}
			runtime.ReadMemStats(&after)
			if taken := after.TotalAlloc - before.TotalAlloc; err == nil || taken > 64<<20 {
				t.Errorf("took %d MiB, %v", taken>>20, err)
			}
		})
	}
}

// An error that comes with status 200 is one.
func TestErrorInPage(t *testing.T) {
	for code, want := range map[string]string{"AccessDenied": "s3:ListBucket", "NoSuchBucket": "?endpoint="} {
		s := fake(t, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "<?xml version=\"1.0\"?>\n<Error><Code>%s</Code><Message>m</Message></Error>\n", code)
		})
		var err error
		for _, err = range s.List(t.Context(), "") {
		}
		if err == nil || !strings.Contains(hintOf(err), want) {
			t.Errorf("%s: got %v, hint %q", code, err, hintOf(err))
		}
	}
}
