package resources

import (
	"bytes"
	"errors"
	"strings"
)

const (
	executableKey    = "CFBundleExecutable"
	oldExecutableKey = "NSExecutable" // if there is no executableKey
	widgetKey        = "MainHTML"     // a file that Security.framework takes instead of an executable
)

// maxName bounds the text of an executable's name in bytes: a file name has up to 255 characters, and a reference to a
// character takes more than one byte. Longer ones are not read.
const maxName = 4096

// Executable returns the name of the main executable that an Info.plist gives, or an empty string.
func Executable(infoPlist []byte) string {
	name, _ := MainExecutable(infoPlist)
	return name
}

// MainExecutable returns the name of the main executable that an Info.plist gives, or an empty string. clear is false if
// CFBundle may find another one in it.
//
// Of all values, only the name is decoded. The rest is only read through, so that it takes no memory.
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

// add records a key. text returns its value as a string, or nil if it is none.
func (n *names) add(key string, text func() (*string, error)) error {
	switch {
	case key == executableKey:
		name, err := text()
		if err != nil {
			return err
		}
		if n.plain && (name == nil || n.name == nil || *name != *n.name) {
			return errors.New("it names two executables")
		}
		n.name, n.plain = name, true
	case key == oldExecutableKey:
		n.old = true
	default:
		n.others = true
	}
	return nil
}

func isExecutableKey(key string) bool {
	key, _, _ = strings.Cut(key, "-")
	key, _, _ = strings.Cut(key, "~")
	return key == executableKey || key == oldExecutableKey || key == widgetKey
}

var (
	errNoDictionary = errors.New("not a dictionary")
	errLongName     = errors.New("the name of the executable is too long")
)

func (n *names) readXML(infoPlist []byte) error {
	text, err := infoText(infoPlist)
	if err != nil {
		return err
	}
	x := &infoXML{text: text}
	element, empty, inPlist, err := x.root()
	if err != nil || element != "dict" {
		return errNoDictionary
	}
	for !empty {
		key, ok, err := x.key()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if err := n.readValue(x, key); err != nil {
			return err
		}
	}
	return x.end(inPlist)
}

// readValue reads the value of a key.
func (n *names) readValue(x *infoXML, key []byte) error {
	element, empty, end, err := x.open(false)
	if err != nil {
		return err
	}
	if end {
		return x.problem("a key without a value")
	}
	from := x.at
	if err := x.value(element, empty); err != nil {
		return err
	}
	// The first character of an executableKey may be a reference, too.
	if len(key) < len(widgetKey) || bytes.IndexByte([]byte("CNM&<"), key[0]) < 0 {
		return nil
	}
	if key := plainText(key); isExecutableKey(key) {
		return n.add(key, func() (*string, error) {
			name := ""
			switch raw := x.text[from:x.at]; {
			case element != "string":
				return nil, nil
			case len(raw) > maxName:
				return nil, errLongName
			case !empty:
				name = plainText(raw[:bytes.LastIndexByte(raw, '<')])
			}
			return &name, nil
		})
	}
	return nil
}

func (n *names) readBinary(infoPlist []byte) error {
	c := &binaryCheck{data: infoPlist, anyKeys: true}
	if err := c.check(); err != nil {
		return err
	}
	kind, size, at, err := c.object(c.top)
	if err != nil || kind != 0xd {
		return errNoDictionary
	}
	for i := range size {
		key, _, err := c.string(at, i)
		if err != nil {
			return err
		}
		if !isExecutableKey(key) {
			continue
		}
		err = n.add(key, func() (*string, error) {
			name, ok, err := c.string(at, size+i)
			switch {
			case err != nil || !ok:
				return nil, err
			case name == tooLong:
				return nil, errLongName
			}
			return &name, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// tooLong stands for a string that is not decoded. It is no name of a file.
const tooLong = "/"

// string returns the string to which a reference refers, of those at an offset. ok is false if that is none.
func (c *binaryCheck) string(at, reference uint64) (s string, ok bool, err error) {
	index, _ := c.number(at+reference*c.uint(c.refSize), c.refSize)
	kind, n, from, err := c.object(index)
	switch {
	case err != nil || kind != 0x5 && kind != 0x6:
		return "", false, err
	case n > maxName:
		return tooLong, true, nil
	}
	s, ok = c.text(kind, n, from)
	return s, ok, nil
}
