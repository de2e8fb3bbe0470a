package main

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/cachestore"
	"narseal/cmd/narseal/internal/terminal"
)

// stepSummary is the environment variable that names the file for the job summary of --format github.
const stepSummary = "GITHUB_STEP_SUMMARY"

// checkFiles refuses an output file that would overwrite an input or another output, and URLs where only files are
// allowed.
func checkFiles(c *cli.Context) error {
	if err := refuseURLs(c); err != nil {
		return err
	}
	type use struct{ as, name string }
	var read, written []use
	for _, f := range c.Command.Flags {
		option := "--" + f.Names()[0]
		switch f.(type) {
		case inputFiles:
			for _, name := range c.StringSlice(f.Names()[0]) {
				read = append(read, use{option, name})
			}
		case inputFile:
			read = append(read, use{option, c.String(f.Names()[0])})
		case outputFile:
			written = append(written, use{option, c.String(f.Names()[0])})
		}
	}
	if summary := os.Getenv(stepSummary); c.String("format") == "github" {
		written = append(written, use{stepSummary, summary})
	}
	order := []string{"--report", "--output"} // before the other outputs
	slices.SortStableFunc(written, func(a, b use) int {
		return cmp.Compare(slices.Index(order, b.as), slices.Index(order, a.as))
	})
	local := strings.Contains(c.Command.ArgsUsage, "INPUT") && c.Command.Name != "refs"
	for _, out := range written {
		if cachestore.IsURL(out.name) && (local || out.as != "--output" && out.as != "--ledger") {
			return terminal.Usage("", "%s %s: want a file, not a URL", out.as, out.name)
		}
	}
	var inputs []use
	for _, name := range c.Args().Slice() {
		if local && cachestore.IsURL(name) {
			return terminal.Usage("for caches: narseal cache verify|repair|rewrite URL", "%s: want a file or a directory, not a URL", name)
		}
		inputs = append(inputs, use{"the input", name})
	}
	for _, out := range written {
		if out.as != "--output" { // the command itself compares --output with its input, with a better message
			read, inputs = append(read, inputs...), nil
		}
		if err := checkOutput(c, out.as, out.name); err != nil {
			return err
		}
		for _, other := range read {
			if out.name != "" && out.name != "-" && other.name != "" && other.name != "-" && sameFile(out.name, other.name) {
				return terminal.Usage("", "%s %s would overwrite %s %s", out.as, cachestore.Redact(out.name), other.as, cachestore.Redact(other.name))
			}
		}
		read = append(read, out)
	}
	return nil
}

// checkOutput refuses an output file that is stdin, or an object of a cache that is read.
func checkOutput(c *cli.Context, as, name string) error {
	if name == "" || name == "-" || cachestore.IsURL(name) {
		return nil
	}
	if in, ok := c.App.Reader.(*os.File); ok && as != "--output" {
		info, err := in.Stat()
		if now, e := os.Stat(name); err == nil && e == nil && atomicfile.SameFile(info, now) {
			return terminal.Usage("", "%s %s would overwrite the input", as, name)
		}
	}
	for _, cache := range append(c.Args().Slice(), c.String("output")) {
		dir, ok := cachestore.LocalDir(cache)
		if as == "--output" || dir == "" || dir == "-" || !ok {
			continue
		}
		if _, err := os.Lstat(filepath.Join(dir, "nix-cache-info")); err == nil && isObject(dir, name) {
			return terminal.Usage("", "%s %s would overwrite an object of the cache %s", as, name, cache)
		}
	}
	return nil
}

// writtenFile returns the absolute name of the file that is written for an output, after following symlinks.
func writtenFile(name string) (string, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(name); err == nil {
		return real, nil
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(name))
	return filepath.Join(dir, filepath.Base(name)), err
}

// isObject reports whether a file is, or could be, an object of the cache in dir.
func isObject(dir, name string) bool {
	cache, err := os.Stat(dir)
	if err != nil {
		return false
	}
	name, err = writtenFile(name)
	if err != nil {
		return false // no file can be written there
	}
	for at := name; at != filepath.Dir(at); at = filepath.Dir(at) {
		if info, err := os.Stat(filepath.Dir(at)); err != nil || !os.SameFile(info, cache) {
			continue
		}
		if at != name {
			return slices.Contains([]string{"nar", "log", "realisations", "debuginfo"}, filepath.Base(at))
		}
		ext := filepath.Ext(at)
		return filepath.Base(at) == "nix-cache-info" || ext == ".narinfo" || ext == ".ls"
	}
	return false
}

// refuseURLs refuses the URL of a cache for commands that work on files.
func refuseURLs(c *cli.Context) error {
	hint := ""
	switch c.Command.Name {
	case "verify", "repair", "rewrite":
		hint = program + " cache " + c.Command.Name + " works on a cache behind a URL"
	case "address":
	default:
		return nil
	}
	if c.Command.HelpName != program+" "+c.Command.Name { // cache verify and the like
		return nil
	}
	for _, name := range c.Args().Slice() {
		if _, err := os.Lstat(name); cachestore.IsURL(name) && err != nil {
			return terminal.Usage(hint, "%s: want a file or a directory, got a URL", cachestore.Redact(name))
		}
	}
	return nil
}

// sameFile reports whether two names are of the same regular file, which need not exist yet.
func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	if errX == nil && errY == nil {
		return atomicfile.SameFile(x, y)
	}
	absA, errA := filepath.Abs(a)
	absB, errB := filepath.Abs(b)
	return errA == nil && errB == nil && absA == absB && errX != nil && errY != nil
}
