package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"narseal/nar"
)

const (
	alphabet = "0123456789abcdfghijklmnpqrsvwxyz"
	// oldHash stands in the images that a rewrite touches.
	oldHash = "0rwbcfhlq4h4j7kdq1yirdz9dvv5xq2n"
	newHash = "1rwbcfhlq4h4j7kdq1yirdz9dvv5xq2n"
)

// inputs makes the archives and rules.
type inputs struct {
	dir string
	rnd *rand.Rand
}

func newInputs(dir string) *inputs {
	return &inputs{dir, rand.New(rand.NewPCG(1, 2))}
}

// make writes the file of an input.
func (in *inputs) make(name string) error {
	fill, ok := map[string]func(*nar.Writer) error{
		"tree":   func(w *nar.Writer) error { return in.goroot(w, 8) },
		"part":   func(w *nar.Writer) error { return in.goroot(w, 1) },
		"small":  in.small,
		"single": func(w *nar.Writer) error { return in.single(w, 1<<30, in.mixed()) },
		"hex":    func(w *nar.Writer) error { return in.single(w, 512<<20, in.text("0123456789abcdef", blockSize)) },
		"base32": func(w *nar.Writer) error { return in.single(w, 512<<20, in.text(alphabet, blockSize)) },
		"10MB":   func(w *nar.Writer) error { return in.single(w, 10e6, in.mixed()) },
		"100MB":  func(w *nar.Writer) error { return in.single(w, 100e6, in.mixed()) },
		"1GB":    func(w *nar.Writer) error { return in.single(w, 1e9, in.mixed()) },
		"10GB":   func(w *nar.Writer) error { return in.single(w, 10e9, in.mixed()) },
		"images": in.images,
	}[name]
	if !ok {
		return fmt.Errorf("no input %q", name)
	}
	file := filepath.Join(in.dir, name)
	f, err := os.Create(file + ".part")
	if err != nil {
		return err
	}
	defer f.Close()
	w := nar.NewWriter(f)
	if err := fill(w); err != nil {
		return fmt.Errorf("input %s: %w", name, err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("input %s: %w", name, err)
	}
	return os.Rename(f.Name(), file)
}

func directory(w *nar.Writer, depth int, name string) error {
	return w.WriteEntry(&nar.Entry{Depth: depth, Name: []byte(name), Type: nar.TypeDirectory})
}

func file(w *nar.Writer, depth int, name string, contents []byte) error {
	err := w.WriteEntry(&nar.Entry{Depth: depth, Name: []byte(name), Type: nar.TypeRegular, Size: int64(len(contents))})
	if err != nil {
		return err
	}
	_, err = w.Write(contents)
	return err
}

// goroot is the Go toolchain, programs and sources, several times over.
func (in *inputs) goroot(w *nar.Writer, copies int) error {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	root, err := filepath.EvalSymlinks(strings.TrimSpace(string(out)))
	if err != nil {
		return err
	}
	if err := directory(w, 0, ""); err != nil {
		return err
	}
	for i := range copies {
		if err := directory(w, 1, fmt.Sprintf("copy%d", i)); err != nil {
			return err
		}
		if err := in.directory(w, root, 2); err != nil {
			return err
		}
	}
	return nil
}

func (in *inputs) directory(w *nar.Writer, dir string, depth int) error {
	list, err := os.ReadDir(dir) // sorted as bytes
	if err != nil {
		return err
	}
	for _, e := range list {
		name := filepath.Join(dir, e.Name())
		switch e.Type() {
		case fs.ModeDir:
			if err := directory(w, depth, e.Name()); err != nil {
				return err
			}
			if err := in.directory(w, name, depth+1); err != nil {
				return err
			}
		case 0:
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			if err := file(w, depth, e.Name(), b); err != nil {
				return err
			}
		}
	}
	return nil
}

// small is 150,000 files of up to 8 KiB in 1,500 directories.
func (in *inputs) small(w *nar.Writer) error {
	if err := directory(w, 0, ""); err != nil {
		return err
	}
	data := in.mixed()
	for i := range 1500 {
		if err := directory(w, 1, fmt.Sprintf("%04d", i)); err != nil {
			return err
		}
		for k := range 100 {
			n := in.rnd.IntN(8 << 10)
			at := in.rnd.IntN(len(data) - n)
			if err := file(w, 2, fmt.Sprintf("file%02d", k), data[at:at+n]); err != nil {
				return err
			}
		}
	}
	return nil
}

// single is one file of a block over and over.
func (in *inputs) single(w *nar.Writer, size int64, block []byte) error {
	if err := w.WriteEntry(&nar.Entry{Type: nar.TypeRegular, Size: size}); err != nil {
		return err
	}
	for size > 0 {
		n := min(size, int64(len(block)))
		if _, err := w.Write(block[:n]); err != nil {
			return err
		}
		size -= n
	}
	return nil
}

const blockSize = 4<<20 + 13 // so that it never lies alike in a buffer

// mixed is half text, half noise, in pieces.
func (in *inputs) mixed() []byte {
	var b bytes.Buffer
	for b.Len() < blockSize {
		for range 40 {
			fmt.Fprintf(&b, "/nix/store/%s-name-%d/lib and some words of text, ", in.text(alphabet, 32), in.rnd.IntN(1000))
		}
		for range 512 {
			b.WriteString(string([]byte{byte(in.rnd.Uint32()), 0, byte(in.rnd.Uint32()), 0x48}))
		}
	}
	return b.Bytes()
}

// text is made of these characters only.
func (in *inputs) text(chars string, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = chars[in.rnd.IntN(len(chars))]
	}
	return b
}

