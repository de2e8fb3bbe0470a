package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/jsontext"
)

// openReport opens a report's file; - is stderr.
func openReport(c *cli.Context, name string) (*output, error) {
	out, err := openTo(c.Context, name, c.App.ErrWriter)
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return out, nil
}

// writeReport has write write a report to what openReport returned, and has it appear.
func (o *output) writeReport(write func(io.Writer) error) error {
	err := write(o)
	if err == nil {
		err = o.commit()
	}
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// writeReport writes a report to the file of this name; - is stderr.
func writeReport(c *cli.Context, name string, write func(io.Writer) error) error {
	out, err := openReport(c, name)
	if err != nil {
		return err
	}
	defer out.abort()
	return out.writeReport(write)
}

// asJSON writes a struct as a report.
func asJSON(rep any) func(io.Writer) error {
	return func(w io.Writer) error {
		b, err := jsontext.MarshalIndent(rep)
		if err == nil {
			_, err = w.Write(append(b, '\n'))
		}
		return err
	}
}
