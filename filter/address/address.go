// Package address computes content-addressed store paths for archives, as "nix store make-content-addressed" does.
//
// If an archive contains its own store path, its hash does not cover the occurrences of that path. A Modulo says how
// this is done, and what else the hash does not cover: ModuloSignatures also leaves out code signatures, so that an
// archive has the same address before and after its signatures are repaired for the new path.
package address

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"narseal/filter"
	"narseal/filter/rules"
	"narseal/filter/spill"
	"narseal/nar"
	"narseal/nar/storepath"
)

// Config describes the archive that gets an address, and how the address is computed.
type Config struct {
	// StoreDir is the store directory, such as "/nix/store".
	StoreDir string
	// Self is the base name HASH-NAME of the archive's present store path.
	Self string
	// References are the base names of the store paths that the archive refers to. They include Self if the archive
	// refers to itself.
	References []string
	Modulo     Modulo

	// Spill, Jobs and Observer are for the filter run that replaces the hash. With ModuloSignatures, the run repairs
	// every stale signature, otherwise only those that it breaks. If it breaks a signature by a certificate, that is an
	// error.
	Spill    spill.Options
	Jobs     int // number of goroutines that hash; 0: GOMAXPROCS
	Observer filter.Observer
}

// An Address is the address of an archive, with the results of the filter run.
type Address struct {
	Path       string // the store path
	CA         nar.ContentAddress
	NarHash    [sha256.Size]byte
	NarSize    int64
	References []string // store paths in ascending order, including Path if the archive refers to itself
	// Matches is false if the written archive has another address than CA, because the address covers repaired
	// signatures that depend on the path. With ModuloSignatures, it is always true.
	Matches bool
	Result  filter.Result
}

// Run computes the address of an archive of size bytes, and writes the archive to w with the hash of Self replaced. It
// reads in several times; in must not change during the call. If there is an error, the output is not a complete
// archive.
//
// Run replaces every occurrence of the hash of Self that the Modulo leaves out: those with one byte per character, and,
// with ModuloSignatures, those in every encoding. If the name of an entry contains the hash, so that the entry would
// move in its directory, that is an error, because the order of the entries would depend on the address.
func (c *Config) Run(w io.Writer, in io.ReaderAt, size int64) (*Address, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if err := checkInput(in, size); err != nil {
		return nil, err
	}
	self, name := c.Self[:storepath.HashLen], c.Self[storepath.HashLen+1:]
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
	own := a.Path[len(c.StoreDir)+1:][:storepath.HashLen]
	cfg, err := c.rewrite(self, own)
	if err != nil {
		return nil, err
	}
	after, err := c.hash(own, in, size, func(m io.Writer) error {
		out := &counter{w: io.MultiWriter(narHash, m, last)}
		a.Result, err = cfg.RunAt(out, in, size, refuseMoves)
		a.NarSize = out.n
		return err
	})
	if err != nil {
		return nil, err
	}
	a.Matches = after.address() == a.CA
	if !a.Matches && (c.Modulo == ModuloSignatures || a.Result.Repaired == 0) {
		return nil, errors.New("address: the rewritten archive does not have the address of the first one: it changed while it was read")
	}
	a.NarHash = [sha256.Size]byte(narHash.Sum(nil))
	return a, last.release()
}

// Check returns an error if c is invalid for every archive.
func (c *Config) Check() error {
	if err := storepath.CheckDir(c.StoreDir); err != nil {
		return fmt.Errorf("address: %w", err)
	}
	for _, base := range append([]string{c.Self}, c.References...) {
		if err := storepath.CheckBaseName(base); err != nil {
			return fmt.Errorf("address: %q: %w", base, err)
		}
	}
	return nil
}

// references returns the store paths of all references except Self, and whether Self is one of them.
func (c *Config) references() (others []string, self bool) {
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

// hash computes the address of the archive that write writes. own is the archive's own hash part. Its signatures must
// be at the same offsets as those of in.
func (c *Config) hash(own string, in io.ReaderAt, size int64, write func(io.Writer) error) (*moduloHash, error) {
	m, err := newModuloHash(c.Modulo, own)
	if err != nil {
		return nil, err
	}
	if c.Modulo == ModuloSignatures {
		m.ranges = newSignatureRanges(in, size)
		defer m.ranges.stop()
	}
	if err := write(m); err != nil {
		return nil, err
	}
	return m, nil
}

// rewrite returns the filter.Config that replaces the hash part self with own.
func (c *Config) rewrite(self, own string) (*filter.Config, error) {
	cfg := &filter.Config{Spill: c.Spill, Observer: c.Observer}
	cfg.Signatures.Jobs = c.Jobs
	if c.Modulo == ModuloSignatures {
		cfg.Signatures.Repair = filter.RepairAll
	}
	if own == self {
		return cfg, nil // the archive already has this address
	}
	var err error
	cfg.Rules, err = rules.Compile([]rules.Rule{{From: self, To: own}}, c.Modulo.encodings())
	return cfg, err
}

// checkInput returns an error if in is an export stream.
func checkInput(in io.ReaderAt, size int64) error {
	head := make([]byte, min(size, 16))
	if n, err := in.ReadAt(head, 0); err != nil && err != io.EOF {
		return fmt.Errorf("address: %w", err)
	} else if nar.Sniff(head[:n]) == nar.FormatExport {
		return errors.New("address: got an export stream, want an archive")
	}
	return nil
}

// refuseMoves is the follow function for filter.Config.RunAt.
func refuseMoves(r io.Reader, moved int64) (io.Reader, error) {
	if moved >= 0 {
		return nil, fmt.Errorf("address: the entries of the directory at offset %d would change places, and with them the address", moved)
	}
	return r, nil
}

// A counter counts the bytes that are written to it.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// A tail passes on everything that is written to it except the last tailSize bytes, so that the output is not a
// complete archive before release.
type tail struct {
	w    io.Writer
	last []byte
}

// tailSize is the size of the ")" that ends an archive.
const tailSize = 16

func (t *tail) Write(p []byte) (int, error) {
	keep := min(tailSize, len(p))
	if n := len(t.last) + keep - tailSize; n > 0 {
		if _, err := t.w.Write(t.last[:n]); err != nil {
			return 0, err
		}
		t.last = t.last[:copy(t.last, t.last[n:])]
	}
	if len(p) > keep {
		if n, err := t.w.Write(p[:len(p)-keep]); err != nil {
			return n, err
		}
	}
	t.last = append(t.last, p[len(p)-keep:]...)
	return len(p), nil
}

func (t *tail) release() error {
	_, err := t.w.Write(t.last)
	return err
}
