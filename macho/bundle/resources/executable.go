package resources

import (
	"bytes"
	"encoding/xml"
	"errors"
	"strings"
)

const executableKey = "CFBundleExecutable"

// Executable returns the name of the main executable that an Info.plist gives, or an empty string.
func Executable(infoPlist []byte) string {
	name, _ := MainExecutable(infoPlist)
	return name
}

// MainExecutable returns the name of the main executable that an Info.plist gives, or an empty string. clear is false if
// CFBundle may find another one in it.
func MainExecutable(infoPlist []byte) (name string, clear bool) {
	// Core Foundation skips a byte order mark.
	if text := bytes.TrimPrefix(infoPlist, []byte("\ufeff")); bytes.HasPrefix(text, []byte("<")) {
		infoPlist = text
	}
	names, err := executables(infoPlist)
	switch {
	case err != nil:
		// Without a dictionary there is no name. Apple reads some of what is an error here, and lists as text, too.
		return "", !bytes.HasPrefix(infoPlist, []byte("bplist")) && !bytes.ContainsAny(infoPlist, "<{=\x00")
	case len(names) == 0:
		return "", true
	}
	name, ok := names[executableKey].(string)
	if !ok {
		return "", false
	}
	return strings.Clone(name), len(names) == 1
}

// executables returns the values that name an executable, or do so on one platform or of one product only.
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
	w := &xmlWalk{data: infoPlist, Decoder: xml.NewDecoder(bytes.NewReader(infoPlist))}
	if start, err := w.root(); err != nil || start != "dict" {
		return nil, errors.New("not a dictionary")
	}
	err := w.dict(func(key string) error {
		start, err := w.start()
		if err != nil {
			return err
		}
		from := w.at
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
	return key == executableKey || key == "NSExecutable"
}
