// Benchmark measures narseal in pipes: see scripts/bench.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// maxrssUnit is what getrusage counts peak memory in: KiB, on macOS bytes.
var maxrssUnit = map[bool]int64{true: 1, false: 1024}[runtime.GOOS == "darwin"]

func main() {
	// The rivals that are programs of our own are this one.
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "copy":
			exit(rawCopy())
		case "sink":
			exit(rewritingSink(os.Args[2]))
		case "input":
			exit(newInputs(os.Args[2]).make(os.Args[3]))
		}
	}
	exit(run())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchmark:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// bench is a run of tables.
type bench struct {
	in      *inputs
	narseal string
	before  string // another narseal, measured in turn with it; or ""
	self    string
	runs    int
}

func run() error {
	narseal := flag.String("narseal", "narseal", "the program to measure")
	before := flag.String("before", "", "an earlier narseal, measured in turn with the other")
	runs := flag.Int("runs", 5, "counted runs of each command")
	dir := flag.String("dir", "", "directory for the inputs, which are kept there")
	only := flag.String("only", "", "tables: input, rules, adversarial, rivals, images, growth, load")
	flag.Parse()
	if *dir == "" {
		tmp, err := os.MkdirTemp("", "narseal-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		*dir = tmp
	} else if err := os.MkdirAll(*dir, 0o777); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b := &bench{in: newInputs(*dir), narseal: *narseal, before: *before, self: self, runs: *runs}
	fmt.Printf("%s/%s, %d CPUs, %s; medians of %d runs in turn; `cat INPUT | COMMAND | cat >/dev/null`\n",
		runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), *runs)
	for _, t := range []struct {
		name string
		f    func() error
	}{{"input", b.byInput}, {"rules", b.byRules}, {"adversarial", b.adversarial}, {"rivals", b.rivals},
		{"images", b.images}, {"growth", b.growth}, {"load", b.load}} {
		if *only == "" || slices.Contains(strings.Split(*only, ","), t.name) {
			if err := t.f(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) rewrite(rules int, options ...string) (command, error) {
	file, err := b.in.rules(rules)
	args := append([]string{b.narseal, "rewrite", "--quiet", "--map-file", file}, options...)
	return command{fmt.Sprintf("narseal, %d rules", rules), args}, err
}

func (b *bench) copy() command { return command{"raw copy", []string{b.self, "copy"}} }

// input returns the file of an input. Another process makes it: what this
// one has needed would count as the peak memory of those that it starts.
func (b *bench) input(name string) (string, error) {
	file := filepath.Join(b.in.dir, name)
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	cmd := exec.Command(b.self, "input", b.in.dir, name)
	cmd.Stderr = os.Stderr
	return file, cmd.Run()
}

// table measures commands on an input and prints them, with their rate as a
// ratio of the first one's.
func (b *bench) table(input string, runs int, commands ...command) error {
	file, err := b.input(input)
	if err != nil {
		return err
	}
	commands = b.withBefore(commands)
	ms, err := compare(file, commands, runs)
	if err != nil {
		return err
	}
	for i, m := range ms {
		fmt.Printf("| %s | %s | %.2f | %.2f | %.2f s | %d MiB |\n", input, commands[i].name, m.rate(),
			m.rate()/ms[0].rate(), m.cpuPerGiB().Seconds(), m.memory>>20)
	}
	return nil
}

// withBefore adds the earlier program after each command that runs narseal.
func (b *bench) withBefore(commands []command) []command {
	var all []command
	for _, c := range commands {
		all = append(all, c)
		if b.before != "" && c.args[0] == b.narseal {
			all = append(all, command{"before: " + c.name, append([]string{b.before}, c.args[1:]...)})
		}
	}
	return all
}

func head(title string) {
	fmt.Printf("\n%s\n\n| input | command | GB/s | ratio to the first | CPU a GiB | peak memory |\n|---|---|---|---|---|---|\n", title)
}

func (b *bench) byInput() error {
	head("Inputs, 1 rule")
	n, err := b.rewrite(1)
	if err != nil {
		return err
	}
	for _, input := range []string{"tree", "single", "small", "hex", "base32"} {
		if err := b.table(input, b.runs, b.copy(), n, command{"cat", []string{"cat"}}); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) byRules() error {
	head("Rules")
	cs := []command{}
	for _, n := range []int{1, 10, 1000, 100000} {
		c, err := b.rewrite(n)
		if err != nil {
			return err
		}
		cs = append(cs, c)
	}
	return b.table("tree", b.runs, cs...)
}

func (b *bench) adversarial() error {
	head("Data that looks like hashes")
	for _, input := range []string{"base32", "hex"} {
		cs := []command{b.copy()}
		for _, n := range []int{1000, 100000} {
			c, err := b.rewrite(n)
			if err != nil {
				return err
			}
			cs = append(cs, c)
		}
		if err := b.table(input, b.runs, cs...); err != nil {
			return err
		}
	}
	return nil
}

// rivals runs on a smaller input: some are slow.
func (b *bench) rivals() error {
	head("Rivals")
	for _, n := range []int{1, 10, 100} {
		c, err := b.rewrite(n)
		if err != nil {
			return err
		}
		file := c.args[len(c.args)-1] // of the rules
		rules, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var sed, perl strings.Builder
		for _, line := range strings.Fields(string(rules)) {
			from, to, _ := strings.Cut(line, "=")
			fmt.Fprintf(&sed, "s|%s|%s|g\n", from, to)
			fmt.Fprintf(&perl, "s|%s|%s|g;", from, to)
		}
		script := file + ".sed"
		if err := os.WriteFile(script, []byte(sed.String()), 0o666); err != nil {
			return err
		}
		of := fmt.Sprintf(", %d rules", n)
		err = b.table("part", min(b.runs, 5), c,
			command{"sed" + of, []string{"sed", "-f", script}},
			command{"perl" + of, []string{"perl", "-pe", perl.String()}},
			command{"RewritingSink in Go" + of, []string{b.self, "sink", file}})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) images() error {
	head("200 files with signed Mach-O images, one in twenty touched")
	c, err := b.rewrite(1)
	if err != nil {
		return err
	}
	repair := command{"narseal repair", []string{b.narseal, "repair"}}
	return b.table("images", b.runs, b.copy(), c, repair)
}

func (b *bench) growth() error {
	head("Growth")
	c, err := b.rewrite(1)
	if err != nil {
		return err
	}
	for _, input := range []string{"10MB", "100MB", "1GB", "10GB"} {
		if err := b.table(input, b.runs, b.copy(), c); err != nil {
			return err
		}
	}
	return nil
}

// load measures what it takes to read rules: an empty archive is all there
// is to rewrite.
func (b *bench) load() error {
	fmt.Printf("\nRules, read and compiled\n\n| rules | seconds | peak memory |\n|---|---|---|\n")
	empty := b.in.dir + "/empty"
	f, err := os.Create(empty)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := emptyArchive(f); err != nil {
		return err
	}
	for _, n := range []int{1, 1000, 100000} {
		c, err := b.rewrite(n)
		if err != nil {
			return err
		}
		ms, err := compare(empty, []command{c}, b.runs)
		if err != nil {
			return err
		}
		fmt.Printf("| %d | %.3f | %d MiB |\n", n, ms[0].wall.Round(time.Millisecond).Seconds(), ms[0].memory>>20)
	}
	return nil
}
