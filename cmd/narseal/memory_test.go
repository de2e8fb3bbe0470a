package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"narseal/macho"
	"narseal/macho/machotest"
	"narseal/nar/nartest"
)

// plainBinary is narseal without the race detector, whose memory says
// nothing.
var plainBinary = sync.OnceValues(func() (string, error) {
	if !raceEnabled {
		return exec.LookPath("narseal")
	}
	dir, err := os.MkdirTemp("", "narseal-test-")
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "narseal")
	out, err := exec.Command("go", "build", "-o", name, ".").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return name, err
})

const maxResident = 64 << 20

// bounded runs narseal in a process of its own, and fails if it ever had more
// than 64 MiB of resident memory. It compares stdout with want, byte for byte
// as it comes, unless that is nil.
func bounded(t *testing.T, stdin, want io.Reader, args ...string) (status int, stderr string) {
	t.Helper()
	return boundedBy(t, maxResident, stdin, want, args...)
}

// boundedBy is bounded for another limit.
func boundedBy(t *testing.T, limit int64, stdin, want io.Reader, args ...string) (status int, stderr string) {
	t.Helper()
	binary, err := plainBinary()
	if err != nil {
		t.Fatal(err)
	}
	peak := filepath.Join(t.TempDir(), "peak")
	c := &child{Cmd: exec.Command("peak", append([]string{peak, binary}, args...)...)}
	c.Cmd.Stderr = &c.stderr
	c.Stdin = stdin
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.start(t)
	if want == nil {
		io.Copy(io.Discard, out)
	} else if err := sameStream(out, want); err != nil {
		t.Error(err)
		c.Process.Kill()
	}
	status = c.ended(t)
	text, err := os.ReadFile(peak)
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("narseal %s: status %d, %.1f MiB", strings.Join(args, " "), status, float64(bytes)/(1<<20))
	if bytes > limit {
		t.Errorf("narseal %q had %d MiB of resident memory, want at most %d", args, bytes>>20, limit>>20)
	}
	return status, c.stderr.String()
}

// peak is a program that runs another one and writes the most resident memory
// that it had, in bytes, to a file: a process counts what the one that it was
// forked from had, and the test's own has much.
//
//	peak FILE PROGRAM [ARG…]
func peak() {
	cmd := exec.Command(os.Args[2], os.Args[3:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(127)
	}
	bytes := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
	if runtime.GOOS != "darwin" {
		bytes *= 1024 // kilobytes elsewhere
	}
	if err := os.WriteFile(os.Args[1], []byte(strconv.FormatInt(bytes, 10)), 0o666); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(127)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

// sameStream compares two streams to their ends.
func sameStream(got, want io.Reader) error {
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); ; {
		n, err := io.ReadFull(want, b)
		m, gotErr := io.ReadFull(got, a[:n])
		if m < n || !bytes.Equal(a[:m], b[:n]) {
			return fmt.Errorf("the output differs after offset %d: %w", at, cmpErr(gotErr))
		}
		at += int64(n)
		if err != nil {
			if m, _ := got.Read(a[:1]); m > 0 {
				return fmt.Errorf("the output has more than %d bytes", at)
			}
			return nil
		}
	}
}

func cmpErr(err error) error {
	if err == nil {
		return errors.New("other bytes")
	}
	return err
}

// repeated is n copies of a block.
func repeated(block string, n int) io.Reader {
	return io.MultiReader(func() (all []io.Reader) {
		for range n {
			all = append(all, strings.NewReader(block))
		}
		return all
	}()...)
}

// twoGiB is an archive of 2 GiB in which a hash stands every few KiB, made as
// it is read: a file of 1 GiB, and sixteen of 64 MiB.
func twoGiB(hash string) io.Reader {
	const size = 1 << 20
	block := strings.Repeat("no base32: \x00\xff", 300) + hash
	block = strings.Repeat(block, size/len(block)+1)[:size-32] + hash
	var parts []io.Reader
	text := func(strings ...string) {
		parts = append(parts, bytes.NewReader(nartest.Strings(strings...)))
	}
	text("nix-archive-1", "(", "type", "directory")
	for i := range 17 {
		n := 64
		if i == 8 {
			n = 1024
		}
		text("entry", "(", "name", fmt.Sprintf("file-%02d", i), "node", "(", "type", "regular", "contents")
		parts = append(parts, bytes.NewReader(binary.LittleEndian.AppendUint64(nil, uint64(n*size))), repeated(block, n))
		text(")", ")")
	}
	text(")")
	return io.MultiReader(parts...)
}

func TestTwoGiBStreamInLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes several seconds")
	}
	if status, stderr := bounded(t, twoGiB(hashA), twoGiB(hashB), "rewrite", "-m", hashA+"="+hashB); status != 0 || stderr != "" {
		t.Errorf("status %d; stderr: %s", status, stderr)
	}
}

