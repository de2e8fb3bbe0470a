package command

import (
	"fmt"
	"io"

	"narseal/cmd/narseal/internal/atomicfile"
)

// A ReportFile is the file of --report. A nil ReportFile discards the report.
type ReportFile struct{ out *atomicfile.Output }

// OpenReport opens the file of --report. Stream means stderr. For an empty name, it returns nil. Commands call it
// before they begin, so that a file that cannot be created fails early.
func (e *Env) OpenReport(name string) (*ReportFile, error) {
	switch name {
	case "":
		return nil, nil
	case Stream:
		return &ReportFile{atomicfile.Stream(e.Cleanup, e.Stderr)}, nil
	}
	out, err := atomicfile.Create(e.Cleanup, name)
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return &ReportFile{out}, nil
}

// Abort removes the file if it was not written.
func (f *ReportFile) Abort() {
	if f != nil {
		f.out.Abort()
	}
}

// Write writes the report and commits the file.
func (f *ReportFile) Write(write func(io.Writer) error) error {
	if f == nil {
		return nil
	}
	err := write(f.out)
	if err == nil {
		err = f.out.Commit()
	}
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}
