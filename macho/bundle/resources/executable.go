package resources

import (
	"bytes"
	"errors"
	"strings"
)

const (
	executableKey    = "CFBundleExecutable"
	oldExecutableKey = "NSExecutable" // used if there is no executableKey
	widgetKey        = "MainHTML"     // a file that Security.framework uses instead of an executable
)

// Executable returns the name of the main executable in an Info.plist, or "".
func Executable(infoPlist []byte) string {
	name, _ := MainExecutable(infoPlist)
	return name
}

// MainExecutable returns the name of the main executable in an Info.plist, or "". clear is false if CFBundle may find
// another name in it.
func MainExecutable(infoPlist []byte) (name string, clear bool) {
	names, err := executables(infoPlist)
	switch {
	case err != nil:
		// Without a dictionary there is no name. But Apple's parsers accept some files that are an error here, and
		// lists in text form.
		return "", !bytes.HasPrefix(infoPlist, []byte("bplist")) && !bytes.ContainsAny(infoPlist, "<{=;\x00")
	case len(names) == 0:
		return "", true
	}
	name, ok := names[executableKey].(string)
	if !ok {
		return "", false
	}
	delete(names, oldExecutableKey)
	return strings.Clone(name), len(names) == 1
}

// maxName is how much of a list gives the name of an executable, in bytes. A file name has 255 characters at most.
const maxName = 4 << 10

// executables returns the values of keys that name an executable. The value of a key for one platform or product is nil:
// such a key makes the name unclear, so that no more keys are read.
func executables(infoPlist []byte) (map[string]any, error) {
	names := map[string]any{}
	if bytes.HasPrefix(infoPlist, []byte("bplist")) {
		if err := checkBinary(infoPlist); err != nil {
			return nil, err
		}
		top, err := decode(infoPlist)
		dict, ok := top.(map[string]any)
		if err != nil || !ok {
			return nil, errors.New("not a dictionary")
		}
		for key, value := range dict {
			if is, plain := isExecutableKey(key); plain {
				names[key] = value
			} else if is {
				names[key] = nil
			}
		}
		return names, nil
	}
	infoPlist, w := newInfoWalk(infoPlist)
	if start, err := w.root(); err != nil || start != "dict" {
		return nil, errors.New("not a dictionary")
	}
	err := w.dict(func(key string) error {
		start, err := w.start()
		if err != nil {
			return err
		}
		from := w.at
		is, plain := isExecutableKey(key)
		w.lax = !is
		if err := w.skip(start); err != nil || !is {
			return err
		}
		raw := infoPlist[from:w.InputOffset()]
		_, twice := names[key]
		switch {
		case twice, len(raw) > maxName:
			return errors.New("not a name")
		case !plain || start != "string":
			names[key] = nil
			if key == oldExecutableKey {
				return nil // it may not count
			}
			return errUnclear
		}
		names[key], err = decode(raw)
		return err
	})
	if err == errUnclear {
		return names, nil
	}
	if err == nil {
		err = w.end()
	}
	return names, err
}

// errUnclear ends the reading of a list in which the executable has several names, or none that is a string.
var errUnclear = errors.New("unclear")

// isExecutableKey reports whether a key names an executable, and whether it does so on every platform, for every product.
func isExecutableKey(key string) (is, plain bool) {
	base, _, _ := strings.Cut(key, "-")
	base, _, _ = strings.Cut(base, "~")
	is = base == executableKey || base == oldExecutableKey || base == widgetKey
	return is, is && base == key
}
