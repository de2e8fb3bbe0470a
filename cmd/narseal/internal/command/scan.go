package command

import (
	"fmt"
	"io"
	"strings"

	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/scan"
	"narseal/macho"
)

// entered shows which file a scan has come to. It is nil if no progress is shown.
func (e *Env) entered() func(*scan.Entry) {
	p := e.Terminal.Progress()
	if p == nil {
		return nil
	}
	return func(entry *scan.Entry) {
		path := entry.Path().Short()
		p.At(&path)
	}
}

// reportFile is the file of --report, which is opened before the work. A nil one takes no report.
type reportFile struct{ *atomicfile.Output }

// openReport opens the file of --report if one is wanted: name is not empty then.
func (e *Env) openReport(name string) (*reportFile, error) {
	if name == "" {
		return nil, nil
	}
	out, err := e.Report(name)
	return &reportFile{out}, err
}

// abort removes a file that was not written.
func (f *reportFile) abort() {
	if f != nil {
		f.Abort()
	}
}

// write writes the report of a run that is over.
func (f *reportFile) write(write func(io.Writer) error) error {
	if f == nil {
		return nil
	}
	err := write(f)
	if err == nil {
		err = f.Commit()
	}
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// warnInvalid warns of a slice that leaves the program with an invalid signature.
func (e *Env) warnInvalid(path string, s *macho.Slice) {
	e.Terminal.Warnf("%q: %s slice at offset %d: %s", path, s.Arch, s.Offset, describe(s))
}

// describe returns the status of a slice, and the reason if there is one.
func describe(s *macho.Slice) string {
	switch {
	case s.Reason == "":
		return string(s.Status)
	case strings.HasPrefix(s.Reason, string(s.Status)):
		return s.Reason
	}
	return string(s.Status) + ": " + s.Reason
}
