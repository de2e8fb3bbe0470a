package inplace

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/atomicfile"
)

// maxAttribute is the maximum size of an extended attribute that is copied, in bytes: XATTR_SIZE_MAX of Linux. On
// macOS, attributes such as resource forks may be larger; these are lost.
const maxAttribute = 64 << 10

// copyAttributes copies extended attributes between open files, and returns the names of those that it could not copy.
// An access control list that it cannot copy is an error: without the list, the group would get rights that only the
// list limits.
func copyAttributes(to, from int) (lost []string, err error) {
	names, err := attributeNames(from)
	if err == unix.ENOTSUP || err == unix.ENOSYS {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the extended attributes: %w", err)
	}
	value := make([]byte, maxAttribute)
	for _, name := range names {
		n, err := unix.Fgetxattr(from, name, value)
		if err == nil {
			err = unix.Fsetxattr(to, name, value[:n], 0)
		}
		if err != nil && name == atomicfile.AccessList {
			return nil, fmt.Errorf("keep the access control list: %w", err)
		}
		if err != nil {
			lost = append(lost, name)
		}
	}
	return lost, nil
}

func attributeNames(fd int) ([]string, error) {
	for {
		n, err := unix.Flistxattr(fd, nil)
		if n == 0 || err != nil {
			return nil, err
		}
		buf := make([]byte, n)
		n, err = unix.Flistxattr(fd, buf)
		if err == unix.ERANGE {
			continue // the list has grown
		}
		if err != nil {
			return nil, err
		}
		return strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 }), nil
	}
}
