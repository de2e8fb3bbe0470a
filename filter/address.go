package filter

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"narseal/nar"
)

// AddressConfig says how an archive is given a store path that is made of its
// contents, as by "nix store make-content-addressed".
type AddressConfig struct {
	// StoreDir is the folder of all store paths.
	StoreDir string
	// Self is the base name HASH-NAME of the store path that the archive has.
	Self string
	// References are base names. Self belongs among them if the archive
	// refers to itself, and is added if it does.
	References []string
	Modulo     Modulo
	// Config is that of the run that puts the new hash in. Its Rules, Repair,
	// Inspect and OnCMS are not used: with ModuloSignatures every stale
	// signature is repaired, with the others those that the run touched, and
	// none is given up.
	Config Config
}

// An Address is the outcome of addressing an archive.
type Address struct {
	Path       string // the store path
	CA         nar.ContentAddress
	NarHash    [sha256.Size]byte
	NarSize    int64
	References []string // store paths in rising order, Path among them if it refers to itself
	// Holds is false if the archive that was written does not have this
	// address itself, because signatures were resealed that depend on the
	// path. It is always true with ModuloSignatures.
	Holds  bool
	Result Result
}

// Run gives an archive of size bytes its address, and writes it to w with the
// hash of Self replaced. It reads the archive several times, which must not
// change meanwhile. What was written is not a complete archive unless the
// error is nil.
//
// Replaced is what the Modulo leaves out: each occurrence of the hash of Self
// in one byte a character, with ModuloSignatures in every encoding. An entry
// whose new name belongs elsewhere in its directory is a *RenameError, as the
// order of the entries would depend on the address.
func (c *AddressConfig) Run(w io.Writer, in io.ReaderAt, size int64) (*Address, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	self, name := c.Self[:hashLen], c.Self[hashLen+1:]
	before, err := c.hash(self, in, size, func(m io.Writer) error {
		_, err := io.Copy(m, io.NewSectionReader(in, 0, size))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("address: %w", err)
	}
	a := &Address{CA: before.address()}
	refs, isSelf := c.references()
	isSelf = isSelf || before.found > 0
	a.Path = a.CA.StorePath(c.StoreDir, name, refs, isSelf)
	if isSelf {
		refs = append(refs, a.Path)
		slices.Sort(refs)
	}
	a.References = refs

	last := &tail{w: w}
	narHash := sha256.New()
	own := a.Path[len(c.StoreDir)+1:][:hashLen]
	cfg, err := c.rewrite(self, own, in, size)
	if err != nil {
		return nil, err
	}
	after, err := c.hash(own, in, size, func(m io.Writer) error {
		out := nar.NewWriter(io.MultiWriter(narHash, m, last))
		a.Result, err = cfg.Run(out, nar.NewReader(newSeekReader(in, size)))
		a.NarSize = out.Offset()
		return err
	})
	if err != nil {
		return nil, err
	}
	a.Holds = after.address() == a.CA
	if !a.Holds && (c.Modulo == ModuloSignatures || a.Result.Repaired == 0) {
		return nil, errors.New("address: the rewritten archive does not have the address of the first one: it changed while it was read")
	}
	a.NarHash = [sha256.Size]byte(narHash.Sum(nil))
	return a, last.release()
}

// Check tells what of c cannot be, whatever the archive holds.
func (c *AddressConfig) Check() error {
	if err := CheckStoreDir(c.StoreDir); err != nil {
		return fmt.Errorf("address: %w", err)
	}
	for _, base := range append([]string{c.Self}, c.References...) {
		err := checkBaseName(base)
		if err == nil && len(base) == hashLen {
			err = errors.New("want a base name HASH-NAME, got only a hash part")
		}
		if err != nil {
			return fmt.Errorf("address: %q: %w", base, err)
		}
	}
	return nil
}

// references returns the store paths of the others, and whether Self is one.
func (c *AddressConfig) references() (others []string, self bool) {
	others = []string{}
	for _, base := range c.References {
		if base == c.Self {
			self = true
		} else {
			others = append(others, c.StoreDir+"/"+base)
		}
	}
	slices.Sort(others)
	return slices.Compact(others), self
}

// hash computes the address of the archive that write writes, which has the
// hash part own and the sealed ranges of in.
func (c *AddressConfig) hash(own string, in io.ReaderAt, size int64, write func(io.Writer) error) (*moduloHash, error) {
	m, err := newModuloHash(c.Modulo, own)
	if err != nil {
		return nil, err
	}
	if c.Modulo == ModuloSignatures {
		m.sealed = newSealedRanges(in, size)
		defer m.sealed.stop()
	}
	if err := write(m); err != nil {
		return nil, err
	}
	return m, nil
}

// rewrite is the Config that puts the hash part own in the place of self.
func (c *AddressConfig) rewrite(self, own string, in io.ReaderAt, size int64) (*Config, error) {
	cfg := c.Config
	cfg.Rules, cfg.OnCMS, cfg.Inspect, cfg.Repair = nil, 0, false, RepairTouched
	if c.Modulo == ModuloSignatures {
		cfg.Repair = RepairAll
	}
	if own == self {
		return &cfg, nil // it has this address already
	}
	var err error
	if cfg.Rules, err = Compile([]Rule{{self, own}}, c.Modulo.encodings()); err != nil {
		return nil, err
	}
	order := NewOrder(cfg.Rules)
	if err := order.Add(nar.NewReader(newSeekReader(in, size))); err != nil {
		return nil, err
	}
	if order.Moves() {
		return nil, fmt.Errorf("address: the entries of the directory at offset %d would change places, and with them the address",
			order.lists[0].start)
	}
	return &cfg, nil
}

// A tail passes on what is written to it, but for the last bytes, so that
// what was passed on is no complete archive until release.
type tail struct {
	w    io.Writer
	held []byte
}

// tailSize is that of the ")" that ends an archive.
const tailSize = 16

func (t *tail) Write(p []byte) (int, error) {
	keep := min(tailSize, len(p))
	if n := len(t.held) + keep - tailSize; n > 0 {
		if _, err := t.w.Write(t.held[:n]); err != nil {
			return 0, err
		}
		t.held = t.held[:copy(t.held, t.held[n:])]
	}
	if len(p) > keep {
		if n, err := t.w.Write(p[:len(p)-keep]); err != nil {
			return n, err
		}
	}
	t.held = append(t.held, p[len(p)-keep:]...)
	return len(p), nil
}

func (t *tail) release() error {
	_, err := t.w.Write(t.held)
	return err
}
