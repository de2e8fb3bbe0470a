package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain also lets the test binary be a process that restricts itself.
func TestMain(m *testing.M) {
	name := os.Getenv("SANDBOX_CHILD")
	if name == "" {
		os.Exit(m.Run())
	}
	c := &child{off: os.Getenv("SANDBOX_OFF") != "", failed: map[string]bool{}}
	children[name](c)
	os.Exit(0)
}

// children are what the child processes do. They run in a directory of their own.
var children = map[string]func(*child){}

// A child does things after it restricted itself, and prints a line for each: "ok", "FAIL" or "SKIP", a tab, the name
// of the thing, a tab and a message.
type child struct {
	off    bool // do not restrict: everything must work
	status Status
	failed map[string]bool
}

func (c *child) print(result, name, message string) {
	fmt.Printf("%s\t%s\t%s\n", result, name, strings.ReplaceAll(message, "\n", " "))
}

// restrict restricts the process, unless everything is to work.
func (c *child) restrict(p Policy) {
	if c.off {
		c.status.ABI, _ = kernelABI()
		return
	}
	var err error
	c.status, err = Restrict(p)
	c.works("restrict", err)
}

// works wants no error.
func (c *child) works(name string, err error) {
	if err != nil {
		c.print("FAIL", name, err.Error())
		return
	}
	c.print("ok", name, "")
}

// denied wants the error that Landlock gives from an ABI version on, and without restrictions none.
func (c *child) denied(abi int, name string, err error) {
	switch {
	case c.off:
		c.works(name, err)
	case c.status.ABI < abi:
		c.print("SKIP", name, fmt.Sprintf("needs Landlock ABI %d, this is %d", abi, c.status.ABI))
	case errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EXDEV):
		c.print("ok", name, "")
	default:
		c.print("FAIL", name, fmt.Sprintf("got %v, want it denied", err))
	}
}

// must ends the child on an error of the test itself.
func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		fmt.Printf("FAIL\tthe test itself\t%v\n", err)
		os.Exit(1)
	}
}

// command returns the test binary as a child of this name, in its directory.
func command(t testing.TB, name, dir string, env ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	c.Dir = dir
	c.Env = append(os.Environ(), append(env, "SANDBOX_CHILD="+name, "GORACE=atexit_sleep_ms=0")...)
	return c
}

// needLandlock skips the test where the kernel restricts nothing.
func needLandlock(t testing.TB) {
	t.Helper()
	if abi, reason := kernelABI(); abi == 0 {
		t.Skip("Landlock ABI 0: " + reason)
	}
}

// runChild makes a subtest of each line that a child prints.
func runChild(t *testing.T, name, dir string, env ...string) {
	t.Helper()
	c := command(t, name, dir, env...)
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil || stderr.Len() > 0 {
		t.Errorf("%v\n%s\n%s", err, out, &stderr)
	}
	lines := bufio.NewScanner(strings.NewReader(string(out)))
	n := 0
	for ; lines.Scan(); n++ {
		result, rest, _ := strings.Cut(lines.Text(), "\t")
		name, message, _ := strings.Cut(rest, "\t")
		t.Run(name, func(t *testing.T) {
			switch result {
			case "ok":
			case "SKIP":
				t.Skip(message)
			default:
				t.Error(message)
			}
		})
	}
	if n == 0 {
		t.Error("the child did nothing")
	}
}

// write makes a file in an existing directory.
func write(t testing.TB, name, data string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(data), 0o666); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t testing.TB, name string) {
	t.Helper()
	if err := os.Mkdir(name, 0o777); err != nil {
		t.Fatal(err)
	}
}

// both runs a child with restrictions and without, where what is denied must work: else the test shows nothing.
func both(t *testing.T, child string, prepare func(t *testing.T, dir string) (env []string)) {
	needLandlock(t)
	for _, off := range []string{"", "1"} {
		name := "restricted"
		if off != "" {
			name = "unrestricted"
		}
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			runChild(t, child, dir, append(prepare(t, dir), "SANDBOX_OFF="+off)...)
		})
	}
}