// An image over --hold-memory is held in a file.
func TestLargeImageInLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes several seconds")
	}
	image := func(hash string) []byte {
		data, _ := machotest.Image{CodeSize: 64 << 20, Text: []byte(hash), Directories: []machotest.Directory{
			{HashType: 1, PageShift: 12}, {Slot: 0x1000, PageShift: 14},
		}}.Build()
		// Several, so that what one leaves behind counts for the next.
		return nartest.Tree(nartest.Dir{"a": nartest.Exec(data), "b": nartest.Exec(data), "c": nartest.Exec(data)})
	}
	status, stderr := bounded(t, bytes.NewReader(image(hashA)), bytes.NewReader(image(hashB)),
		"rewrite", "-m", hashA+"="+hashB, "--hold-memory", "9MiB")
	if status != 0 || stderr != "" {
		t.Errorf("status %d; stderr: %s", status, stderr)
	}
}

// nested is depth folders inside each other, each named name.
func nested(depth int, name string) []byte {
	var b bytes.Buffer
	b.Write(nartest.Strings("nix-archive-1", "(", "type", "directory"))
	for range depth - 1 {
		b.Write(nartest.Strings("entry", "(", "name", name, "node", "(", "type", "directory"))
	}
	for range depth - 1 {
		b.Write(nartest.Strings(")", ")"))
	}
	b.Write(nartest.Strings(")"))
	return b.Bytes()
}

// Deep nesting takes memory in proportion to the input: no path, which may be
// as long as it, is kept for every folder.
func TestNestingInLittleMemory(t *testing.T) {
	const depth = 10_000
	deep, renamed := nested(depth, hashA), nested(depth, hashB)
	file := filepath.Join(t.TempDir(), "deep.nar")
	if err := os.WriteFile(file, deep, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		rule string
		want []byte
		in   io.Reader
		args []string
	}{
		{hashA + "=" + hashB, renamed, bytes.NewReader(deep), nil},
		{hashA + "=" + hashB, renamed, nil, []string{file}},
		{hashA + "=" + hashB, renamed, bytes.NewReader(deep), []string{"--spool"}},
		{hashB + "=" + hashA, deep, bytes.NewReader(renamed), nil},
		{sampleRule, deep, bytes.NewReader(deep), nil},
		{sampleRule, deep, nil, []string{"--repair", "all", file}},
	} {
		args := append([]string{"rewrite", "-m", test.rule}, test.args...)
		said := ""
		if test.rule == sampleRule {
			said = "narseal: warning: " + sampleHash + ": the rule matched nothing\n"
		}
		if status, stderr := bounded(t, test.in, bytes.NewReader(test.want), args...); status != 0 || stderr != said {
			t.Errorf("%q: status %d; stderr: %s", args, status, stderr)
		}
	}
	if status, stderr := bounded(t, nil, nil, "verify", file); status != 0 || stderr != "" {
		t.Errorf("verify: status %d; stderr: %s", status, stderr)
	}
}

