package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

// command is one competitor in `cat input | command | cat >/dev/null`.
type command struct {
	name string
	args []string
}

// figures are of one run.
type figures struct {
	wall, cpu time.Duration
	memory    int64 // peak, in bytes
}

// measured is one command on one input: medians.
type measured struct {
	figures
	size int64
}

// rate is in GB/s.
func (m measured) rate() float64 { return float64(m.size) / 1e9 / m.wall.Seconds() }

// cpuPerGiB is the command's own CPU time.
func (m measured) cpuPerGiB() time.Duration {
	return time.Duration(float64(m.cpu) / float64(m.size) * (1 << 30))
}

// once runs the pipeline.
func once(input string, args []string) (figures, error) {
	source := exec.Command("cat", input)
	cmd := exec.Command(args[0], args[1:]...)
	sink := exec.Command("cat")
	cmd.Stderr = os.Stderr
	r1, w1, err := os.Pipe()
	if err != nil {
		return figures{}, err
	}
	r2, w2, err := os.Pipe()
	if err != nil {
		return figures{}, err
	}
	source.Stdout, cmd.Stdin, cmd.Stdout, sink.Stdin = w1, r1, w2, r2
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return figures{}, err
	}
	defer null.Close()
	sink.Stdout = null
	begin := time.Now()
	for _, c := range []*exec.Cmd{source, cmd, sink} {
		if err := c.Start(); err != nil {
			return figures{}, err
		}
	}
	for _, f := range []io.Closer{r1, w1, r2, w2} {
		f.Close()
	}
	if err := cmd.Wait(); err != nil {
		return figures{}, fmt.Errorf("%v: %w", args, err)
	}
	if err := sink.Wait(); err != nil {
		return figures{}, err
	}
	f := figures{wall: time.Since(begin)}
	if err := source.Wait(); err != nil {
		return f, err
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	f.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	f.memory = int64(usage.Maxrss) * maxrssUnit
	return f, nil
}

// compare runs the commands in turn, and returns their medians.
func compare(input string, commands []command, runs int) ([]measured, error) {
	info, err := os.Stat(input)
	if err != nil {
		return nil, err
	}
	all := make([][]figures, len(commands))
	for run := -1; run < runs; run++ { // the first warms up
		for i, c := range commands {
			f, err := once(input, c.args)
			if err != nil {
				return nil, err
			}
			if run >= 0 {
				all[i] = append(all[i], f)
			}
		}
	}
	out := make([]measured, len(commands))
	for i, fs := range all {
		out[i] = measured{figures{median(fs, func(f figures) int64 { return int64(f.wall) }),
			median(fs, func(f figures) int64 { return int64(f.cpu) }), 0}, info.Size()}
		for _, f := range fs {
			out[i].memory = max(out[i].memory, f.memory)
		}
	}
	return out, nil
}

func median(fs []figures, of func(figures) int64) time.Duration {
	var v []int64
	for _, f := range fs {
		v = append(v, of(f))
	}
	slices.Sort(v)
	return time.Duration(v[len(v)/2])
}
