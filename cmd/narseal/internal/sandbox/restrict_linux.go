package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Restrict permanently restricts all threads of the process to the policy, as far as the kernel can. If the kernel has
// no Landlock, Restrict returns a status with the reason, and no error. An error means that the kernel has Landlock but
// did not enforce the policy.
func Restrict(p Policy) (Status, error) {
	abi, reason := kernelABI()
	return restrict(p, abi, reason)
}

func restrict(p Policy, abi int, reason string) (Status, error) {
	if abi == 0 {
		return Status{Reason: reason}, nil
	}
	if len(p.Edit) > 0 && abi < referABI {
		return Status{Reason: "Landlock ABI 1 does not allow hard links between directories, which the command makes"}, nil
	}
	// Package time reads the time zone when it is first needed, and silently uses UTC if it cannot.
	_ = time.Local.String()

	config := configs[min(abi, len(configs))-1]
	if p.Network {
		config.HandledAccessNet &= bindTCP
	}
	g := grantsOf(p)
	var rules []landlock.Rule
	for _, path := range g.paths {
		// A file that was removed in the meantime needs no rights.
		if r := g.rights[path] & config.HandledAccessFS; r != 0 && !isFree(path) {
			rules = append(rules, landlock.PathAccess(r, path).IgnoreIfMissing())
		}
	}
	if err := config.Restrict(rules...); err != nil {
		return Status{}, fmt.Errorf("sandbox: %w", err)
	}
	return statusOf(p, g, min(abi, len(configs))), nil
}

// isFree reports whether Landlock restricts no access to a file, since the file is in no directory: a pipe that is called
// /dev/stdin, for example, or /dev/fd/63 as the shells' <(…) is. The kernel refuses rules for such files.
func isFree(path string) bool {
	rules, err := ll.LandlockCreateRuleset(&ll.RulesetAttr{HandledAccessFS: uint64(readFile)}, 0)
	if err != nil {
		return false
	}
	defer unix.Close(rules)
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	err = ll.LandlockAddPathBeneathRule(rules, &ll.PathBeneathAttr{AllowedAccess: uint64(readFile), ParentFd: fd}, 0)
	return err == unix.EBADFD
}

// configs holds everything that each version of the ABI can restrict, from version 1 on.
var configs = []landlock.Config{landlock.V1, landlock.V2, landlock.V3, landlock.V4, landlock.V5, landlock.V6,
	landlock.V7, landlock.V8, landlock.V9, landlock.V10, landlock.V11}

// kernelABI returns the version of the Landlock ABI, or 0 and the reason why there is none.
func kernelABI() (abi int, reason string) {
	n, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	switch errno {
	case 0:
		abi = int(n)
	case unix.ENOSYS:
		return 0, "this kernel has no Landlock; Linux has it from 5.13 on"
	case unix.EOPNOTSUPP:
		return 0, "Landlock is disabled in this kernel"
	default: // EPERM under the seccomp filters of some containers
		return 0, fmt.Sprintf("Landlock cannot be used here: %v", errno)
	}
	if abi < signalABI {
		return abi, ""
	}
	// Some kernels with ABI 6 also deny signals to other threads of the process (erratum 2). There, restrict only what
	// ABI 5 can restrict, as go-landlock does.
	const erratumSignals = 1 << 1
	fixed, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_ERRATA)
	if errno != 0 || fixed&erratumSignals == 0 {
		return signalABI - 1, ""
	}
	return abi, ""
}

const bindTCP = landlock.AccessNetSet(unix.LANDLOCK_ACCESS_NET_BIND_TCP)

type access = landlock.AccessFSSet

