// Package sandbox removes the rights that the program does not need.
//
// A filter reads untrusted input. After [Restrict], the program can open only the files that its command line named, so
// that a bug in a parser cannot make it read or write anything else. The Linux kernel enforces this by Landlock,
// without privileges and until the process ends. On other systems Restrict changes nothing, and reports that.
//
// # What stays possible
//
// Landlock checks a file when it is opened or named, so descriptors that are open before Restrict keep all their
// rights: stdin, stdout and stderr, and every file and directory that the caller opened. Therefore a command should
// open its files first, and restrict itself before it reads the first byte of input.
//
// These are not restricted on any kernel:
//
//   - stat, access, readlink and chdir: which paths exist, and what they are, can be found out.
//   - chmod, chown, setxattr, utime: a file's attributes can be changed by whoever may change them without Landlock.
//   - flock and fcntl; ioctl on regular files, pipes and descriptors that were open before.
//   - Pipes and sockets that are reached by /proc/self/fd.
//   - Sockets other than TCP and UDP: MPTCP, SCTP, raw, netlink, vsock.
//   - CPU time and memory.
//
// Changing mounts and tracing processes outside of the sandbox (ptrace, process_vm_readv, /proc/PID/mem) is denied on
// every kernel with Landlock.
//
// The rest depends on the version of the kernel's Landlock ABI, which [Status] has:
//
//	ABI  Linux  denied from this version on, unless it is granted
//	 1   5.13   opening files for reading or writing, listing directories, executing programs; creating, removing,
//	            renaming and linking files; any link or rename from one directory to another
//	 2   5.19   the same, but links and renames between directories can be granted
//	 3   6.2    truncating files
//	 4   6.7    TCP: connect and bind
//	 5   6.10   ioctl on devices that are opened later
//	 6   6.12   signals to processes outside, and connections to their abstract Unix sockets
//	 7   6.15   nothing more; the audit log records what is denied
//	 8   7.0    nothing more; the kernel restricts all threads in one step
//	 9          connections to Unix sockets in the file system that were made outside
//	10          UDP: bind, connect and send
//	11          nothing more
//
// What a version does not list is possible there. Below ABI 10, the program can still send UDP, and below 9 it can
// connect to a daemon's socket, as far as the user can.
//
// A right to a directory always extends to everything below it. So the directory of an output file is granted with
// all its subdirectories.
//
// Restrict also sets no_new_privs: a program that is executed later gains nothing from setuid bits or file
// capabilities.
//
// Sources: the kernel's Documentation/userspace-api/landlock.rst, include/uapi/linux/landlock.h and
// security/landlock/fs.c; https://docs.kernel.org/userspace-api/landlock.html.
package sandbox

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Policy lists what a command needs beyond the descriptors that are open. Its zero value needs nothing.
//
// Paths are as the user gave them: symlinks are followed. Empty paths and "-", which is a standard stream, are
// skipped, and so is what cannot be found, since opening it fails in any case.
type Policy struct {
	// Read has files, and directories with everything below them, to be read.
	Read []string

	// Finish has output files that are already being written and have yet to get their names: the new file has no
	// name or a hidden one, and its directory is open if it is to be synced. The directory of such a file gets the
	// rights to create and to remove files, and none to open a file in it. Devices and FIFOs need nothing more.
	Finish []string

	// Create has output files that are created or replaced later. The directory of such a file gets the rights of
	// Edit except for links between directories, so that the files in it can be read, too: prefer Finish. A device or
	// a FIFO may be written.
	Create []string

	// Append has files that are opened for writing later, and not replaced. One that does not exist is created, by
	// rights to its directory.
	Append []string

	// Edit has files that are replaced, and directories in which any file may be: the files are read, and new ones
	// take their places. Where a file is named itself, this goes for its directory. Directories do not come or go.
	Edit []string

	// Own has directories in which files and directories are read, created, replaced and removed. One that does not
	// exist yet is granted by the nearest directory around it that does: create it first.
	Own []string

	// Temp is the directory of temporary files, which are created, read and removed in it.
	Temp string

	// Execute has programs, and directories of programs and their libraries, that are run. The programs inherit the
	// whole policy, which cannot be widened for them.
	Execute []string

	// Sockets has Unix sockets in the file system, and directories of such, to connect to.
	Sockets []string

	// Network says that the program connects to other machines. It can then open TCP connections and send UDP, but
	// cannot accept TCP connections, and can read what names and certificates are looked up in. A resolv.conf in
	// /etc that is replaced later is not read any more; one elsewhere is.
	Network bool
}

// A Status describes what Restrict enforces. The paths are those that have the right, such as the directory of an
// output file.
type Status struct {
	// ABI is the version of Landlock whose restrictions are in force. It is 0 if there are none.
	ABI int
	// Reason says why there are no restrictions.
	Reason string

	Read, Write, Create, Remove, Execute []string

	// Network says which connections are possible.
	Network string
}

// maxPaths bounds the paths that String shows of each right.
const maxPaths = 8

// String describes the status in one line.
func (s Status) String() string {
	if s.ABI == 0 {
		return "no restrictions: " + s.Reason
	}
	var b strings.Builder
	list := func(right string, paths []string) {
		fmt.Fprintf(&b, "%s: ", right)
		if len(paths) == 0 {
			b.WriteString("none")
		}
		for i, p := range paths {
			if i == maxPaths {
				fmt.Fprintf(&b, " and %d more", len(paths)-i)
				break
			}
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(printable(p))
		}
		b.WriteString("; ")
	}
	list("read", s.Read)
	list("write", s.Write)
	if slices.Equal(s.Create, s.Remove) {
		list("create and remove", s.Create)
	} else {
		list("create", s.Create)
		list("remove", s.Remove)
	}
	list("execute", s.Execute)
	fmt.Fprintf(&b, "network: %s; ", s.Network)
	signals := "unrestricted"
	if s.ABI >= signalABI {
		signals = "own process"
	}
	fmt.Fprintf(&b, "signals: %s; Landlock ABI %d", signals, s.ABI)
	return b.String()
}

// Versions of the Landlock ABI from which something can be restricted.
const (
	referABI  = 2
	tcpABI    = 4
	signalABI = 6
	udpABI    = 10
)

// printable quotes what a terminal would act on.
func printable(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	return strconv.Quote(s)
}
