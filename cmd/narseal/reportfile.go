package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"
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
