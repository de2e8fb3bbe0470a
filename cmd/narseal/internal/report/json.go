package report

import (
	"bufio"
	"io"

	"narseal/cmd/narseal/internal/jsontext"
	"narseal/filter"
	"narseal/macho"
	"narseal/nar"
)

// Write writes a JSON object, indented, whose fields are what f writes.
func Write(w io.Writer, f func(*Object)) error {
	o := &Object{w: &jsontext.Writer{Writer: bufio.NewWriter(w)}, newline: "\n"}
	err := o.write(f)
	if flushed := o.w.Flush(); flushed != nil {
		return flushed
	}
	return err
}

// WriteLine writes a JSON object in one line. Errors of writing are kept by w.
func WriteLine(w *bufio.Writer, f func(*Object)) error {
	o := &Object{w: &jsontext.Writer{Writer: w}}
	return o.write(f)
}

func (o *Object) write(f func(*Object)) error {
	o.braces(f)
	o.text("\n")
	return o.err
}

// An Object writes the fields of a JSON object one after the other, in the form of json.MarshalIndent or, in one line,
// of package jsontext. A long report is never in memory as a whole.
type Object struct {
	w       *jsontext.Writer
	newline string // with the indent; empty: all is in one line
	fields  int
	err     error // of encoding; the writer keeps its own
}

// Field writes a field.
func (o *Object) Field(name string, value any) {
	o.begin(name)
	o.value(value)
}

// Text writes a field, of text that may hold any byte, unless it is empty.
func (o *Object) Text(name, value string) {
	if value != "" {
		o.Field(name, jsontext.String(value))
	}
}

// Values writes a field that is a list of values.
func Values[T any](o *Object, name string, list []T, value func(*T) any) {
	o.list(name, len(list), func(i int) { o.value(value(&list[i])) })
}

// Objects writes a field that is a list of objects.
func Objects[T any](o *Object, name string, list []T, f func(*Object, T)) {
	o.list(name, len(list), func(i int) { o.braces(func(o *Object) { f(o, list[i]) }) })
}

// WriteElement writes an object as [Objects] writes it in a field of an object that [Write] writes.
func WriteElement(w io.Writer, f func(*Object)) error {
	o := &Object{w: &jsontext.Writer{Writer: bufio.NewWriter(w)}, newline: deeper(deeper("\n"))}
	o.braces(f)
	if flushed := o.w.Flush(); flushed != nil {
		return flushed
	}
	return o.err
}

// Elements writes a field that is a list of n objects. copy copies what [WriteElement] has written of one.
func Elements(o *Object, name string, n int, copy func(w io.Writer, i int) error) {
	o.list(name, n, func(i int) {
		if err := copy(o.w, i); err != nil && o.err == nil {
			o.err = err
		}
	})
}

func (o *Object) list(name string, n int, element func(int)) {
	o.begin(name)
	if n == 0 {
		o.text("[]")
		return
	}
	outer := o.newline
	o.newline = deeper(outer)
	before := "["
	for i := range n {
		o.text(before + o.newline)
		element(i)
		before = ","
	}
	o.newline = outer
	o.text(outer + "]")
}

// braces writes an object at the place that was reached.
func (o *Object) braces(f func(*Object)) {
	inner := &Object{w: o.w, newline: deeper(o.newline)}
	o.text("{")
	f(inner)
	if inner.fields > 0 {
		o.text(o.newline)
	}
	o.text("}")
	if o.err == nil {
		o.err = inner.err
	}
}

func (o *Object) begin(name string) {
	if o.fields > 0 {
		o.text(",")
	}
	o.fields++
	o.text(o.newline)
	o.value(name)
	o.text(":")
	if o.newline != "" {
		o.text(" ")
	}
}

func (o *Object) value(v any) {
	o.w.Newline = o.newline
	if err := o.w.Encode(v); err != nil && o.err == nil {
		o.err = err
	}
}

// deeper is a newline with a deeper indent.
func deeper(newline string) string {
	if newline == "" {
		return ""
	}
	return newline + "  "
}

func (o *Object) text(s string) { _, _ = o.w.WriteString(s) }