// prepareFiles makes the files that the children use.
func prepareFiles(t testing.TB, dir string) []string {
	for _, d := range []string{"in", "in/sub", "out", "out/sub", "other", "other/dir", "own", "own/sub", "tmp", "edit", "edit/sub"} {
		mkdir(t, filepath.Join(dir, d))
	}
	for _, f := range []string{"in/file", "in/sub/file", "out/sibling", "out/sub/file", "other/secret", "other/a", "other/b",
		"other/c", "other/d", "own/file", "own/file2", "edit/file", "edit/sub/file", "input"} {
		write(t, filepath.Join(dir, f), f)
	}
	for link, target := range map[string]string{"to-input": "input", "in/to-secret": "../other/secret", "to-edit": "edit"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	return nil
}

// What was not granted cannot be opened, created, removed, renamed, linked or executed.
func TestFilesAreDenied(t *testing.T) {
	both(t, "denied", func(t *testing.T, dir string) []string { return prepareFiles(t, dir) })
}

func init() {
	children["nothing"] = func(*child) {}
	children["denied"] = func(c *child) {
		secret := must(os.Open("other/secret"))
		c.restrict(Policy{Read: []string{"in"}, Finish: []string{"out/result"}, Own: []string{"own"}})
		open := func(name string, flags int) error {
			f, err := os.OpenFile(name, flags, 0o666)
			f.Close()
			return err
		}
		c.denied(1, "read", open("other/secret", os.O_RDONLY))
		c.denied(1, "read through a symlink in a granted directory", open("in/to-secret", os.O_RDONLY))
		c.denied(1, "read beside an output", open("out/sibling", os.O_RDONLY))
		c.denied(1, "read below the directory of an output", open("out/sub/file", os.O_RDONLY))
		c.denied(1, "read what another descriptor has open", open(fmt.Sprintf("/proc/self/fd/%d", secret.Fd()), os.O_RDONLY))
		c.denied(1, "read a system file", open("/etc/passwd", os.O_RDONLY))
		c.denied(1, "read the environment", open("/proc/self/environ", os.O_RDONLY))
		c.denied(1, "write", open("other/secret", os.O_WRONLY))
		c.denied(1, "append", open("other/secret", os.O_WRONLY|os.O_APPEND))
		c.denied(1, "write what may be read", open("in/file", os.O_WRONLY))
		c.denied(1, "write beside an output", open("out/sibling", os.O_WRONLY))
		c.denied(1, "open with O_TRUNC", open("other/a", os.O_WRONLY|os.O_TRUNC))
		c.denied(3, "open for reading with O_TRUNC what may be read", open("in/file", os.O_RDONLY|os.O_TRUNC))
		c.denied(3, "truncate", os.Truncate("other/a", 1))
		c.denied(1, "list", open("other", os.O_RDONLY))
		c.denied(1, "list the directory of an output", open("out", os.O_RDONLY))
		c.denied(1, "list /proc/self/fd", open("/proc/self/fd", os.O_RDONLY))
		c.denied(1, "create", open("other/new", os.O_WRONLY|os.O_CREATE|os.O_EXCL))
		c.denied(1, "create with contents beside an output", open("out/new", os.O_WRONLY|os.O_CREATE|os.O_EXCL))
		c.denied(1, "create where may be read", open("in/new", os.O_WRONLY|os.O_CREATE|os.O_EXCL))
		c.denied(1, "mkdir", os.Mkdir("other/newdir", 0o777))
		c.denied(1, "mkdir beside an output", os.Mkdir("out/newdir", 0o777))
		c.denied(1, "symlink", os.Symlink("secret", "other/link"))
		c.denied(1, "symlink in a directory that is changed", os.Symlink("secret", "own/link"))
		c.denied(1, "mkfifo", unix.Mkfifo("other/fifo", 0o666))
		c.denied(1, "mkfifo in a directory that is changed", unix.Mkfifo("own/fifo", 0o666))
		c.denied(1, "bind a Unix socket", listenUnix("own/socket"))
		c.denied(1, "unlink", os.Remove("other/b"))
		c.denied(1, "unlink what may be read", os.Remove("in/sub/file"))
		c.denied(1, "rmdir", os.Remove("other/dir"))
		c.denied(1, "rename", os.Rename("other/c", "other/e"))
		c.denied(1, "rename out of a directory that is changed", os.Rename("own/file", "other/file"))
		c.denied(1, "rename into a directory that is changed", os.Rename("other/d", "own/d"))
		c.denied(1, "link out", os.Link("in/file", "other/file2"))
		c.denied(1, "link what may be read to an output", os.Link("in/file", "out/result"))
		c.denied(1, "link what may not be read to where it may", os.Link("other/a", "own/a"))
		// Not by os/exec, which opens /dev/null.
		p, err := os.StartProcess(must(os.Executable()), []string{"x"}, &os.ProcAttr{Env: []string{"SANDBOX_CHILD=nothing"}, Files: []*os.File{os.Stdin, os.Stderr, os.Stderr}})
		if err == nil {
			p.Wait()
		}
		c.denied(1, "execute", err)
		if os.Geteuid() == 0 {
			err := unix.Mount("own", "own", "", unix.MS_BIND, "")
			if err == nil {
				check(unix.Unmount("own", unix.MNT_DETACH))
			}
			c.denied(1, "mount", err)
		}
		null, err := os.Stat(os.DevNull)
		c.works("stat", err)
		_ = null
		b := make([]byte, 20)
		n, err := secret.Read(b)
		if string(b[:n]) != "other/secret" {
			err = fmt.Errorf("read %q: %v", b[:n], err)
		}
		c.works("a descriptor stays usable", err)
	}
}

func listenUnix(name string) error {
	l, err := net.Listen("unix", name)
	if err == nil {
		l.Close()
	}
	return err
}

// Nothing outside can be reached by sockets, signals or tracing.
func TestProcessesAreDenied(t *testing.T) {
	both(t, "outside", func(t *testing.T, dir string) []string {
		tcp, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tcp.Close() })
		name := fmt.Sprintf("@narseal-%d-%d", os.Getpid(), time.Now().UnixNano())
		abstract, err := net.Listen("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { abstract.Close() })
		path, err := net.Listen("unix", filepath.Join(dir, "socket"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { path.Close() })
		udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { udp.Close() })
		return []string{"TCP=" + strconv.Itoa(tcp.Addr().(*net.TCPAddr).Port), "ABSTRACT=" + name, "UDP=" + udp.LocalAddr().String()}
	})
}