// The paths of images in deep directories are far longer than the archive, and neither kept nor printed for each.
func TestDeepImagesInLittleMemory(t *testing.T) {
	depth, images := 16_000, 300
	if testing.Short() || raceEnabled {
		depth, images = 4000, 100
	}
	image, layout := machotest.Image{CodeSize: 5000, Text: []byte("/nix/store/" + hashA + "-x"), Directories: []machotest.Directory{{PageShift: 12}}}.Build()
	image[layout.Offset+layout.Directories[0].Hashes] ^= 0xff
	dir := nartest.Dir{}
	for i := range images {
		dir[fmt.Sprintf("image%04d", i)] = nartest.Exec(image)
	}
	inner := nartest.Tree(dir)
	inner = inner[len(nartest.Strings("nix-archive-1")):]
	var b bytes.Buffer
	b.Write(nartest.Strings("nix-archive-1"))
	name := strings.Repeat("d", 255)
	for range depth {
		b.Write(nartest.Strings("(", "type", "directory", "entry", "(", "name", name, "node"))
	}
	b.Write(inner)
	for range depth {
		b.Write(nartest.Strings(")", ")"))
	}
	archive := b.Bytes()
	stream := exported("/nix/store/"+hashB+"-x", nil, archive)
	temp := t.TempDir()
	report, html := filepath.Join(temp, "report"), filepath.Join(temp, "html")
	const budget = 64 << 20
	for _, test := range []struct {
		in     []byte
		limit  int64
		status int
		args   []string
	}{
		{archive, maxResident, statusInvalid, []string{"verify"}},
		{stream, maxResident, statusInvalid, []string{"verify", "--format", "github"}},
		{stream, maxResident + budget, statusInvalid, []string{"verify", "--format", "json", "--report", report}},
		{archive, maxResident + budget, statusInvalid, []string{"verify", "--html", html}},
		{archive, maxResident + budget, statusDone, []string{"repair", "--report", report}},
		{stream, maxResident + budget, statusInvalid, []string{"rewrite", "--repair", "none", "-m", hashA + "=" + hashB, "--report", report}},
		{archive, maxResident, statusDone, []string{"refs"}},
		{stream, maxResident + budget, statusInvalid, []string{"refs", "--format", "json", "--deny", hashA, "--report", report}},
	} {
		status, stderr := boundedBy(t, test.limit, bytes.NewReader(test.in), nil, test.args...)
		if status != test.status || len(stderr) > 2<<20 {
			t.Errorf("%q: status %d, %d bytes of stderr: %.300s", test.args, status, len(stderr), stderr)
		}
	}
	for _, file := range []string{report, html} {
		if info, err := os.Stat(file); err != nil || info.Size() > 80<<20 {
			t.Errorf("%s: %v, %d bytes", file, err, info.Size())
		}
	}
}

func TestManyEntriesInLittleMemory(t *testing.T) {
	n := 1_000_000
	if testing.Short() || raceEnabled {
		n = 50_000
	}
	tree := func(prefix string) io.Reader {
		r, w := io.Pipe()
		go func() {
			b := nartest.Strings("nix-archive-1", "(", "type", "directory")
			for i := range n {
				b = append(b, nartest.Strings("entry", "(", "name", fmt.Sprintf("%s%07d", prefix, i), "node",
					"(", "type", "regular", "contents", "", ")", ")")...)
				if len(b) > 1<<20 {
					if _, err := w.Write(b); err != nil {
						return
					}
					b = b[:0]
				}
			}
			w.Write(append(b, nartest.Strings(")")...))
			w.Close()
		}()
		return r
	}
	if status, stderr := bounded(t, tree("f"), tree("f"), "rewrite", "-m", sampleRule); status != 0 || stderr != "narseal: warning: "+sampleHash+": the rule matched nothing\n" {
		t.Errorf("status %d; stderr: %s", status, stderr)
	}
	if status, stderr := bounded(t, tree("f"), nil, "verify"); status != 0 || stderr != "" {
		t.Errorf("verify: status %d; stderr: %s", status, stderr)
	}
}