// signatureFields is a slice in JSON.
type signatureFields struct {
	Path string `json:"path"`
	macho.Slice
	NeedsSignature bool `json:"needsSignature,omitempty"` // but has none
	longPath
}

// longPath is a path in place of a [jsontext.Long], or nil.
type longPath struct{ text jsontext.Text }

// LongText implements [jsontext.HasText].
func (l longPath) LongText() jsontext.Text { return l.text }

// maxText is the length of paths that are built to be printed, in bytes.
const maxText = 64 << 10

// PathText returns the text of a path for a field of a value. If it is long, that is [jsontext.Long], and long is what the
// LongText of the value returns.
func PathText(p nar.Path) (text string, long jsontext.Text) {
	if p.Len() > maxText {
		return jsontext.Long, p
	}
	return jsontext.String(p.String()), nil
}

func newSignatureFields(s *filter.Signature) signatureFields {
	path, long := PathText(s.Path)
	fields := signatureFields{path, s.Slice, s.Status.OK() && !s.OK(), longPath{long}}
	if b := s.Bundle; b != nil {
		fields.Bundle = &macho.SealedBundle{Path: jsontext.String(b.Path), Resources: make([]macho.Resource, len(b.Resources))}
		for i, r := range b.Resources {
			fields.Bundle.Resources[i] = macho.Resource{Path: jsontext.String(r.Path), Problem: jsontext.String(r.Problem)}
		}
	}
	return fields
}

type changeFields struct {
	Path     string `json:"path"`
	Contents bool   `json:"contents"`
	Target   bool   `json:"target"`
	Name     bool   `json:"name"`
	longPath
}

func newChangeFields(c *filter.Change) changeFields {
	path, long := PathText(c.Path)
	return changeFields{path, c.Contents, c.Target, c.Name, longPath{long}}
}

// Write writes the report.
func (r *Report) Write(w io.Writer) error {
	return Write(w, func(o *Object) {
		o.Field("schema", r.Schema)
		o.Field("command", r.Command)
		if r.Input != nil {
			r.Input.fields(o)
		}
		if len(r.Inputs) > 0 {
			Objects(o, "inputs", r.Inputs, func(o *Object, in *Input) { in.fields(o) })
		}
	})
}

func (in *Input) fields(o *Object) {
	o.Text("name", in.Name)
	o.Field("input", in.Input)
	if in.Output != nil {
		o.Field("output", in.Output)
	}
	o.Text("error", in.Error)
	if in.Archive != nil {
		in.Archive.Fields(o)
	}
	if len(in.Archives) > 0 {
		Objects(o, "archives", in.Archives, func(o *Object, a *Archive) { a.Fields(o) })
	}
	if in.OmittedArchives > 0 {
		o.Field("omitted", in.OmittedArchives)
	}
	if len(in.Totals) > 0 {
		Values(o, "totals", in.Totals, func(r *Rule) any { return r })
	}
}

// fitting returns the elements of a list whose paths the budget has room for, in the place of the list.
func fitting[T any](b *Budget, list []T, path func(*T) nar.Path) []T {
	fit := list[:0]
	for i := range list {
		if b.TakePath(path(&list[i])) {
			fit = append(fit, list[i])
		}
	}
	return fit
}

// Fields writes what the report says of an archive.
func (a *Archive) Fields(o *Object) {
	o.Text("storePath", a.StorePath)
	o.Field("entries", a.Entries)
	Values(o, "rules", a.Rules, func(r *Rule) any { return r })
	n := a.Omitted + int64(len(a.Changed)+len(a.Signatures))
	changed := fitting(a.budget, a.Changed, func(c *filter.Change) nar.Path { return c.Path })
	Values(o, "changed", changed, func(c *filter.Change) any { return newChangeFields(c) })
	signatures := fitting(a.budget, a.Signatures, func(s *filter.Signature) nar.Path { return s.Path })
	Values(o, "signatures", signatures, func(s *filter.Signature) any { return newSignatureFields(s) })
	if n -= int64(len(changed) + len(signatures)); n > 0 {
		o.Field("omitted", n)
	}
}