func init() {
	children["wait"] = func(*child) {
		os.Stdout.Write([]byte("\n"))
		var b [1]byte
		os.Stdin.Read(b[:])
	}
	children["outside"] = func(c *child) {
		// It is outside of the sandbox, although it is a child of the process: it was started before.
		victim := exec.Command(must(os.Executable()))
		victim.Env = []string{"SANDBOX_CHILD=wait", "GORACE=atexit_sleep_ms=0"}
		stdin := must(victim.StdinPipe())
		stdout := must(victim.StdoutPipe())
		check(victim.Start())
		must(stdout.Read(make([]byte, 1)))
		defer victim.Wait()
		defer stdin.Close()

		c.restrict(Policy{})
		port := must(strconv.Atoi(os.Getenv("TCP")))
		// Not by package net, whose listeners use MPTCP, which Landlock lets pass.
		tcp := func(call func(fd int) error) error {
			fd := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
			defer unix.Close(fd)
			return call(fd)
		}
		local := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
		server := *local
		server.Port = port
		c.denied(tcpABI, "connect TCP", tcp(func(fd int) error { return unix.Connect(fd, &server) }))
		c.denied(tcpABI, "bind TCP", tcp(func(fd int) error { return unix.Bind(fd, local) }))
		dial := func(network, address string) error {
			conn, err := net.Dial(network, address)
			if err == nil {
				_, err = conn.Write([]byte("x"))
				conn.Close()
			}
			return err
		}
		c.denied(tcpABI, "dial TCP", dial("tcp4", "127.0.0.1:"+strconv.Itoa(port)))
		c.denied(udpABI, "send UDP", dial("udp4", os.Getenv("UDP")))
		c.denied(signalABI, "connect to an abstract Unix socket", dial("unix", os.Getenv("ABSTRACT")))
		c.denied(9, "connect to a Unix socket in the file system", dial("unix", "socket"))
		c.denied(signalABI, "signal the parent", unix.Kill(os.Getppid(), 0))
		c.denied(signalABI, "signal a process that was started before", unix.Kill(victim.Process.Pid, 0))
		c.works("signal the own process", unix.Kill(os.Getpid(), 0))
		err := unix.PtraceSeize(victim.Process.Pid)
		c.denied(1, "ptrace", err)
		there := []unix.RemoteIovec{{Base: 0x1000, Len: 1}}
		here := []unix.Iovec{{Base: new(byte), Len: 1}}
		if _, err = unix.ProcessVMReadv(victim.Process.Pid, here, there, 0); err == unix.EFAULT {
			err = nil // it may be read, if it were mapped
		}
		c.denied(1, "read another process's memory", err)
	}
}

// What is read is what was named, whether by itself, below a directory or by a symlink.
func TestRead(t *testing.T) {
	needLandlock(t)
	dir := t.TempDir()
	prepareFiles(t, dir)
	runChild(t, "read", dir)
}

func init() {
	children["read"] = func(c *child) {
		check(unix.Mkfifo("fifo", 0o666))
		keep := must(os.OpenFile("fifo", os.O_RDWR, 0)) // so that opening it does not wait
		defer keep.Close()
		c.restrict(Policy{Read: []string{"in", "to-input", "fifo", "missing", "", "-"}})
		for _, name := range []string{"in/file", "in/sub/file", "to-input", "input"} {
			_, err := os.ReadFile(name)
			c.works("read "+name, err)
		}
		list, err := os.ReadDir("in")
		if err == nil && len(list) != 3 {
			err = fmt.Errorf("got %v", list)
		}
		c.works("list", err)
		f, err := os.Open("fifo")
		c.works("open a FIFO", err)
		f.Close()
		if _, err = os.Open("missing"); errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		c.works("a missing file is still missing", err)
	}
}

