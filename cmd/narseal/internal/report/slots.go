package report

import (
	"fmt"
	"strconv"
	"strings"

	"narseal/cmd/narseal/internal/terminal"
	"narseal/macho"
)

// DescribeBundle returns a line for each file of the slice's bundle that does not match its seal, up to most lines.
func DescribeBundle(s *macho.Slice, most int) []string {
	if s.Bundle == nil {
		return nil
	}
	var lines []string
	for i, r := range s.Bundle.Resources {
		if i == most {
			return append(lines, fmt.Sprintf("… (%d in all)", len(s.Bundle.Resources)))
		}
		lines = append(lines, strings.TrimPrefix(terminal.Printable(r.Path+": "+r.Problem), ": "))
	}
	return lines
}

// DescribeSlots returns a line for each CodeDirectory with stale slots.
func DescribeSlots(s *macho.Slice) []string {
	var lines []string
	for _, d := range s.CodeDirectories {
		var parts []string
		if len(d.Stale) > 0 {
			word := "pages"
			if len(d.Stale) == 1 {
				word = "page"
			}
			parts = append(parts, fmt.Sprintf("stale %s %s (of 0-%d)", word, Runs(d.Stale), d.Slots-1))
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

// maxRuns is the maximum number of runs of pages that are shown.
const maxRuns = 12

// Runs formats ascending numbers as ranges: 3, 7-9.
func Runs(list []int) string {
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

// specialSlots formats the numbers of special slots, where k means slot -k: -1, -3.
func specialSlots(list []int) string {
	names := make([]string, len(list))
	for i, k := range list {
		names[i] = strconv.Itoa(-k)
	}
	return strings.Join(names, ", ")
}
