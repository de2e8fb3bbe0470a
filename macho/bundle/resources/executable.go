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

// executables returns the values of keys that name an executable, including keys for one platform or product.
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
			if isExecutableKey(key) {
				names[key] = value
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
		w.lax = !isExecutableKey(key)
		if err := w.skip(start); err != nil || !isExecutableKey(key) {
			return err
		}
		raw := infoPlist[from:w.InputOffset()]
		if _, twice := names[key]; twice || len(raw) > maxValue {
			return errors.New("not a name")
		}
		names[key], err = decode(raw)
		return err
	})
	if err == nil {
		err = w.end()
	}
	return names, err
}

func isExecutableKey(key string) bool {
	key, _, _ = strings.Cut(key, "-")
	key, _, _ = strings.Cut(key, "~")
	return key == executableKey || key == oldExecutableKey || key == widgetKey
}
