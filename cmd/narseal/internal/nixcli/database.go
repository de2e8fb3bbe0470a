package nixcli

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"narseal/nar/storepath"
)

// A Path describes a valid path as registered in Nix's database.
type Path struct {
	Base    string // HASH-NAME
	NarHash [sha256.Size]byte
	NarSize int64
	// Not set in the results of All:
	Deriver    string   // a base name, or empty
	References []string // base names
}

// maxReferences is the maximum number of references of a path.
const maxReferences = 1 << 20

// dump reads the registration of paths, or of all paths if none is named, and calls each for every path. Nix prints,
// one per line, the path, its hash and size, the deriver, the number of references and the references
// (makeValidityRegistration in src/libstore/store-api.cc).
func (s *Store) dump(ctx context.Context, each func(*Path) error, paths ...string) error {
	return s.read(ctx, func(r io.Reader) error {
		d := &registration{s: s, sc: lines(r)}
		for {
			p, err := d.next()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return fmt.Errorf("line %d: %w", d.line, err)
			}
			if err := each(p); err != nil {
				return err
			}
		}
	}, append([]string{"--dump-db"}, paths...)...)
}

type registration struct {
	s    *Store
	sc   *bufio.Scanner
	line int
}

func (d *registration) text() (string, error) {
	d.line++
	if d.sc.Scan() {
		return d.sc.Text(), nil
	}
	if err := d.sc.Err(); err != nil {
		return "", err
	}
	return "", io.ErrUnexpectedEOF
}

func (d *registration) base() (string, error) {
	text, err := d.text()
	if err != nil {
		return "", err
	}
	return storepath.BaseIn(d.s.Dir, text)
}

func (d *registration) number(limit int64) (int64, error) {
	text, err := d.text()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > limit {
		return 0, fmt.Errorf("%q: want a number from 0 to %d", text, limit)
	}
	return n, nil
}

func (d *registration) next() (*Path, error) {
	text, err := d.text()
	if err != nil {
		if err == io.ErrUnexpectedEOF {
			err = io.EOF
		}
		return nil, err
	}
	p := &Path{}
	if p.Base, err = storepath.BaseIn(d.s.Dir, text); err != nil {
		return nil, err
	}
	p.Base = strings.Clone(p.Base) // so that memory does not hold the store directory for every path
	if text, err = d.text(); err != nil {
		return nil, err
	}
	sum, err := hex.DecodeString(text)
	if err != nil || len(sum) != sha256.Size {
		return nil, fmt.Errorf("%q: want a SHA-256 in hex", text)
	}
	p.NarHash = [sha256.Size]byte(sum)
	if p.NarSize, err = d.number(1 << 62); err != nil {
		return nil, err
	}
	if text, err = d.text(); err != nil {
		return nil, err
	}
	if text != "" {
		if p.Deriver, err = storepath.BaseIn(d.s.Dir, text); err != nil {
			return nil, err
		}
	}
	n, err := d.number(maxReferences)
	if err != nil {
		return nil, err
	}
	for range n {
		base, err := d.base()
		if err != nil {
			return nil, err
		}
		p.References = append(p.References, base)
	}
	return p, nil
}

// Provenance describes why Nix trusts a path, besides that it is valid.
type Provenance struct {
	ContentAddressed bool
	Signatures       []string
}

// Provenance asks the program nix. Its commands are experimental, so an error only means that the provenance is
// unknown.
func (s *Store) Provenance(ctx context.Context, base string) (p Provenance, err error) {
	program := filepath.Join(filepath.Dir(s.program), "nix")
	if !exists(program) {
		if program, err = exec.LookPath("nix"); err != nil {
			program = s.program
		}
	}
	cmd := exec.CommandContext(ctx, program, "--extra-experimental-features", "nix-command", "path-info", "--json", s.Path(base))
	cmd.Args[0] = "nix"
	cmd.Env = s.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.Output()
	if err != nil {
		return p, err
	}
	return parseProvenance(out)
}

// parseProvenance parses the description of one path: a list in Nix up to 2.18, a map in later versions.
func parseProvenance(out []byte) (p Provenance, err error) {
	type info struct {
		CA         json.RawMessage
		Signatures []json.RawMessage
	}
	var one *info
	var list []*info
	var byPath map[string]json.RawMessage
	if json.Unmarshal(out, &list) == nil && len(list) == 1 {
		one = list[0]
	} else if err := json.Unmarshal(out, &byPath); err != nil {
		return p, err
	} else {
		if nested, ok := byPath["info"]; ok { // newer versions nest it beside a version
			byPath = nil
			if err := json.Unmarshal(nested, &byPath); err != nil {
				return p, err
			}
		}
		for _, raw := range byPath {
			if err := json.Unmarshal(raw, &one); err != nil {
				return p, err
			}
		}
	}
	if one == nil {
		return p, errors.New("it is not listed")
	}
	p.ContentAddressed = len(one.CA) > 0 && string(one.CA) != "null" && string(one.CA) != `""`
	for _, sig := range one.Signatures {
		p.Signatures = append(p.Signatures, strings.Trim(string(sig), `"`))
	}
	return p, nil
}
