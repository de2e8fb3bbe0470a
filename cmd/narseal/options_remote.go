package main

import (
	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/manual"
)

// netrcOption returns the option of commands that read caches.
func netrcOption(to *string) cli.Flag {
	return inputFile{text(to, "netrc-file", manual.InOut, "read the user name and password for a cache behind HTTP from `FILE` (default: ~/.netrc)")}
}
