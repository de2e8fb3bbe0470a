package httpstore

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A machine is an entry of a netrc file. The default entry has no host.
type machine struct{ host, login, password string }

const maxNetrc = 1 << 20

// parseNetrc parses a netrc file like curl: words separated by white space, quoted words with the escapes \" and \\,
// and comments that begin with #. Errors contain line numbers, but nothing else from the file.
func parseNetrc(r io.Reader) ([]machine, error) {
	var (
		list  []machine
		open  bool   // there is a current entry
		key   string // a key that needs a value
		macro bool   // in a macro, which ends with an empty line
	)
	size := 0
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		if size += len(lines.Bytes()) + 1; size > maxNetrc {
			return nil, errors.New("too long: more than 1 MiB")
		}
		if macro {
			macro = strings.TrimSpace(lines.Text()) != ""
			continue
		}
		words, err := splitLine(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		for _, w := range words {
			switch {
			case key == "machine":
				list, open = append(list, machine{host: w}), true
			case key == "login":
				list[len(list)-1].login = w
			case key == "password":
				list[len(list)-1].password = w
			case key == "macdef":
				macro = true
			case key == "" && w == "default":
				list, open = append(list, machine{}), true
				continue
			case key == "" && (w == "machine" || w == "macdef"),
				key == "" && open && (w == "login" || w == "password" || w == "account"):
				key = w
				continue
			case key == "":
				return nil, fmt.Errorf("line %d: want machine, default, login, password, account or macdef", n)
			}
			key = ""
		}
	}
	if err := lines.Err(); err != nil {
		return nil, errors.New("a line is too long")
	}
	if key != "" {
		return nil, fmt.Errorf("%s has no value", key)
	}
	return list, nil
}

// splitLine splits a line into words.
func splitLine(line string) ([]string, error) {
	var words []string
	for {
		line = strings.TrimLeft(line, " \t\r")
		if line == "" || line[0] == '#' {
			return words, nil
		}
		if line[0] != '"' {
			end := strings.IndexAny(line, " \t\r")
			if end < 0 {
				end = len(line)
			}
			words, line = append(words, line[:end]), line[end:]
			continue
		}
		var w strings.Builder
		i := 1
		for ; i < len(line) && line[i] != '"'; i++ {
			if line[i] == '\\' && i+1 < len(line) {
				i++
			}
			w.WriteByte(line[i])
		}
		if i == len(line) {
			return nil, errors.New("a quote does not end")
		}
		words, line = append(words, w.String()), line[i+1:]
	}
}