// images is 200 signed Mach-O images, more than 1 GiB, of which one in twenty
// holds oldHash.
func (in *inputs) images(w *nar.Writer) error {
	build := func(pkg, id string) ([]byte, error) {
		out := filepath.Join(in.dir, "image")
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -buildid="+id, "-o", out, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=darwin", "GOARCH=arm64")
		if msg, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w: %s", err, msg)
		}
		return os.ReadFile(out)
	}
	var plain, touched [2][]byte
	for i, pkg := range []string{"cmd/asm", "./cmd/narseal"} {
		var err error
		if plain[i], err = build(pkg, ""); err != nil {
			return err
		}
		if touched[i], err = build(pkg, "/nix/store/"+oldHash+"-x"); err != nil {
			return err
		}
	}
	if err := directory(w, 0, ""); err != nil {
		return err
	}
	for i := range 200 {
		image := plain[i%2]
		if i%20 == 19-i/20%2 {
			image = touched[i%2]
		}
		if err := file(w, 1, fmt.Sprintf("image%03d", i), image); err != nil {
			return err
		}
	}
	return nil
}

// rules writes n rules that nothing in the inputs matches, but for the first
// where there is but one.
func (in *inputs) rules(n int) (string, error) {
	name := filepath.Join(in.dir, fmt.Sprintf("rules%d", n))
	f, err := os.Create(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := bufio.NewWriter(f)
	own := newInputs(in.dir)
	own.rnd = rand.New(rand.NewPCG(3, 4)) // the same for every table, and not what the inputs are made of
	for i := range n {
		from, to := string(own.text(alphabet, 32)), string(own.text(alphabet, 32))
		if i == 0 {
			from, to = oldHash, newHash
		}
		fmt.Fprintf(b, "%s=%s\n", from, to)
	}
	return name, b.Flush()
}

// emptyArchive is an archive of nothing but an empty file.
func emptyArchive(f *os.File) error {
	w := nar.NewWriter(f)
	if err := w.WriteEntry(&nar.Entry{Type: nar.TypeRegular}); err != nil {
		return err
	}
	return w.Close()
}
