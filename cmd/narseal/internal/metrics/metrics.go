// Package metrics writes the metrics of a run in the text format of Prometheus, for the textfile collector of
// node_exporter (https://prometheus.io/docs/instrumenting/exposition_formats/).
package metrics

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Values are the numbers of a run so far.
type Values struct {
	Command string // a label of every sample, like Shard
	Shard   string // "" without shards
	Version string

	Start, End time.Time // End: zero during the run
	Success    bool      // the exit status is 0; only valid with End

	Paths             map[string]int64 // finished, by status
	PathsFound        int64
	Bytes, BytesFound int64 // of NARs
	Slices            int64
	Invalid, Repaired int64     // signatures
	Newest, List      time.Time // times of the newest narinfo and of the list of paths; zero if unknown
}

// Write writes the values.
func (v *Values) Write(w io.Writer) error {
	p := &printer{w: bufio.NewWriter(w), labels: label("command", v.Command)}
	if v.Shard != "" {
		p.labels += "," + label("shard", v.Shard)
	}
	p.family("narseal_run_info", "gauge", "The version of narseal.")
	p.sample("narseal_run_info", label("version", v.Version), 1)
	p.one("narseal_run_start_timestamp_seconds", "gauge", "When the run began.", seconds(v.Start))
	if !v.End.IsZero() {
		p.one("narseal_run_end_timestamp_seconds", "gauge", "When the run ended. It is missing while the run goes on.", seconds(v.End))
		success := 0.0
		if v.Success {
			success = 1
		}
		p.one("narseal_run_success", "gauge", "Whether the run ended with status 0.", success)
	}
	p.family("narseal_paths_total", "counter", "Finished store paths, by status.")
	for _, status := range slices.Sorted(maps.Keys(v.Paths)) {
		p.sample("narseal_paths_total", label("status", status), float64(v.Paths[status]))
	}
	p.one("narseal_paths_found", "gauge", "Store paths that were found so far, finished or not.", float64(v.PathsFound))
	p.one("narseal_nar_bytes_total", "counter", "Bytes of NARs that were read.", float64(v.Bytes))
	p.one("narseal_nar_bytes_found", "gauge", "Bytes of the NARs to read, as far as they are known.", float64(v.BytesFound))
	p.one("narseal_slices_total", "counter", "Slices of images that were verified.", float64(v.Slices))
	p.one("narseal_invalid_signatures_total", "counter", "Slices whose signature is invalid and was not repaired.", float64(v.Invalid))
	p.one("narseal_repaired_signatures_total", "counter", "Slices whose signature was repaired.", float64(v.Repaired))
	if !v.Newest.IsZero() {
		p.one("narseal_input_newest_timestamp_seconds", "gauge", "When the newest narinfo of the input was changed.", seconds(v.Newest))
	}
	if !v.List.IsZero() {
		p.one("narseal_input_list_timestamp_seconds", "gauge", "When the oldest list of paths was changed.", seconds(v.List))
	}
	return p.w.Flush()
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

type printer struct {
	w      *bufio.Writer
	labels string
}

func (p *printer) family(name, kind, help string) {
	fmt.Fprintf(p.w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

func (p *printer) sample(name, more string, value float64) {
	labels := p.labels
	if more != "" {
		labels += "," + more
	}
	fmt.Fprintf(p.w, "%s{%s} %s\n", name, labels, strconv.FormatFloat(value, 'f', -1, 64))
}

func (p *printer) one(name, kind, help string, value float64) {
	p.family(name, kind, help)
	p.sample(name, "", value)
}

var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func label(name, value string) string { return name + `="` + escaper.Replace(value) + `"` }
