package main

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"

	"narseal/nar/nartest"
)

const sampleRule = sampleHash + "=" + sampleOther

// child is narseal in a process of its own, which must end by itself.
type child struct {
	*exec.Cmd
	stderr bytes.Buffer
}

func newChild(args ...string) *child {
	c := &child{Cmd: exec.Command("narseal", args...)}
	c.Stderr = &c.stderr
	return c
}

// ended waits for the child and returns its status as a shell gives it. One
// that does not end is a failure.
func (c *child) ended(t *testing.T) int {
	t.Helper()
	hung := time.AfterFunc(30*time.Second, func() { c.Process.Kill() })
	err := c.Wait()
	if !hung.Stop() {
		t.Fatal("the program does not end")
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if status := c.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal())
	}
	return c.ProcessState.ExitCode()
}

func (c *child) start(t *testing.T) {
	t.Helper()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// socket returns the two ends of a stream socket.
func socket(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var ends [2]*os.File
	for i, open := range []func() (net.Conn, error){func() (net.Conn, error) { return net.Dial("unix", l.Addr().String()) }, l.Accept} {
		conn, err := open()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if ends[i], err = conn.(*net.UnixConn).File(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ends[i].Close() })
	}
	return ends[0], ends[1]
}

// When the reader of the output goes, the program ends quietly, also while
// its input stands still, wherever in the archive that is.
func TestReaderGone(t *testing.T) {
	in := readTestdata(t, "sample.nar")
	random := rand.New(rand.NewPCG(1, 1))
	for name, open := range map[string]func(*testing.T) (ours, theirs *os.File){"pipe": pipe, "socket": socket} {
		for _, fed := range []int{0, 1, 200, 40_000, len(in) - 1, len(in)} {
			r, w := open(t)
			stdin, feed := pipe(t)
			c := newChild("rewrite", "-m", sampleRule)
			c.Stdin, c.Stdout = stdin, w
			c.start(t)
			stdin.Close()
			w.Close()
			if _, err := feed.Write(in[:fed]); err != nil {
				t.Fatal(err)
			}
			// The program may or may not have come to its input by now.
			time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
			gone := time.Now()
			r.Close()
			if status := c.ended(t); status != 128+int(syscall.SIGPIPE) || c.stderr.Len() > 0 {
				t.Errorf("%s, %d bytes fed: status %d, want %d; stderr: %s", name, fed, status, 128+int(syscall.SIGPIPE), &c.stderr)
			}
			t.Logf("%s, %d bytes fed: ended after %v", name, fed, time.Since(gone))
		}
	}
}

// A reader who goes when it has the whole archive, as nix-store does, is no
// reader that is gone.
func TestReaderHasAll(t *testing.T) {
	in := readTestdata(t, "sample.nar")
	export := exported("/nix/store/"+sampleHash+"-hello-1.0", nil, in)
	for _, test := range []struct {
		in   []byte
		args []string
	}{
		{in, []string{"rewrite", "-m", sampleRule}},
		{in, []string{"rewrite", "-m", sampleRule, "--spool"}},
		{in, []string{"repair"}},
		{in, []string{"address", "--self", "/nix/store/" + sampleHash + "-hello-1.0", "--report", os.DevNull}},
		{export, []string{"rewrite", "-m", sampleRule}},
	} {
		for range 20 {
			r, w := pipe(t)
			c := newChild(test.args...)
			c.Stdin, c.Stdout = bytes.NewReader(test.in), w
			c.start(t)
			w.Close()
			if _, err := io.ReadFull(r, make([]byte, len(test.in))); err != nil {
				t.Fatalf("%q: %v", test.args, err)
			}
			r.Close()
			if status := c.ended(t); status != 0 {
				t.Fatalf("%q: status %d; stderr: %s", test.args, status, &c.stderr)
			}
		}
	}
}

