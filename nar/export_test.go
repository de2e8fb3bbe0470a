package nar

import "io"

// NewReaderSize is NewReader with a buffer of this many bytes.
func NewReaderSize(r io.Reader, size int) *Reader {
	return &Reader{src: &source{r: r, size: size}}
}

// NewWriterSize is NewWriter with a buffer of this many bytes.
func NewWriterSize(w io.Writer, size int) *Writer {
	return &Writer{sink: &sink{w: w, size: size}}
}

// NewExportReaderSize is NewExportReader with a buffer of this many bytes.
func NewExportReaderSize(r io.Reader, size int) *ExportReader {
	return &ExportReader{src: &source{r: r, size: size}}
}

// NewExportWriterSize is NewExportWriter with a buffer of this many bytes.
func NewExportWriterSize(w io.Writer, size int) *ExportWriter {
	return &ExportWriter{sink: &sink{w: w, size: size}}
}
