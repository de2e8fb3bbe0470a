package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/dustin/go-humanize"

	"narseal/cmd/narseal/internal/jsontext"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter"
)

// A List prints slices as a command finds them. End returns the first error of writing.
type List interface {
	Add(*Item)
	// Omit counts slices that were dropped before Add, for lack of room.
	Omit(n int64)
	// Fail records an input that could not be read. The error is printed already.
	Fail(error)
	End(*Tally) error
}

// Item is a slice to be listed.
type Item struct {
	Input     string // as the user gave it; "-" is stdin
	StorePath string // of the archive, in an export stream or a cache
	OnDisk    bool   // the Path is that of a file, not of an entry in the input
	filter.Signature
}

// Name names the file of the slice, for people.
func (i *Item) Name() string {
	name := i.StorePath + i.Path.Short()
	if i.StorePath != "" {
		name = strings.TrimSuffix(name, "/") // of a store path that is a file
	}
	if !i.OnDisk && i.Input != "-" {
		name = i.Input + ": " + name
	}
	return name
}

// NewList returns the list in a format of --format: text, or json. The text leaves out valid signatures without
// warnings unless all is set.
func NewList(format string, w io.Writer, all bool, b *Budget) List {
	out := bufio.NewWriter(w)
	if format == "json" {
		return &jsonLines{w: out, enc: jsontext.NewEncoder(out), budget: b}
	}
	return &table{w: out, all: all}
}

// jsonLines writes an object for each slice, one per line.
type jsonLines struct {
	w       *bufio.Writer
	enc     *json.Encoder
	budget  *Budget
	omitted int64
}

// freePath is how long a path may be that counts for nothing where it is printed at once: PATH_MAX of Linux. No program
// can open a file by a longer one.
const freePath = 4096

func (l *jsonLines) Add(i *Item) {
	if n := i.Path.Len(); n > freePath && !l.budget.Take(n) {
		l.omitted++
		return
	}
	_ = l.enc.Encode(struct { // the writer keeps the error
		Input     string `json:"input"`
		StorePath string `json:"storePath,omitempty"`
		signatureFields
	}{jsontext.String(i.Input), jsontext.String(i.StorePath), newSignatureFields(&i.Signature)})
}

func (l *jsonLines) Omit(n int64) { l.omitted += n }

func (l *jsonLines) Fail(error) {}

func (l *jsonLines) End(*Tally) error {
	if l.omitted > 0 {
		_ = l.enc.Encode(struct {
			Omitted int64 `json:"omitted"`
		}{l.omitted})
	}
	return l.w.Flush()
}

// table writes lines for people: a slice that is invalid or has a warning, with its slots, and with all set also the others.
type table struct {
	w       *bufio.Writer
	all     bool
	headed  bool
	omitted int64
}

const tableRow = "%-11s  %-8s  %-13s  %s\n"

func (l *table) Add(i *Item) {
	if i.OK() && len(i.Warnings) == 0 && !l.all {
		return
	}
	if !l.headed {
		fmt.Fprintf(l.w, tableRow, "STATUS", "ARCH", "SIGNATURE", "FILE")
		l.headed = true
	}
	fmt.Fprintf(l.w, tableRow, i.Status, i.Arch, i.Signature.Slice.Signature, terminal.Printable(i.Name()))
	if i.Reason != "" {
		fmt.Fprintf(l.w, "  %s\n", terminal.Printable(i.Reason))
	}
	for _, line := range DescribeSlots(&i.Slice) {
		fmt.Fprintf(l.w, "  %s\n", line)
	}
	for _, warning := range i.Warnings {
		fmt.Fprintf(l.w, "  warning: %s\n", terminal.Printable(warning))
	}
	_ = l.w.Flush() // as it comes; End returns the error
}

func (l *table) Omit(n int64) { l.omitted += n }

func (l *table) Fail(error) {}

func (l *table) End(n *Tally) error {
	if l.omitted > 0 {
		fmt.Fprintln(l.w, omission(l.omitted))
	}
	fmt.Fprintln(l.w, n)
	return l.w.Flush()
}

// omission says how many slices a list leaves out.
func omission(n int64) string {
	return fmt.Sprintf("%s left out: they would take more than %s of memory", Plural(n, "slice", "slices"), humanize.IBytes(DefaultBudget))
}

// Lists is several lists as one.
type Lists []List

// Add passes a slice to each list.
func (ls Lists) Add(i *Item) {
	for _, l := range ls {
		l.Add(i)
	}
}

// Omit passes a number to each list.
func (ls Lists) Omit(n int64) {
	for _, l := range ls {
		l.Omit(n)
	}
}

// Fail passes an error to each list.
func (ls Lists) Fail(err error) {
	for _, l := range ls {
		l.Fail(err)
	}
}

// End ends each list.
func (ls Lists) End(n *Tally) error {
	var errs []error
	for _, l := range ls {
		errs = append(errs, l.End(n))
	}
	return errors.Join(errs...)
}

// Waiting keeps the slices of an archive in an export stream, whose store path comes after it.
type Waiting struct {
	budget  *Budget
	list    []filter.Signature
	taken   int
	omitted int64
}

// NewWaiting returns an empty Waiting that b bounds.
func NewWaiting(b *Budget) *Waiting { return &Waiting{budget: b} }

// Add keeps a slice, if there is room for it.
func (w *Waiting) Add(s filter.Signature) {
	n := Memory(&s.Slice)
	if !w.budget.Take(n) {
		w.omitted++
		return
	}
	w.taken += n
	w.list = append(w.list, s)
}

// Flush lists what was kept of an archive in an input, and is empty after that.
func (w *Waiting) Flush(list List, input, storePath string) {
	for i := range w.list {
		list.Add(&Item{Input: input, StorePath: storePath, Signature: w.list[i]})
	}
	if w.omitted > 0 {
		list.Omit(w.omitted)
	}
	w.budget.Give(w.taken)
	*w = Waiting{budget: w.budget}
}
