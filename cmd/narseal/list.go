package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"narseal/filter"
	"narseal/macho"
)

// signatureList is how verify tells of slices on stdout. Errors of writing
// stay, and end returns them.
type signatureList interface {
	// add tells of a slice in an archive, which has a store path if it is one
	// of an export stream, or with loose in a file of its own.
	add(input, storePath string, loose bool, s filter.Signature)
	// fail tells of what could not be read, which stderr has been told.
	fail(error)
	end(*tally) error
}

func formatFlag() cli.Flag {
	return choice("format", "text", "text|json|github", "text for people, json: one object a slice and line, or github: annotations and a job summary of a workflow")
}

// newList returns the list in the format that --format names.
func newList(format string, w io.Writer, all bool) signatureList {
	out := bufio.NewWriter(w)
	switch format {
	case "json":
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		return &jsonLines{out, enc}
	case "github":
		return newGithub(w)
	}
	return &table{w: out, all: all}
}

// jsonLines writes one object a slice and line.
type jsonLines struct {
	w   *bufio.Writer
	enc *json.Encoder
}

func (l *jsonLines) add(input, storePath string, _ bool, s filter.Signature) {
	_ = l.enc.Encode(struct { // the writer keeps the error
		Input     string `json:"input"`
		StorePath string `json:"storePath,omitempty"`
		filter.Signature
	}{input, storePath, s})
}

func (l *jsonLines) fail(error) {}

func (l *jsonLines) end(*tally) error { return l.w.Flush() }

// table writes lines for people: a slice that does not hold with its slots,
// and with all also the others.
type table struct {
	w      *bufio.Writer
	all    bool
	headed bool
}

const tableRow = "%-11s  %-8s  %-13s  %s\n"

func (l *table) add(input, storePath string, loose bool, s filter.Signature) {
	if s.Status.OK() && !l.all {
		return
	}
	if !l.headed {
		fmt.Fprintf(l.w, tableRow, "STATUS", "ARCH", "SIGNATURE", "FILE")
		l.headed = true
	}
	name := shownName(input, storePath, loose, s.Path)
	fmt.Fprintf(l.w, tableRow, s.Status, s.Arch, s.Signature, printable(name))
	if s.Reason != "" {
		fmt.Fprintf(l.w, "  %s\n", printable(s.Reason))
	}
	for _, line := range describeSlots(&s.Slice) {
		fmt.Fprintf(l.w, "  %s\n", line)
	}
	_ = l.w.Flush() // as it comes; end returns the error
}

func (l *table) fail(error) {}

func (l *table) end(n *tally) error {
	fmt.Fprintln(l.w, n)
	return l.w.Flush()
}

// shownName is how a file is named to people.
func shownName(input, storePath string, loose bool, path string) string {
	name := storePath + path
	if !loose && input != "-" {
		name = input + ": " + name
	}
	return name
}

// describeSlots has a line for each CodeDirectory with stale slots.
func describeSlots(s *macho.Slice) []string {
	var lines []string
	for _, d := range s.CodeDirectories {
		var parts []string
		if len(d.Stale) > 0 {
			parts = append(parts, fmt.Sprintf("stale pages %s of %d", runs(d.Stale), d.Slots))
		}
		if len(d.StaleSpecial) > 0 {
			parts = append(parts, "stale special slots "+specialSlots(d.StaleSpecial))
		}
		if len(parts) > 0 {
			lines = append(lines, fmt.Sprintf("CodeDirectory %#x, %s: %s", d.Slot, d.HashType, strings.Join(parts, "; ")))
		}
	}
	return lines
}

// lists tells several lists.
type lists []signatureList

func (ls lists) add(input, storePath string, loose bool, s filter.Signature) {
	for _, l := range ls {
		l.add(input, storePath, loose, s)
	}
}

func (ls lists) fail(err error) {
	for _, l := range ls {
		l.fail(err)
	}
}

func (ls lists) end(n *tally) error {
	var errs []error
	for _, l := range ls {
		errs = append(errs, l.end(n))
	}
	return errors.Join(errs...)
}

// maxRuns bounds what is shown of a list of pages.
const maxRuns = 12

// runs shows rising numbers in short: 3, 7-9.
func runs(list []int) string {
	var b strings.Builder
	shown := 0
	for i := 0; i < len(list); {
		j := i + 1
		for j < len(list) && list[j] == list[j-1]+1 {
			j++
		}
		if shown == maxRuns {
			fmt.Fprintf(&b, ", … (%d in all)", len(list))
			break
		}
		if shown++; shown > 1 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Itoa(list[i]))
		if j-i > 1 {
			fmt.Fprintf(&b, "-%d", list[j-1])
		}
		i = j
	}
	return b.String()
}

// specialSlots shows k of each special slot -k: -1, -3.
func specialSlots(list []int) string {
	names := make([]string, len(list))
	for i, k := range list {
		names[i] = strconv.Itoa(-k)
	}
	return strings.Join(names, ", ")
}
