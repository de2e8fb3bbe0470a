package storecmd

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"
	"github.com/nix-community/go-nix/pkg/nixbase32"
	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/nixcli"
	"narseal/nar/storepath"
)

// staged is the replacement of one path: a binary cache that contains only that path, and a record for completing the
// repair even if the path itself no longer exists.
//
//	BASE/cache/nix-cache-info
//	BASE/cache/HASH.narinfo
//	BASE/cache/nar/HASH.nar
//	BASE/record.json
type staged struct {
	in *staging
	record
	replaced bool // by narseal, not by Nix
}

// record describes a staged path.
type record struct {
	Base       string   `json:"base"`
	OldHash    string   `json:"oldNarHash"` // sha256:…, in Nix's base 32
	NewHash    string   `json:"newNarHash"`
	Deriver    string   `json:"deriver"`
	References []string `json:"references"`
	Entries    int64    `json:"entries"` // files, directories and symlinks
	Keys       string   `json:"keys"`    // public, with blanks between them
}

// maxRecord is the maximum size of a record, in bytes.
const maxRecord = 64 << 20

func (g *staged) cache() nixcli.Cache {
	return nixcli.Cache{Dir: filepath.Join(g.dir(), "cache"), Keys: g.Keys}
}

// dir is the directory as Nix and the user are told it.
func (g *staged) dir() string { return filepath.Join(g.in.dir, g.Base) }

// openNAR opens the archive.
func (g *staged) openNAR() (*os.File, error) {
	return g.in.root.OpenFile(filepath.Join(g.Base, "cache", narName(g.Base)), os.O_RDONLY|unix.O_NOFOLLOW, 0)
}

func narName(base string) string { return "nar/" + base[:storepath.HashLen] + ".nar" }

// load opens the staged replacement of an earlier run. All of its files must belong to an owner.
func (st *staging) load(base string) (*staged, error) {
	err := fs.WalkDir(st.root.FS(), base, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			err = st.owners.CheckFile(info)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", filepath.Join(st.dir, name), err)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	g := &staged{in: st}
	f, err := st.root.OpenFile(filepath.Join(base, "record.json"), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, maxRecord)).Decode(&g.record); err != nil {
		return nil, fmt.Errorf("state: %s: %w", f.Name(), err)
	}
	if g.Base != base {
		return nil, fmt.Errorf("state: %s is the record of %q, want %q", f.Name(), g.Base, base)
	}
	return g, nil
}

// remove removes the staged replacement of a path. It renames it first, so that a partial removal is not mistaken for a
// complete replacement.
func (st *staging) remove(base string) error {
	err := st.root.Rename(base, newPrefix+base)
	if err == nil {
		err = st.root.RemoveAll(newPrefix + base)
	}
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

// errNothing is returned by a write function that has nothing to stage.
var errNothing = errors.New("nothing to stage")

// stage creates the replacement of a path from the archive that write writes. write returns the number of entries. The
// replacement is complete and synced, or does not exist.
func (st *staging) stage(p *nixcli.Path, storeDir string, keys []signature.SecretKey, write func(io.Writer) (int64, error)) (*staged, error) {
	made := newPrefix + p.Base
	defer st.root.RemoveAll(made)
	for _, dir := range []string{"nar", "realisations", "debuginfo", "log"} { // Nix would create them if they were missing
		if err := st.root.MkdirAll(filepath.Join(made, "cache", dir), 0o755); err != nil {
			return nil, fmt.Errorf("state: %w", err)
		}
	}
	g := &staged{in: st, record: record{
		Base: p.Base, OldHash: hashText(p.NarHash), Deriver: p.Deriver, References: p.References,
	}}
	n := &narInfo{storeDir: storeDir, record: &g.record}
	h := sha256.New()
	err := st.create(filepath.Join(made, "cache", narName(p.Base)), func(w io.Writer) error {
		counted := &counter{w: io.MultiWriter(w, h)}
		entries, err := write(counted)
		g.Entries, n.size = entries, counted.n
		return err
	})
	if err != nil {
		return nil, err
	}
	g.NewHash = hashText([sha256.Size]byte(h.Sum(nil)))
	text, err := n.sign(keys)
	if err != nil {
		return nil, err
	}
	rec, err := json.Marshal(&g.record)
	if err != nil {
		return nil, err
	}
	for name, content := range map[string]string{
		"cache/nix-cache-info":                             "StoreDir: " + storeDir + "\n",
		"cache/" + p.Base[:storepath.HashLen] + ".narinfo": text,
		"record.json": string(rec),
	} {
		if err := st.create(filepath.Join(made, name), func(w io.Writer) error {
			_, err := io.WriteString(w, content)
			return err
		}); err != nil {
			return nil, err
		}
	}
	for _, dir := range []string{"cache/nar", "cache", "."} {
		if err := st.sync(filepath.Join(made, dir)); err != nil {
			return nil, err
		}
	}
	if err := st.root.Rename(made, p.Base); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	return g, st.sync(".")
}

// create creates a file and syncs it.
func (st *staging) create(name string, write func(io.Writer) error) error {
	f, err := st.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	defer f.Close()
	b := bufio.NewWriterSize(f, 1<<18)
	if err := write(b); err != nil {
		return err
	}
	if err = b.Flush(); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

// sync syncs a directory.
func (st *staging) sync(name string) error {
	f, err := st.root.Open(name)
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// hashText formats a SHA-256 as in narinfos.
func hashText(h [sha256.Size]byte) string { return "sha256:" + nixbase32.EncodeToString(h[:]) }

// narInfo is the narinfo of a staged path. It has no CA field, because the changed contents would not match it.
type narInfo struct {
	*record
	storeDir string
	size     int64
}

func (n *narInfo) sign(keys []signature.SecretKey) (string, error) {
	refs := slices.Sorted(slices.Values(n.References))
	full := make([]string, len(refs))
	for i, ref := range refs {
		full[i] = n.storeDir + "/" + ref
	}
	path := n.storeDir + "/" + n.Base
	var b strings.Builder
	fmt.Fprintf(&b, "StorePath: %s\nURL: %s\nCompression: none\nFileHash: %s\nFileSize: %d\nNarHash: %s\nNarSize: %d\nReferences: %s\n",
		path, narName(n.Base), n.NewHash, n.size, n.NewHash, n.size, strings.Join(refs, " "))
	if n.Deriver != "" {
		fmt.Fprintf(&b, "Deriver: %s\n", n.Deriver)
	}
	// The signed text, see src/libstore/path-info.cc of Nix.
	fingerprint := fmt.Sprintf("1;%s;%s;%d;%s", path, n.NewHash, n.size, strings.Join(full, ","))
	for _, key := range keys {
		sig, err := key.Sign(rand.Reader, fingerprint)
		if err != nil {
			return "", fmt.Errorf("sign: %w", err)
		}
		fmt.Fprintf(&b, "Sig: %s\n", sig.String())
	}
	n.Keys = publicKeys(keys)
	return b.String(), nil
}

func publicKeys(keys []signature.SecretKey) string {
	var public []string
	for _, key := range keys {
		public = append(public, key.ToPublicKey().String())
	}
	return strings.Join(public, " ")
}

// runKey generates a key for one run. It is not stored, so its signatures only tell where a path comes from.
func runKey() ([]signature.SecretKey, error) {
	key, _, err := signature.GenerateKeypair("narseal-store-repair-1", rand.Reader)
	return []signature.SecretKey{key}, err
}
