package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Every way to put a file into its place works with the rights that it was given.
func TestOutputs(t *testing.T) {
	for _, child := range []string{"finish", "create", "append", "temp", "edit", "own"} {
		t.Run(child, func(t *testing.T) {
			needLandlock(t)
			dir := t.TempDir()
			prepareFiles(t, dir)
			runChild(t, child, dir)
		})
	}
}

// openDir opens a directory, as what replaces files in it does.
func openDir(name string) (int, error) {
	return unix.Open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// unnamed opens a file without a name in an open directory.
func unnamed(dir int) (int, error) {
	return unix.Openat(dir, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
}

// hidden opens a new file in an open directory.
func hidden(dir int, name string) (int, error) {
	return unix.Openat(dir, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
}

func procPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// link gives an unnamed file a name in a directory.
func link(fd, dir int, name string) error {
	return unix.Linkat(unix.AT_FDCWD, procPath(fd), dir, name, unix.AT_SYMLINK_FOLLOW)
}

// fill writes to a file, makes it longer and shorter, and changes its attributes.
func fill(fd int, data string) error {
	_, err := unix.Write(fd, []byte(data))
	errs := []error{err, unix.Ftruncate(fd, 1<<16), unix.Ftruncate(fd, int64(len(data))), unix.Fchmod(fd, 0o640),
		unix.Fchown(fd, os.Getuid(), os.Getgid()), os.Chtimes(procPath(fd), time.Time{}, time.Unix(1, 0)), unix.Fsync(fd)}
	if err := unix.Fsetxattr(fd, "user.narseal", []byte("x"), 0); err != nil && err != unix.ENOTSUP {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// holds is an error unless a file has these contents.
func holds(fd int, want string) error {
	b := make([]byte, 100)
	n, err := unix.Pread(fd, b, 0)
	if string(b[:max(n, 0)]) != want {
		return fmt.Errorf("got %q, %v, want %q", b[:max(n, 0)], err, want)
	}
	return nil
}

func init() {
	children["finish"] = func(c *child) {
		dir := must(openDir("out"))
		first, second, third := must(unnamed(dir)), must(unnamed(dir)), must(hidden(dir, ".hidden3"))
		must(hidden(dir, ".hidden4"))
		device := must(os.OpenFile(os.DevNull, os.O_WRONLY, 0))
		c.restrict(Policy{Finish: []string{"out/new", "out/sibling", "-", "", os.DevNull}})
		c.works("write", fill(first, "first"))
		c.works("give a file without a name one", link(first, dir, "new"))
		c.works("write another", fill(second, "second"))
		if err := link(second, dir, "sibling"); err != unix.EEXIST {
			c.works("replace by link", fmt.Errorf("got %v, want EEXIST", err))
		}
		c.works("give a file without a name a hidden one", link(second, dir, ".hidden2"))
		c.works("rename it to what exists", unix.Renameat(dir, ".hidden2", dir, "sibling"))
		c.works("write a hidden file", fill(third, "third"))
		c.works("rename it to a new name", unix.Renameat(dir, ".hidden3", dir, "third"))
		c.works("remove a hidden file", unix.Unlinkat(dir, ".hidden4", 0))
		c.works("sync the directory", unix.Fsync(dir))
		_, err := device.Write([]byte("x"))
		c.works("write a device", err)
		c.works("read back", errors.Join(holds(first, "first"), holds(second, "second"), holds(third, "third")))
		_, err = unnamed(dir)
		c.denied(1, "open another file", err)
		_, err = openDir("out")
		c.denied(1, "open the directory again", err)
		c.denied(1, "give a file a name in another directory", link(first, unix.AT_FDCWD, "other/x"))
		c.denied(1, "give it one in a directory below", link(first, unix.AT_FDCWD, "out/sub/x"))
	}

	children["create"] = func(c *child) {
		check(os.Symlink("../other/a", "out/link"))
		check(unix.Mkfifo("fifo", 0o666))
		reader := must(unix.Open("fifo", unix.O_RDONLY|unix.O_NONBLOCK, 0))
		c.restrict(Policy{Create: []string{"out/new", "out/link", os.DevNull, "fifo"}})
		for _, name := range []string{"out", "other"} { // where the symlink leads
			dir, err := openDir(name)
			c.works("open "+name, err)
			f, err := unnamed(dir)
			c.works("open a file without a name in "+name, err)
			c.works("write it in "+name, fill(f, "first"))
			c.works("give it a name in "+name, link(f, dir, "new"))
			f, err = hidden(dir, ".hidden")
			c.works("open a hidden file in "+name, err)
			c.works("write the hidden file in "+name, fill(f, "second"))
			c.works("rename it in "+name, unix.Renameat(dir, ".hidden", dir, "new"))
			c.works("read it in "+name, holds(f, "second"))
			c.works("sync "+name, unix.Fsync(dir))
		}
		f, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		c.works("open a device", err)
		_, err = f.Write([]byte("x"))
		c.works("write it", err)
		// TCGETS, which a null device does not know: but for Landlock it is ENOTTY.
		if _, err = unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == unix.ENOTTY {
			err = nil
		}
		c.denied(5, "ioctl of a device", err)
		f, err = os.OpenFile("fifo", os.O_WRONLY, 0)
		c.works("open a FIFO", err)
		_, err = f.Write([]byte("fifo"))
		c.works("write the FIFO", err)
		b := make([]byte, 10)
		n, err := unix.Read(reader, b)
		if err == nil && string(b[:n]) != "fifo" {
			err = fmt.Errorf("got %q", b[:n])
		}
		c.works("read what is in the FIFO", err)
		c.denied(1, "mkdir", os.Mkdir("out/dir", 0o777))
		c.denied(1, "link a file from one directory to another", os.Link("out/new", "other/link"))
	}

	children["append"] = func(c *child) {
		c.restrict(Policy{Append: []string{"input", "out/summary", os.DevNull}})
		for _, name := range []string{"input", "out/summary", "out/summary", os.DevNull} {
			f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
			c.works("open "+name, err)
			_, err = f.WriteString("x")
			c.works("append to "+name, errors.Join(err, f.Close()))
		}
		_, err := os.ReadFile("input")
		c.denied(1, "read", err)
		c.denied(1, "remove", os.Remove("out/summary"))
	}

	children["temp"] = func(c *child) {
		c.restrict(Policy{Temp: "tmp"})
		f, err := os.OpenFile("tmp", unix.O_TMPFILE|os.O_RDWR, 0o600)
		c.works("open a file without a name", err)
		c.works("use it", errors.Join(fill(int(f.Fd()), "data"), holds(int(f.Fd()), "data")))
		f, err = os.CreateTemp("tmp", "narseal-")
		c.works("create a file", err)
		c.works("unlink it", os.Remove(f.Name()))
		c.works("use the other", errors.Join(fill(int(f.Fd()), "data"), holds(int(f.Fd()), "data")))
		c.denied(1, "mkdir", os.Mkdir("tmp/dir", 0o777))
		_, err = os.ReadDir("tmp")
		c.denied(1, "list", err)
	}

	children["edit"] = func(c *child) {
		check(os.Mkdir("single", 0o777))
		check(os.WriteFile("single/file", []byte("x"), 0o666))
		check(os.Link("edit/file", "edit/sub/link"))
		check(os.Link("edit/file", "single/link"))
		c.restrict(Policy{Edit: []string{"to-edit", "single/file"}})
		root, err := openDir("to-edit")
		c.works("open the root", err)
		sub, err := unix.Openat(root, "sub", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		c.works("open a directory relative to it", err)
		single, err := openDir("single")
		c.works("open the directory of a file", err)
		for name, dir := range map[string]int{"sub": sub, "root": root, "single": single} {
			old, err := unix.Openat(dir, "file", unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			c.works("open a file in "+name, err)
			f, err := unnamed(dir)
			c.works("open its replacement in "+name, err)
			c.works("write the replacement in "+name, fill(f, "new"))
			again, err := os.ReadFile(procPath(f))
			if string(again) != "new" {
				err = fmt.Errorf("got %q, %v", again, err)
			}
			c.works("open the replacement again in "+name, err)
			c.works("name it in "+name, link(f, dir, ".hidden"))
			c.works("put it into its place in "+name, unix.Renameat(dir, ".hidden", dir, "file"))
			c.works("replace another name in root by it, from "+name, errors.Join(
				unix.Linkat(dir, "file", root, ".hidden", 0), unix.Renameat(root, ".hidden", root, "link")))
			if name != "single" {
				c.works("and one in sub, from "+name, errors.Join(
					unix.Linkat(dir, "file", sub, ".hidden", 0), unix.Renameat(sub, ".hidden", sub, "link")))
			}
			c.works("and one in the directory of a file, from "+name, errors.Join(
				unix.Linkat(dir, "file", single, ".hidden", 0), unix.Renameat(single, ".hidden", single, "link")))
			h, err := hidden(dir, ".hidden2")
			c.works("open a hidden file in "+name, err)
			c.works("write the hidden file in "+name, fill(h, "newer"))
			c.works("rename it in "+name, unix.Renameat(dir, ".hidden2", dir, "file"))
			c.works("change the mode of "+name, errors.Join(unix.Fchmod(dir, 0o700), unix.Fchmod(dir, 0o755), unix.Fchmodat(dir, ".", 0o755, 0)))
			c.works("sync "+name, unix.Fsync(dir))
			c.works("change the times of "+name, unix.UtimesNanoAt(dir, ".", []unix.Timespec{{Sec: 1}, {Sec: 1}}, 0))
			unix.Close(old)
		}
		c.denied(1, "mkdir", os.Mkdir("edit/dir", 0o777))
		c.denied(1, "rmdir", os.Remove("edit/sub"))
		_, err = os.ReadFile("other/secret")
		c.denied(1, "read another file", err)
		c.denied(1, "link out", os.Link("edit/file", "out/file"))
	}

	children["own"] = func(c *child) {
		c.restrict(Policy{Own: []string{"own", "out/made/later"}})
		c.works("mkdir", os.MkdirAll("own/a/b", 0o777))
		c.works("mkdir of what did not exist", os.MkdirAll("out/made/later", 0o777))
		for _, dir := range []string{"own", "own/sub", "own/a/b", "out/made/later"} {
			f, err := os.OpenFile(filepath.Join(dir, "new"), os.O_RDWR|os.O_CREATE, 0o666)
			c.works("create in "+dir, err)
			c.works("lock in "+dir, unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB))
			c.works("use it in "+dir, errors.Join(fill(int(f.Fd()), "data"), holds(int(f.Fd()), "data")))
			c.works("rename in "+dir, os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "newer")))
			c.works("truncate in "+dir, os.WriteFile(filepath.Join(dir, "newer"), []byte("shorter"), 0o666))
			_, err = os.ReadDir(dir)
			c.works("list "+dir, err)
			c.works("remove in "+dir, os.Remove(filepath.Join(dir, "newer")))
		}
		root, err := os.OpenRoot("own")
		c.works("open as an os.Root", err)
		c.works("use it", errors.Join(root.Mkdir("dir", 0o777), root.WriteFile("dir/file", []byte("x"), 0o666),
			root.Rename("dir/file", "dir/file2"), root.RemoveAll("dir")))
		c.works("rmdir", errors.Join(os.Remove("own/a/b"), os.Remove("own/a")))
	}
}

// A program that is granted runs, and has the same restrictions. Others do not run.
func TestExecute(t *testing.T) {
	needLandlock(t)
	dir := t.TempDir()
	prepareFiles(t, dir)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "in/program"), b, 0o777); err != nil {
		t.Fatal(err)
	}
	runChild(t, "execute", dir)
}

func init() {
	children["execute"] = func(c *child) {
		// The libraries of a program that is built with cgo, as by the race detector, are anywhere.
		c.restrict(Policy{Execute: []string{must(os.Executable()), "/lib", "/lib64", "/usr/lib", "/nix/store"}})
		run := func(name string) (string, error) {
			p := exec.Command(name)
			p.Env = []string{"SANDBOX_CHILD=inherit", "GORACE=atexit_sleep_ms=0"}
			p.Stderr = os.Stderr
			out, err := p.Output()
			return string(out), err
		}
		out, err := run(must(os.Executable()))
		if err == nil && out != "denied" {
			err = errors.New(out)
		}
		c.works("execute", err)
		_, err = run("in/program")
		c.denied(1, "execute another program", err)
	}
	children["inherit"] = func(*child) {
		if _, err := os.ReadFile("other/secret"); errors.Is(err, os.ErrPermission) {
			fmt.Print("denied")
		}
	}
}

// With a network, the program finds names and certificates, and accepts no connections.
func TestNetwork(t *testing.T) {
	both(t, "network", func(t *testing.T, dir string) []string {
		write(t, filepath.Join(dir, "cert.pem"), "x")
		mkdir(t, filepath.Join(dir, "certs"))
		return []string{"SSL_CERT_FILE=" + filepath.Join(dir, "cert.pem"), "SSL_CERT_DIR=/nonexistent:" + filepath.Join(dir, "certs")}
	})
}

func init() {
	children["network"] = func(c *child) {
		server := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
		check(unix.Bind(server, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
		check(unix.Listen(server, 1))
		address := must(unix.Getsockname(server))
		c.restrict(Policy{Network: true})
		socket := func() int { return must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)) }
		c.works("connect TCP", unix.Connect(socket(), address))
		c.denied(tcpABI, "bind TCP", unix.Bind(socket(), &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
		udp := must(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
		c.works("connect UDP", unix.Connect(udp, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 53}))
		for _, name := range []string{"/etc/resolv.conf", "/etc/hosts", os.Getenv("SSL_CERT_FILE"), "/etc/ssl/certs/ca-certificates.crt"} {
			_, err := os.ReadFile(name)
			if errors.Is(err, os.ErrNotExist) {
				err = nil
			}
			c.works("read "+filepath.Base(name), err)
		}
		_, err := os.ReadDir("certs")
		c.works("list certificates", err)
		_, err = os.ReadFile("/etc/passwd")
		c.denied(1, "read another file in /etc", err)
	}
}

func init() {
	children["process"] = func(c *child) {
		const threads = 8
		procs := runtime.GOMAXPROCS(0)
		var ready, done sync.WaitGroup
		restricted := make(chan struct{})
		errs := make([]error, threads)
		var pipe [2]int
		check(unix.Pipe2(pipe[:], unix.O_CLOEXEC))
		for i := range threads {
			ready.Add(1)
			done.Go(func() {
				runtime.LockOSThread()
				ready.Done()
				if i%2 == 0 {
					// Blocked in a system call while the process restricts itself.
					for {
						if _, err := unix.Read(pipe[0], make([]byte, 1)); err != unix.EINTR {
							break
						}
					}
				}
				<-restricted
				_, errs[i] = os.ReadFile("other/secret")
			})
		}
		ready.Wait()
		time.Sleep(20 * time.Millisecond)
		c.restrict(Policy{})
		unix.Close(pipe[1])
		close(restricted)
		done.Wait()
		for i, err := range errs {
			c.denied(1, "read in thread "+strconv.Itoa(i), err)
		}
		var new sync.WaitGroup
		for i := range threads {
			new.Go(func() {
				runtime.LockOSThread() // and a thread that ends with it
				_, errs[i] = os.ReadFile("other/secret")
			})
		}
		new.Wait()
		for i, err := range errs {
			c.denied(1, "read in new thread "+strconv.Itoa(i), err)
		}

		var err error
		if name, offset := time.Now().Zone(); name != "NAR" || offset != 5*60*60 {
			err = fmt.Errorf("got %s, %d", name, offset)
		}
		c.works("the time zone", err)

		// The runtime does this by itself from time to time.
		runtime.SetDefaultGOMAXPROCS()
		if n := runtime.GOMAXPROCS(0); n != procs && os.Getenv("GOMAXPROCS") == "" {
			err = fmt.Errorf("got %d, want %d", n, procs)
		}
		c.works("the number of processors", err)
		runtime.GC()
		c.works("stat of what is not granted", func() error { _, err := os.Stat("other/secret"); return err }())
	}
	children["end"] = func(c *child) {
		sig := syscall.Signal(must(strconv.Atoi(os.Getenv("SIGNAL"))))
		signal.Notify(make(chan os.Signal, 1), sig)
		if _, err := Restrict(Policy{}); err != nil {
			os.Exit(9)
		}
		signal.Reset(sig)
		p := must(os.FindProcess(os.Getpid()))
		check(p.Signal(sig))
		time.Sleep(time.Second)
	}
}
