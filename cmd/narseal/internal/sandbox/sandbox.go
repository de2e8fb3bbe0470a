// Package sandbox removes the rights that the program does not need.
//
// A filter reads untrusted input. After [Restrict], the program can open only the files that its command line names, so
// that a bug in a parser cannot make it read or write anything else. The Linux kernel enforces this with Landlock until
// the process ends; no privileges are needed. On other systems, Restrict changes nothing and says so in its status.
//
// # What stays possible
//
// Landlock checks a file when it is opened or named, so descriptors that are open before Restrict keep all their
// rights: stdin, stdout and stderr, and every file and directory that the caller opened. Therefore a command should
// open its files first, and restrict itself before it reads the first byte of input.
//
// No kernel restricts these:
//
//   - stat, access, readlink and chdir: the program can find out which paths exist, and their types.
//   - chmod, chown, setxattr, utime: the program can change the attributes of every file that the user may change.
//   - flock and fcntl; ioctl on regular files, pipes and descriptors that were open before.
//   - Pipes and sockets, through /proc/self/fd.
//   - Sockets other than TCP and UDP: MPTCP, SCTP, raw, netlink, vsock.
//   - CPU time and memory.
//
// Changing mounts and tracing processes outside of the sandbox (ptrace, process_vm_readv, /proc/PID/mem) is denied on
// every kernel with Landlock.
//
// The rest depends on the version of the kernel's Landlock ABI, see [Status]:
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
// Before that version, these are possible. Below ABI 10, the program can still send UDP, and below ABI 9, it can
// connect to the socket of a daemon if the user can.
//
// A right on a directory always extends to everything below it. So the rights for an output file cover its directory
// and all subdirectories.
//
// Restrict also sets no_new_privs: programs that are executed later gain nothing from setuid bits or file capabilities.
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

// A Policy lists the rights that a command needs besides its open descriptors. The zero value grants nothing.
//
// Symlinks in paths are followed. Empty paths and "-", which means a standard stream, are skipped. So are paths that do
// not exist, since opening them fails in any case.
type Policy struct {
	// Read lists files to read, and directories to read with everything below them.
	Read []string

	// Finish lists output files that are already open and only need to get their names. The new file has no name or a
	// hidden one, and its directory is already open if it will be synced. The directory of such a file gets the rights
	// to create and remove files, but not to open them. Devices and FIFOs need no more rights.
	Finish []string

	// Create lists output files that are created or replaced later. The directory of such a file gets the rights of
	// Edit, except for links between directories, so files in it can be read, too. Prefer Finish. Devices and FIFOs can
	// be written.
	Create []string

	// Append lists files that are opened later to append to them. If such a file does not exist, its directory gets the
	// rights to create and write files.
	Append []string

	// Edit lists files to read and replace, and directories in which every file may be read and replaced. For a file,
	// the rights cover its directory. Directories can be neither created nor removed.
	Edit []string

	// Own lists directories in which files and directories are read, created, replaced and removed. If such a directory
	// does not exist, its nearest existing parent gets the rights instead; create the directory first to avoid that.
	Own []string

	// Temp is the directory of temporary files, which are created, read and removed in it.
	Temp string

	// Execute lists programs to run, and directories of programs and their libraries. The programs inherit the whole
	// policy, which cannot be widened for them.
	Execute []string

	// Sockets lists Unix sockets in the file system, or directories of sockets, to connect to.
	Sockets []string

	// Network allows connections to other machines. The program can then open TCP connections and send UDP, but not
	// accept TCP connections. It can read the system's files for name lookup and certificates. If /etc/resolv.conf is a
	// regular file and is replaced later, the new file cannot be read; if it is a symlink to another directory, it can.
	Network bool
}

// A Status describes the restrictions in force. Read, Write, Create, Remove and Execute list the paths that have the
// right, such as the directory of an output file.
type Status struct {
	// ABI is the version of Landlock whose restrictions are in force. It is 0 if there are none.
	ABI int
	// Reason is the reason if there are no restrictions.
	Reason string

	Read, Write, Create, Remove, Execute []string

	// Network describes which connections are possible.
	Network string
}

// maxPaths is the maximum number of paths that String shows for each right.
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

// First versions of the Landlock ABI that can restrict links between directories, TCP, signals and UDP.
const (
	referABI  = 2
	tcpABI    = 4
	signalABI = 6
	udpABI    = 10
)

// printable quotes text that has control characters or is not valid UTF-8.
func printable(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	return strconv.Quote(s)
}
