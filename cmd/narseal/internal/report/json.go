package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"

	"narseal/cmd/narseal/internal/jsontext"
	"narseal/filter"
	"narseal/macho"
)

// Write writes a JSON object, indented, whose fields are what f writes.
func Write(w io.Writer, f func(*Object)) error {
	o := &Object{w: bufio.NewWriter(w), newline: "\n"}
	err := o.write(f)
	if flushed := o.w.Flush(); flushed != nil {
		return flushed
	}
	return err
}

// WriteLine writes a JSON object in one line. Errors of writing are kept by w.
func WriteLine(w *bufio.Writer, f func(*Object)) error {
	o := &Object{w: w, line: &bytes.Buffer{}}
	o.enc = jsontext.NewEncoder(o.line)
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
	w       *bufio.Writer
	newline string // with the indent; empty: all is in one line
	line    *bytes.Buffer
	enc     *json.Encoder // to line
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
	inner := &Object{w: o.w, newline: deeper(o.newline), line: o.line, enc: o.enc}
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
	var b []byte
	var err error
	if o.newline != "" {
		b, err = json.MarshalIndent(v, o.newline[1:], "  ")
		b = jsontext.Escape(b)
	} else {
		o.line.Reset()
		err = o.enc.Encode(v)
		b = bytes.TrimSuffix(o.line.Bytes(), []byte("\n"))
	}
	if err != nil && o.err == nil {
		o.err = err
	}
	_, _ = o.w.Write(b)
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
}

func newSignatureFields(s *filter.Signature) signatureFields {
	fields := signatureFields{jsontext.String(s.Path.String()), s.Slice, s.Status.OK() && !s.OK()}
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
}

func newChangeFields(c *filter.Change) changeFields {
	return changeFields{jsontext.String(c.Path.String()), c.Contents, c.Target, c.Name}
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
	if len(in.Totals) > 0 {
		Values(o, "totals", in.Totals, func(r *Rule) any { return r })
	}
}

// fitting returns the elements of a list for which the budget has room, in the place of the list.
func fitting[T any](b *Budget, list []T, size func(*T) int) []T {
	fit := list[:0]
	for i := range list {
		if b.Take(size(&list[i])) {
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
	changed := fitting(a.budget, a.Changed, func(c *filter.Change) int { return c.Path.Len() })
	Values(o, "changed", changed, func(c *filter.Change) any { return newChangeFields(c) })
	signatures := fitting(a.budget, a.Signatures, func(s *filter.Signature) int { return s.Path.Len() })
	Values(o, "signatures", signatures, func(s *filter.Signature) any { return newSignatureFields(s) })
	if n -= int64(len(changed) + len(signatures)); n > 0 {
		o.Field("omitted", n)
	}
}