// Lengths that an archive only claims cost nothing: every length in it in
// turn is one that no memory could hold.
func TestClaimedLengths(t *testing.T) {
	in := fixtures(t)["small"].in
	var places []int
	for at := 0; at+8 <= len(in); at += 8 {
		if n := binary.LittleEndian.Uint64(in[at:]); n < 256 {
			places = append(places, at) // a length, or padding that looks like one
		}
	}
	limit := uint64(2 << 20)
	if raceEnabled {
		limit = 8 << 20 // the detector has allocations of its own
	}
	var last uint64
	for _, at := range places {
		for _, claim := range []uint64{1<<64 - 1, 1<<64 - 8, 1 << 63, 1<<63 - 1, 1<<63 - 8, 1 << 40, 1 << 32, 1<<31 - 1, 4096, 256} {
			bad := bytes.Clone(in)
			binary.LittleEndian.PutUint64(bad[at:], claim)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			o := invoke(bytes.NewReader(bad), "rewrite", "-m", hashA+"="+hashB)
			runtime.ReadMemStats(&after)
			if o.status != statusError || complete([]byte(o.stdout)) || !strings.Contains(o.stderr, "offset ") {
				t.Fatalf("length at %d is %d: status %d, %d bytes of output; stderr: %s", at, claim, o.status, len(o.stdout), o.stderr)
			}
			// The two buffers, and what the program takes anyway.
			if last = after.TotalAlloc - before.TotalAlloc; last > limit {
				t.Fatalf("length at %d is %d: %d bytes were allocated", at, claim, last)
			}
		}
	}
	if len(places) < 50 {
		t.Fatalf("only %d lengths", len(places))
	}
}

// A CodeDirectory may claim more slots than there are bytes, and a fat header
// may list the same bytes over and over.
func TestHostileImagesInLittleMemory(t *testing.T) {
	one, l := machotest.Image{CodeSize: 2 << 20, Text: []byte(hashA), Directories: []machotest.Directory{{PageShift: 12}}}.Build()
	claim := func(at int64, value uint32) []byte {
		b := bytes.Clone(one)
		binary.BigEndian.PutUint32(b[at:], value)
		return b
	}
	cd := l.Blobs[0]
	for name, image := range map[string][]byte{
		"code slots":     claim(cd+28, 1<<32-1),
		"special slots":  claim(cd+24, 1<<32-1),
		"code limit":     claim(cd+32, 1<<32-1),
		"hash offset":    claim(cd+16, 1<<32-1),
		"length":         claim(cd+4, 1<<32-1),
		"blobs":          claim(l.Signature+8, 1<<32-1),
		"superblob":      claim(l.Signature+4, 1<<32-1),
		"load commands":  claimLE(one, 16, 1<<32-1),
		"commands' size": claimLE(one, 20, 1<<32-1),
		"same slices":    sameSlices(one, 128),
	} {
		in := nartest.Tree(nartest.Exec(image))
		for _, args := range [][]string{
			{"rewrite", "-m", hashA + "=" + hashB},
			{"rewrite", "-m", hashA + "=" + hashB, "--hold-memory", "4096"},
			{"repair"},
			{"verify", "--format", "json"},
		} {
			status, stderr := bounded(t, bytes.NewReader(in), nil, args...)
			if status != statusInvalid && (name != "load commands" || status != statusDone) {
				t.Errorf("%s: %q: status %d, want %d; stderr: %s", name, args, status, statusInvalid, stderr)
			}
		}
		// What is hashed is never more than a few times what is there.
		if rep, err := macho.Verify(macho.Bytes(image)); err != nil || rep.Hashed > 3*int64(len(image)) {
			t.Errorf("%s: %v, %d bytes hashed of %d", name, err, rep.Hashed, len(image))
		}
	}
}

func claimLE(image []byte, at int, value uint32) []byte {
	b := bytes.Clone(image)
	binary.LittleEndian.PutUint32(b[at:], value)
	return b
}

// sameSlices is a fat image whose n slices are all the same bytes.
func sameSlices(image []byte, n int) []byte {
	be := binary.BigEndian
	b := be.AppendUint32(be.AppendUint32(nil, 0xcafebabf), uint32(n))
	off := uint64(16 << 10)
	for range n {
		b = be.AppendUint32(be.AppendUint32(b, 0x0100000c), 0)
		b = be.AppendUint64(be.AppendUint64(b, off), uint64(len(image)))
		b = be.AppendUint32(be.AppendUint32(b, 14), 0)
	}
	return append(append(b, make([]byte, int(off)-len(b))...), image...)
}
