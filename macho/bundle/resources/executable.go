package resources

import (
	"bytes"
	"errors"

	"narseal/macho/internal/infoplist"
)

const (
	executableKey    = "CFBundleExecutable"
	oldExecutableKey = "NSExecutable" // if there is no executableKey
	widgetKey        = "MainHTML"     // a file that Security.framework takes instead of an executable
)

// maxName bounds the text of an executable's name in bytes: a file name has up to 255 characters, and a reference to a
// character takes more than one byte. Longer ones are not read.
const maxName = 4096

// MainExecutable returns the name of the main executable that an Info.plist gives, or an empty string. clear is false if
// CFBundle may find another one in it.
//
// It decodes only the name. The other values take no memory.
func MainExecutable(infoPlist []byte) (name string, clear bool) {
	var n names
	read := n.readXML
	if bytes.HasPrefix(infoPlist, []byte("bplist")) {
		read = n.readBinary
	}
	switch err := read(infoPlist); {
	case err != nil:
		// Without a dictionary there is no name. Apple reads some of what is an error here, and lists as text, too.
		return "", !bytes.HasPrefix(infoPlist, []byte("bplist")) && !bytes.ContainsAny(infoPlist, "<{=;\x00")
	case n.name == nil:
		return "", !n.plain && !n.old && !n.others
	}
	return *n.name, !n.others
}

// names is what an Info.plist says about its main executable.
type names struct {
	name   *string // the text of executableKey
	plain  bool    // it has executableKey
	old    bool    // it has oldExecutableKey
	others bool    // it has a key that counts on one platform or for one product only, or that names a widget
}

// add records a key. text returns its value, if that is a string.
func (n *names) add(key string, text func() (s string, is bool, err error)) error {
	if key != executableKey && key != oldExecutableKey {
		n.others = true
		return nil
	}
	name, is, err := text()
	switch {
	case err != nil:
		return err
	case key == oldExecutableKey:
		n.old = true
		return nil
	case n.plain:
		return errors.New("it names two executables")
	}
	if n.plain = true; is {
		n.name = &name
	}
	return nil
}

func isExecutableKey(key []byte) bool {
	key, _, _ = bytes.Cut(key, []byte("-"))
	key, _, _ = bytes.Cut(key, []byte("~"))
	return string(key) == executableKey || string(key) == oldExecutableKey || string(key) == widgetKey
}

func (n *names) readXML(infoPlist []byte) error {
	return infoplist.Dictionary(infoPlist, func(key []byte, text func(int) (string, bool, error)) error {
		if !isExecutableKey(key) {
			return nil
		}
		return n.add(string(key), func() (string, bool, error) { return text(maxName) })
	})
}

func (n *names) readBinary(infoPlist []byte) error {
	c := &binaryCheck{data: infoPlist, infoPlist: true}
	if err := c.check(); err != nil {
		return err
	}
	kind, size, at, err := c.object(c.top)
	if err != nil || kind != 0xd {
		return infoplist.ErrNoDictionary
	}
	for i := range size {
		key, _, err := c.string(at, i)
		if errors.Is(err, infoplist.ErrLong) || err == nil && !isExecutableKey([]byte(key)) {
			continue
		}
		if err == nil {
			err = n.add(key, func() (string, bool, error) { return c.string(at, size+i) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// string returns the string to which a reference refers, of those at an offset. ok is false if that is none.
func (c *binaryCheck) string(at, reference uint64) (s string, ok bool, err error) {
	index, _ := c.number(at+reference*c.uint(c.refSize), c.refSize)
	kind, n, from, err := c.object(index)
	switch {
	case err != nil || kind != 0x5 && kind != 0x6:
		return "", false, err
	case n > maxName:
		return "", true, infoplist.ErrLong
	}
	s, ok = c.text(kind, n, from)
	return s, ok, nil
}