// Files that are in no directory can be opened by the names that they have in /proc.
func TestNamedDescriptors(t *testing.T) {
	both(t, "descriptors", func(*testing.T, string) []string { return nil })
}

func init() {
	children["descriptors"] = func(c *child) {
		r, w, err := os.Pipe()
		check(err)
		memory := must(unix.MemfdCreate("memory", unix.MFD_CLOEXEC))
		sockets := must(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
		name := func(fd int) string { return fmt.Sprintf("/dev/fd/%d", fd) }
		in, out, file, socket := name(int(r.Fd())), name(int(w.Fd())), name(memory), name(sockets[0])
		c.restrict(Policy{Read: []string{in, file, socket}, Append: []string{out}, Create: []string{out}})
		to, err := os.OpenFile(out, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
		if err == nil {
			_, err = to.WriteString("text")
		}
		c.works("write to a pipe", errors.Join(err, to.Close(), w.Close()))
		text, err := os.ReadFile(in)
		if err == nil && string(text) != "text" {
			err = fmt.Errorf("got %q", text)
		}
		c.works("read from a pipe", err)
		_, err = os.ReadFile(file)
		c.works("read a memfd", err)
	}
}

// The process can be the one that it was: its threads are all restricted, it ends by a signal, it knows the time zone
// and the number of processors.
func TestProcess(t *testing.T) {
	needLandlock(t)
	dir := t.TempDir()
	prepareFiles(t, dir)
	// A time zone 5 hours east, as tzfile(5) has it.
	zone := "TZif" + strings.Repeat("\x00", 16+4*4) + "\x00\x00\x00\x01" + "\x00\x00\x00\x04" + "\x00\x00\x46\x50\x00\x00" + "NAR\x00"
	write(t, filepath.Join(dir, "zone"), zone)
	runChild(t, "process", dir, "TZ="+filepath.Join(dir, "zone"))

	t.Run("end", func(t *testing.T) {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
			if signal.Ignored(sig) {
				continue // as nohup(1) starts a process
			}
			c := command(t, "end", dir, "SIGNAL="+strconv.Itoa(int(sig)))
			err := c.Run()
			if status := c.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != sig {
				t.Errorf("the process ended with %v, want %v", err, sig)
			}
		}
	})
}

// A kernel without Landlock is no error, and neither is one that lacks what the command needs.
func TestWithoutLandlock(t *testing.T) {
	for _, test := range []struct {
		policy Policy
		abi    int
		reason string
	}{
		{Policy{}, 0, "this kernel has no Landlock"},
		{Policy{Edit: []string{"."}}, 1, ""},
	} {
		s, err := restrict(test.policy, test.abi, test.reason)
		if err != nil || s.ABI != 0 || s.Reason == "" || !strings.Contains(s.Reason, test.reason) {
			t.Errorf("ABI %d: got %+v, %v", test.abi, s, err)
		}
	}
	if _, err := os.Open("."); err != nil {
		t.Error(err)
	}
}

// An error of the kernel is an error of the program: 16 policies at most can be stacked.
func TestFailure(t *testing.T) {
	needLandlock(t)
	runChild(t, "failure", t.TempDir())
}

func init() {
	children["failure"] = func(c *child) {
		for range 16 {
			c.restrict(Policy{})
		}
		_, err := Restrict(Policy{})
		if errors.Is(err, unix.E2BIG) {
			err = nil
		} else {
			err = fmt.Errorf("got %v, want E2BIG", err)
		}
		c.works("the 17th policy", err)
	}
}

// BenchmarkRestrict measures Restrict in processes of their own, as it cannot be undone. The least of many times is what
// it costs; the others are the machine's.
func BenchmarkRestrict(b *testing.B) {
	needLandlock(b)
	dir := b.TempDir()
	prepareFiles(b, dir)
	least := time.Duration(math.MaxInt64)
	for b.Loop() {
		out, err := command(b, "cost", dir).Output()
		if err != nil {
			b.Fatal(err)
		}
		d, err := time.ParseDuration(strings.TrimSpace(string(out)))
		if err != nil {
			b.Fatal(err)
		}
		least = min(least, d)
	}
	b.ReportMetric(float64(least.Nanoseconds()), "least-ns/op")
}

func init() {
	children["cost"] = func(c *child) {
		begin := time.Now()
		_, err := Restrict(Policy{Read: []string{"in", "input"}, Finish: []string{"out/result", "out/report"}, Temp: "tmp"})
		d := time.Since(begin)
		check(err)
		fmt.Println(d)
	}
}