// Rights to files, and to all files below a directory.
const (
	readFile  access = unix.LANDLOCK_ACCESS_FS_READ_FILE
	readDir   access = unix.LANDLOCK_ACCESS_FS_READ_DIR
	writeFile access = unix.LANDLOCK_ACCESS_FS_WRITE_FILE
	execute   access = unix.LANDLOCK_ACCESS_FS_EXECUTE
	socket    access = unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX

	// finish are the rights to give a file its name: by linkat of an unnamed file, which counts as being in the
	// directory where it was opened, or by renaming a hidden file in the same directory, which removes the old file.
	finish access = unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE
	// temporary also includes the rights to open an unnamed file (O_TMPFILE) for reading and writing.
	temporary = finish | readFile | writeFile | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	create    = temporary | readDir
	edit      = create | unix.LANDLOCK_ACCESS_FS_REFER
	own       = create | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR

	// ofFiles are the rights that apply to files other than directories.
	ofFiles = readFile | writeFile | execute | socket | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// grants holds rights by path. All paths existed when they were added.
type grants struct {
	paths  []string // in the order of the policy
	rights map[string]access
}

func grantsOf(p Policy) *grants {
	g := &grants{rights: map[string]access{}}
	each(p.Read, g.tree(readFile|readDir))
	each(p.Finish, g.output(finish, 0))
	each(p.Create, g.output(create, writeFile))
	each(p.Append, g.appendTo)
	each(p.Edit, g.edit)
	each(p.Own, g.own)
	each([]string{p.Temp}, g.tree(temporary))
	each(p.Execute, g.tree(execute|readFile|readDir))
	if len(p.Execute) > 0 {
		g.add(os.DevNull, readFile|writeFile) // package os/exec opens it as stdin
	}
	each(p.Sockets, g.tree(socket))
	if p.Network {
		each(networkFiles(), g.tree(readFile|readDir))
		each(networkSockets, g.tree(socket))
	}
	return g
}

// each calls f for each path except "" and "-".
func each(paths []string, f func(path string)) {
	for _, p := range paths {
		if p != "" && p != "-" {
			f(p)
		}
	}
}

// add grants rights on a path. It drops rights that do not apply to that type of file.
func (g *grants) add(path string, rights access) {
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	if !info.IsDir() {
		rights &= ofFiles
	}
	if rights == 0 {
		return
	}
	if g.rights[path] == 0 {
		g.paths = append(g.paths, path)
	}
	g.rights[path] |= rights
}

func (g *grants) tree(rights access) func(string) {
	return func(path string) { g.add(path, rights) }
}

// output returns a function that grants the rights for an output: replace on its directory, or open on the output
// itself if it exists and is not a regular file.
func (g *grants) output(replace, open access) func(string) {
	return func(path string) {
		info, err := os.Stat(path)
		if err == nil && !info.Mode().IsRegular() {
			g.add(path, open&ofFiles)
			return
		}
		g.add(parent(path), replace)
	}
}

func (g *grants) appendTo(path string) {
	if _, err := os.Stat(path); err == nil {
		g.add(path, writeFile)
		return
	}
	g.add(parent(path), writeFile|unix.LANDLOCK_ACCESS_FS_MAKE_REG)
}

func (g *grants) edit(path string) {
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		path = parent(path)
	}
	g.add(path, edit)
}

func (g *grants) own(path string) {
	for {
		_, err := os.Stat(path)
		up := filepath.Dir(path)
		if !errors.Is(err, fs.ErrNotExist) || up == path {
			break
		}
		path = up
	}
	g.add(path, own)
}

// parent returns the directory of a file, after following symlinks.
func parent(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return filepath.Dir(path)
}

// networkFiles returns the files that packages net and crypto/x509 read, and those that glibc reads in a program built
// with cgo.
func networkFiles() []string {
	files := []string{
		"/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/services", "/etc/protocols",
		"/etc/host.conf", "/etc/gai.conf", "/etc/mdns.allow",
		"/etc/ssl/certs", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem", "/etc/pki/tls/certs", "/etc/pki/tls/cacert.pem",
		"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", // symlinks to other directories
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
		os.Getenv("SSL_CERT_FILE"),
	}
	// resolv.conf is updated by replacing it, so its directory must be readable.
	if dir := parent("/etc/resolv.conf"); dir != "/etc" {
		files = append(files, dir)
	}
	return append(files, strings.Split(os.Getenv("SSL_CERT_DIR"), ":")...)
}

// networkSockets are the directories of sockets that glibc uses to look up names.
var networkSockets = []string{"/run/systemd/resolve", "/run/nscd"}

func statusOf(p Policy, g *grants, abi int) Status {
	s := Status{ABI: abi, Network: "unrestricted"}
	having := func(rights access) (paths []string) {
		for _, path := range g.paths {
			if g.rights[path]&rights != 0 {
				paths = append(paths, path)
			}
		}
		return paths
	}
	s.Read, s.Write, s.Execute = having(readFile|readDir), having(writeFile), having(execute)
	s.Create, s.Remove = having(unix.LANDLOCK_ACCESS_FS_MAKE_REG), having(unix.LANDLOCK_ACCESS_FS_REMOVE_FILE)
	switch {
	case abi < tcpABI:
	case p.Network:
		s.Network = "no TCP servers"
	case abi < udpABI:
		s.Network = "no TCP"
	default:
		s.Network = "no TCP, no UDP"
	}
	return s
}