// The same for a reader who reads a little of a long output.
func TestReaderTakesLittle(t *testing.T) {
	r, w := pipe(t)
	c := newChild("rewrite", "-m", sampleRule)
	c.Stdin, c.Stdout = bytes.NewReader(nartest.Tree(nartest.File(strings.Repeat("x", 8<<20)))), w
	c.start(t)
	w.Close()
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if status := c.ended(t); status != 141 || c.stderr.Len() > 0 {
		t.Errorf("status %d; stderr: %s", status, &c.stderr)
	}
}

// And for the reader of a FIFO that -o names.
func TestReaderOfFIFOGone(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	stdin, feed := pipe(t)
	c := newChild("rewrite", "-m", sampleRule, "-o", fifo)
	c.Stdin = stdin
	c.start(t)
	stdin.Close()
	r, err := os.Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	feed.Write(readTestdata(t, "sample.nar")[:100])
	r.Close()
	if status := c.ended(t); status != 141 || c.stderr.Len() > 0 {
		t.Errorf("status %d; stderr: %s", status, &c.stderr)
	}
}

// Nobody has to read the messages.
func TestReaderOfMessagesGone(t *testing.T) {
	r, w := pipe(t)
	r.Close()
	out := filepath.Join(t.TempDir(), "out")
	c := newChild("rewrite", "-v", "-m", sampleRule, "-o", out, "../../testdata/sample.nar")
	c.Cmd.Stderr = w
	c.start(t)
	if status := c.ended(t); status != 0 {
		t.Errorf("status %d", status)
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, readTestdata(t, "sample-rewritten.nar")) {
		t.Errorf("output: %v, %d bytes", err, len(got))
	}
}

