package report

import (
	"bufio"
	"io"

	"narseal/cmd/narseal/internal/jsontext"
	"narseal/filter"
	"narseal/macho"
	"narseal/nar"
)

// Write writes an indented JSON object. f writes its fields.
func Write(w io.Writer, f func(*Object)) error {
	o := &Object{w: &jsontext.Writer{Writer: bufio.NewWriter(w)}, newline: "\n"}
	err := o.write(f)
	if flushed := o.w.Flush(); flushed != nil {
		return flushed
	}
	return err
}

// WriteLine writes a JSON object in one line. w keeps write errors.
func WriteLine(w *bufio.Writer, f func(*Object)) error {
	o := &Object{w: &jsontext.Writer{Writer: w}}
	return o.write(f)
}

func (o *Object) write(f func(*Object)) error {
	o.braces(f)
	o.text("\n")
	return o.err
}

// An Object writes the fields of a JSON object one after the other: indented like json.MarshalIndent, or in one line
// like package jsontext. So a long report is never in memory as a whole.
type Object struct {
	w       *jsontext.Writer
	newline string // with the indent; empty: everything in one line
	fields  int
	err     error // the first encoding error; the writer keeps write errors
}

// Field writes a field.
func (o *Object) Field(name string, value any) {
	o.begin(name)
	o.value(value)
}

// Text writes a string field, unless it is empty. The value may contain any bytes.
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

// WriteElement writes an object in the form of an element of a list that [Objects] writes in an object of [Write].
func WriteElement(w io.Writer, f func(*Object)) error {
	o := &Object{w: &jsontext.Writer{Writer: bufio.NewWriter(w)}, newline: deeper(deeper("\n"))}
	o.braces(f)
	if flushed := o.w.Flush(); flushed != nil {
		return flushed
	}
	return o.err
}

// Elements writes a field that is a list of n objects. copy writes the text of object i, as written by [WriteElement].
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

// braces writes a nested object.
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

// deeper returns newline with a deeper indent.
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
	NeedsSignature bool `json:"needsSignature,omitempty"` // but has no signature
	longPath
}

// longPath holds the path that replaces a [jsontext.Long], or nil.
type longPath struct{ text jsontext.Text }

// LongText implements [jsontext.HasText].
func (l longPath) LongText() jsontext.Text { return l.text }

// maxText is the maximum length of a path that is built as a string, in bytes. Longer paths are printed in pieces.
const maxText = 64 << 10

// PathText returns the text of a path for a field of a value. For a long path, the text is [jsontext.Long], and the
// value's LongText must return long.
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

// fitting removes the elements whose paths do not fit into the budget. It reuses the memory of the list.
func fitting[T any](b *Budget, list []T, path func(*T) nar.Path) []T {
	fit := list[:0]
	for i := range list {
		if b.TakePath(path(&list[i])) {
			fit = append(fit, list[i])
		}
	}
	return fit
}

// Fields writes the fields of an archive.
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
