package metrics

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// line is what the text format allows of a sample (the grammar of exposition_formats).
var line = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)\{(([a-z]+="([^"\\\n]|\\["\\n])*",?)*)\} ([0-9.]+)$`)

func TestWrite(t *testing.T) {
	v := Values{
		Command: "cache repair", Shard: "3/16", Version: "1.0 \"x\\\n",
		Start: time.Unix(1000, 500e6), Paths: map[string]int64{"changed": 2, "unchanged": 40},
		PathsFound: 50, Bytes: 1 << 40, BytesFound: 1 << 41, Slices: 7, Invalid: 1, Repaired: 3, List: time.Unix(900, 0),
	}
	write := func() map[string]float64 {
		t.Helper()
		var b strings.Builder
		if err := v.Write(&b); err != nil {
			t.Fatal(err)
		}
		got, typed := map[string]float64{}, map[string]bool{}
		for _, l := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
			if name, ok := strings.CutPrefix(l, "# TYPE "); ok {
				name, _, _ = strings.Cut(name, " ")
				if typed[name] {
					t.Errorf("%s is declared twice", name)
				}
				typed[name] = true
				continue
			}
			if strings.HasPrefix(l, "# HELP ") {
				continue
			}
			m := line.FindStringSubmatch(l)
			if m == nil {
				t.Errorf("not a sample: %s", l)
				continue
			}
			if !typed[m[1]] || !strings.HasPrefix(m[2], `command="cache repair",shard="3/16"`) {
				t.Errorf("no type, or other labels: %s", l)
			}
			key := m[1]
			if _, status, ok := strings.Cut(m[2], "status="); ok {
				key += status
			}
			n, err := strconv.ParseFloat(m[5], 64)
			if err != nil {
				t.Error(err)
			}
			got[key] = n
		}
		return got
	}
	got := write()
	for name, want := range map[string]float64{
		`narseal_paths_total"changed"`: 2, `narseal_paths_total"unchanged"`: 40, "narseal_paths_found": 50,
		"narseal_nar_bytes_total": 1 << 40, "narseal_slices_total": 7, "narseal_invalid_signatures_total": 1,
		"narseal_repaired_signatures_total": 3, "narseal_run_start_timestamp_seconds": 1000.5,
		"narseal_input_list_timestamp_seconds": 900, "narseal_run_info": 1,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	for _, name := range []string{"narseal_run_end_timestamp_seconds", "narseal_run_success", "narseal_input_newest_timestamp_seconds"} {
		if _, ok := got[name]; ok {
			t.Errorf("%s is there", name)
		}
	}
	v.End, v.Success, v.Newest = time.Unix(1001, 0), true, time.Unix(1, 0)
	if got = write(); got["narseal_run_end_timestamp_seconds"] != 1001 || got["narseal_run_success"] != 1 || got["narseal_input_newest_timestamp_seconds"] != 1 {
		t.Errorf("at the end: %v", got)
	}
}