// full is a small tmpfs.
func full(t *testing.T, size string) string {
	t.Helper()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("needs root on Linux, to mount a small file system")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("needs to mount a small file system: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

func empty(t *testing.T, dir string, but ...string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	if strings.Join(names, " ") != strings.Join(but, " ") {
		t.Errorf("%s holds %q, want %q", dir, names, but)
	}
}

// No space on the output's device: an error, and no file.
func TestNoSpaceForOutput(t *testing.T) {
	dir := full(t, "40k")
	for _, before := range []string{"", "old"} {
		var names []string
		out := filepath.Join(dir, "out")
		if before != "" {
			names = []string{"out"}
			if err := os.WriteFile(out, []byte(before), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		c := newChild("rewrite", "-m", sampleRule, "-o", out, "../../testdata/sample.nar")
		c.start(t)
		if status := c.ended(t); status != statusError || !strings.HasPrefix(c.stderr.String(), "narseal: error: ") ||
			!strings.Contains(c.stderr.String(), "no space left on device") {
			t.Errorf("status %d; stderr: %s", status, &c.stderr)
		}
		empty(t, dir, names...)
		if before != "" {
			if b, err := os.ReadFile(out); err != nil || string(b) != before {
				t.Errorf("the old file: %v, %q", err, b)
			}
		}
	}
}

func TestNoSpaceForStdout(t *testing.T) {
	null, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer null.Close()
	for _, args := range [][]string{nil, {"-o", "/dev/full"}} {
		c := newChild(append(append([]string{"rewrite", "-m", sampleRule}, args...), "../../testdata/sample.nar")...)
		c.Stdout = null
		c.start(t)
		if status := c.ended(t); status != statusError || !strings.Contains(c.stderr.String(), "no space left on device") {
			t.Errorf("%q: status %d; stderr: %s", args, status, &c.stderr)
		}
	}
}

// No space where images are held, or no such folder.
func TestNoSpaceForImages(t *testing.T) {
	small := full(t, "16k")
	for dir, want := range map[string]string{small: "no space left on device", filepath.Join(small, "none"): "no such file or directory"} {
		c := newChild("rewrite", "-m", sampleRule, "--hold-memory", "4096", "../../testdata/sample.nar")
		c.Env = append(os.Environ(), "TMPDIR="+dir)
		var stdout bytes.Buffer
		c.Stdout = &stdout
		c.start(t)
		if status := c.ended(t); status != statusError || !strings.Contains(c.stderr.String(), want) ||
			!strings.Contains(c.stderr.String(), `"/bin/hello"`) {
			t.Errorf("status %d; stderr: %s", status, &c.stderr)
		}
		if complete(stdout.Bytes()) {
			t.Error("the output is complete")
		}
		empty(t, small)
	}
}

// A signal at any moment ends the program by that signal, or finds it done:
// the output is the old one or the new one, and no temporary file is left,
// not even by SIGKILL where the system has files without a name.
func TestSignals(t *testing.T) {
	in := nartest.Tree(nartest.Dir{
		"a": nartest.Exec(readTestdata(t, "macho/goldens/A/go-arm64")),
		"b": nartest.File(strings.Repeat("/nix/store/"+hashA+"\n", 20_000)),
	})
	want := nartest.Tree(nartest.Dir{
		"a": nartest.Exec(readTestdata(t, "macho/goldens/B/go-arm64")),
		"b": nartest.File(strings.Repeat("/nix/store/"+hashB+"\n", 20_000)),
	})
	rounds := 9
	if testing.Short() || raceEnabled {
		rounds = 4
	}
	// The time that all of it takes is what the moments are taken from.
	begin := time.Now()
	whole := newChild("rewrite", "-m", hashA+"="+hashB, "-o", filepath.Join(t.TempDir(), "out"), "--hold-memory", "1")
	whole.Stdin = bytes.NewReader(in)
	whole.start(t)
	if status := whole.ended(t); status != 0 {
		t.Fatalf("status %d; stderr: %s", status, &whole.stderr)
	}
	span := time.Since(begin)
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it, for the program too
		signals = append(signals, syscall.SIGHUP)
	}
	if runtime.GOOS == "linux" {
		signals = append(signals, syscall.SIGKILL)
	}
	for i, sig := range signals {
		random := rand.New(rand.NewPCG(2, uint64(i)))
		ends := map[int]int{}
		for round := range rounds {
			dir, tmp := t.TempDir(), t.TempDir()
			out := filepath.Join(dir, "out")
			names := []string{"out"}
			old := round%2 == 0
			if old {
				if err := os.WriteFile(out, []byte("old"), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			stdin, feed := pipe(t)
			c := newChild("rewrite", "-m", hashA+"="+hashB, "-o", out, "--hold-memory", "1")
			c.Stdin = stdin
			c.Env = append(os.Environ(), "TMPDIR="+tmp)
			c.start(t)
			stdin.Close()
			// Most moments lie in the middle of the work, which stands still
			// where the input does.
			fed := len(in)
			if round%3 > 0 {
				fed = random.IntN(len(in))
			}
			feed.Write(in[:fed])
			if fed == len(in) {
				feed.Close()
			}
			time.Sleep(time.Duration(random.Int64N(int64(span * 3 / 2))))
			c.Process.Signal(sig)
			status := c.ended(t)
			ends[status]++
			got, err := os.ReadFile(out)
			switch {
			case err == nil && bytes.Equal(got, want):
				if fed < len(in) {
					t.Errorf("%v: a complete output of a part of the input", sig)
				}
			case err == nil && old && string(got) == "old":
			case errors.Is(err, os.ErrNotExist) && !old:
				names = nil
			default:
				t.Errorf("%v, status %d: the output is neither old nor new: %v, %d bytes", sig, status, err, len(got))
			}
			if status != 128+int(sig) && (status != 0 || !bytes.Equal(got, want)) {
				t.Errorf("%v: status %d; stderr: %s", sig, status, &c.stderr)
			}
			said := ""
			if status == 128+int(sig) && sig != syscall.SIGKILL {
				said = "narseal: stopped: " + out + " was not written\n"
			}
			if c.stderr.String() != said {
				t.Errorf("%v: stderr: %s, want %s", sig, &c.stderr, said)
			}
			empty(t, dir, names...)
			empty(t, tmp)
		}
		t.Logf("%v: %v", sig, ends)
	}
}

// A signal that was ignored when the program began stays ignored, as nohup
// has it.
func TestIgnoredSignal(t *testing.T) {
	signal.Ignore(syscall.SIGHUP) // for the child, which inherits it
	defer signal.Reset(syscall.SIGHUP)
	stdin, feed := pipe(t)
	c := newChild("rewrite", "-m", sampleRule)
	var stdout bytes.Buffer
	c.Stdin, c.Stdout = stdin, &stdout
	c.start(t)
	stdin.Close()
	in := readTestdata(t, "sample.nar")
	feed.Write(in[:1000])
	for range 20 {
		c.Process.Signal(syscall.SIGHUP)
		time.Sleep(time.Millisecond)
	}
	feed.Write(in[1000:])
	feed.Close()
	if status := c.ended(t); status != 0 || !bytes.Equal(stdout.Bytes(), readTestdata(t, "sample-rewritten.nar")) {
		t.Errorf("status %d, %d bytes; stderr: %s", status, stdout.Len(), &c.stderr)
	}
}

// Every way to fail ends the run's goroutines, too.
func TestNoGoroutineIsLeft(t *testing.T) {
	in := readTestdata(t, "sample.nar")
	report := filepath.Join(t.TempDir(), "report")
	failing := func(at int) io.Reader {
		return io.MultiReader(bytes.NewReader(in[:at]), iotest.ErrReader(errors.New("input/output error")))
	}
	invoke(nil, "rewrite") // what stays for good, such as that of os/signal
	before := runtime.NumGoroutine()
	for _, common := range [][]string{{"rewrite", "-m", sampleRule}, {"rewrite", "-m", sampleRule, "--report", report}, {"repair", "--report", report}} {
		for name, test := range map[string]struct {
			stdin  io.Reader
			args   []string
			status int
		}{
			"done":          {bytes.NewReader(in), nil, 0},
			"not an input":  {nil, []string{"missing"}, 1},
			"not an output": {bytes.NewReader(in), []string{"-o", "missing/out"}, 1},
			"usage":         {bytes.NewReader(in), []string{"--hold-memory", "x"}, 2},
			"empty":         {strings.NewReader(""), nil, 1},
			"cut":           {bytes.NewReader(in[:60_000]), nil, 1},
			"more":          {bytes.NewReader(append(in, in...)), nil, 1},
			"error at once": {failing(0), nil, 1},
			"error":         {failing(30_000), nil, 1},
			"error at end":  {failing(len(in)), nil, 1},
			"zstd, cut":     {bytes.NewReader([]byte("\x28\xb5\x2f\xfd\x04\x88\x11\x00\x00")), nil, 1},
			"zstd, to cut":  {bytes.NewReader(in[:60_000]), []string{"--compression", "zstd"}, 1},
			"gzip, to cut":  {bytes.NewReader(in[:60_000]), []string{"--compression", "gzip"}, 1},
			"xz, to cut":    {bytes.NewReader(in[:60_000]), []string{"--compression", "xz"}, 1},
			"spool":         {bytes.NewReader(in), []string{"--spool"}, 0},
			"spool, cut":    {bytes.NewReader(in[:60_000]), []string{"--spool"}, 1},
		} {
			if common[0] == "repair" && strings.HasPrefix(name, "spool") {
				continue // renames nothing
			}
			o := invoke(test.stdin, append(append([]string{}, common...), test.args...)...)
			if o.status != test.status || o.status == 1 && !strings.HasPrefix(o.stderr, "narseal: error: ") {
				t.Errorf("%s %s: status %d, want %d; stderr: %s", common, name, o.status, test.status, o.stderr)
			}
			if o.status == 1 && complete([]byte(o.stdout)) {
				t.Errorf("%s %s: the output is complete", common, name)
			}
			n := runtime.NumGoroutine()
			for i := 0; i < 200 && n > before; i++ {
				time.Sleep(time.Millisecond)
				n = runtime.NumGoroutine()
			}
			if n > before {
				buf := make([]byte, 1<<20)
				t.Fatalf("%s %s: %d goroutines, %d before:\n%s", common, name, n, before, buf[:runtime.Stack(buf, true)])
			}
		}
	}
}
