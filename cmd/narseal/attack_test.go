package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"narseal/nar/compression"
)

// An attack is an input of a few KB to a few MB that is made to cost far more than its size.
type attack struct {
	name string
	// write makes the input in a directory and returns the name of the file or directory to pass, or "" where the
	// arguments name it.
	write func(t *testing.T, dir string) string
	// runs are the command lines; IN stands for the input, DIR for a directory to write to. A first word "<" feeds
	// the input to stdin.
	runs []string
	// harmless makes an input with about n bytes of contents that the same runs take, to compare the time; nil: an archive
	// of files.
	harmless func(t *testing.T, dir string, n int64) string
	// budget is what a run may take besides the base and --hold-memory, in bytes: that of reports.
	budget int64
	// hold is --hold-memory, in bytes; 0: attackHold.
	hold int64
	// unpacked is what the packed files in the input expand to, as far as they are searched, in bytes.
	unpacked int64
}

// usual makes a harmless input with n bytes of contents.
func (a *attack) usual(t *testing.T, dir string, n int64) string {
	if a.harmless == nil {
		return harmlessArchive(t, dir, n)
	}
	return a.harmless(t, dir, n)
}

const (
	attackHold   = 16 << 20
	attackBase   = 64 << 20
	maxUsual     = 256 << 20 // contents of a harmless input
	attackReport = 64 << 20  // what a run keeps of paths, in all its lists and reports together
	// attackTime is far above what any row takes; a run that reaches it hangs.
	attackTime = 2 * time.Minute
)

// attacks lists every row of the table in SECURITY.md about memory.
func attacks() []attack {
	return []attack{
		{"one CodeDirectory 1024 times", file(repeatedDirectory),
			[]string{"verify IN", "repair --in-place IN", "verify --html DIR/out.html IN"}, harmlessImage, 0, 0, 0},
		{"1024 CodeDirectories with strings without NUL", file(unterminatedStrings), []string{"verify IN"}, harmlessImage, 0, 0, 0},
		{"images 16,000 directories deep, NAR", file(deepImages), []string{
			"verify IN", "< verify", "verify --format json IN", "verify --format github IN", "verify --html DIR/out.html IN",
			"verify --report DIR/report IN", "repair --report DIR/report -o DIR/out IN", "refs IN", "refs --format json IN",
			"refs --report DIR/report IN", "rewrite -m " + hashA + "=" + hashB + " --report DIR/report -o DIR/out IN",
		}, nil, attackReport, 0, 0},
		{"images 16,000 directories deep, names that are not UTF-8", file(deepInvalid), []string{
			"verify --format json IN", "verify --report DIR/report IN", "refs --report DIR/report IN",
			"rewrite -m " + hashA + "=" + hashB + " --report DIR/report -o DIR/out IN",
		}, nil, attackReport, 0, 0},
		{"images 16,000 directories deep, export stream", file(deepExport), []string{
			"verify IN", "< verify", "verify --report DIR/report IN", "refs IN", "refs --report DIR/report IN",
			"repair --report DIR/report -o DIR/out IN",
		}, harmlessExport, attackReport, 0, 0},
		{"images 16,000 directories deep, cache", deepCache, []string{
			"cache verify IN", "cache verify --report DIR/report IN", "cache verify --ledger DIR/ledger IN", "cache repair --dry-run --report DIR/report IN",
			"cache repair -o DIR/cache IN", "refs IN",
		}, harmlessCache, attackReport, 64 << 20, 0},
		{"a million renamed entries", file(renamedEntries), []string{
			"rewrite -m " + hashA + "=" + hashB + " -o DIR/out IN", "< rewrite -m " + hashA + "=" + hashB + " -o DIR/out",
		}, harmlessEntries, 0, 0, 0},
		{"a renamed directory of a million renamed entries", file(renamedDirectory), []string{
			"< rewrite -m " + hashA + "=" + hashB + " -o DIR/out",
		}, harmlessEntries, 0, 0, 0},
		{"zips inside each other with names of 64 KiB", file(longZipNames), []string{
			"refs --deep IN", "rewrite --deep-warn -m " + hashA + "=" + hashB + " -o DIR/out IN",
		}, harmlessPacked, 0, 0, 218 << 20},
		{"zips inside each other with names of 64 KiB, report", file(longZipNames), []string{"refs --deep --report DIR/report IN"}, harmlessPacked, attackReport, 0, 218 << 20},
		{"stored zips inside each other", file(storedZips), []string{"refs --deep IN"}, harmlessPacked, 0, 0, 420 << 20},
		{"zstd windows inside each other", file(nestedWindows), []string{"refs --deep IN"}, nil, 0, 0, 0},
		{"a compressed listing of 100 MB", listingCache, []string{
			"cache rewrite --rename -m " + hashA + "=" + hashB + " -o DIR/cache IN", "cache rewrite --rename -m " + hashA + "=" + hashB + " IN",
		}, harmlessCache, 0, 0, 0},
		{"300 zips of 64 KB that expand to 4 GiB", file(manyBombs), []string{"refs --deep IN"}, harmlessPacked, 0, 0, 320 << 20},
		{"a cache of 8 NARs with windows of 128 MiB", windowCache, []string{
			"cache verify -j 8 IN", "cache repair -j 8 IN", "cache rewrite -j 8 -m " + hashA + "=" + hashB + " -o DIR/cache IN",
		}, harmlessCache, 0, 0, 0},
		{"a cache of 8 NARs with windows of 128 MiB, for which there is memory", windowCache, []string{
			"cache verify -j 8 IN", "cache repair -j 8 IN", "cache rewrite -j 8 -m " + hashA + "=" + hashB + " -o DIR/cache IN",
		}, harmlessCache, 0, 160 << 20, 0},
		{"a cache of 8 NARs with images of 200 MiB", imageCache, []string{
			"cache verify -j 8 IN", "cache repair -j 8 --dry-run IN", "cache rewrite -j 64 -m " + hashA + "=" + hashB + " -o DIR/cache IN",
		}, harmlessCache, 0, 256 << 20, 0},
		{"an archive in a window of 128 MiB", file(wideWindow), []string{"verify IN", "refs IN", "repair -o DIR/out IN"}, nil, 0, 160 << 20, 0},
		{"a cache of 1,000 small NARs with windows of 128 MiB", smallWindows, []string{
			"cache verify -j 8 IN", "cache repair -o DIR/cache IN", "refs IN",
		}, harmlessPaths, 0, 0, 0},
		{"2,000 members of a tar with windows of 128 MiB", file(membersOfWindows), []string{
			"refs --deep IN", "rewrite --deep-warn -m " + hashA + "=" + hashB + " -o DIR/out IN",
		}, nil, 0, 0, 0},
		{"400,000 archives", file(manyArchives), []string{
			"verify --report DIR/report IN", "repair --report DIR/report -o DIR/out IN", "rewrite -m " + hashA + "=" + hashB + " --report DIR/report -o DIR/out IN",
		}, harmlessExports, attackReport, 0, 0},
		{"a directory of 200,000 files", wideTree, []string{"verify IN", "refs IN", "repair --in-place IN"}, harmlessWide, 0, 0, 0},
		{"2,000 narinfos of one NAR of 128 MiB", sharedCache, []string{"cache verify IN", "cache repair IN"}, harmlessCache, 0, 0, 0},
		{"narinfos of 1 MiB in 300,000 lines, and in 10,000 signatures", longInfos, []string{
			"cache verify --trusted-public-keys k:" + strings.Repeat("A", 43) + "= IN", "cache repair IN",
		}, harmlessCache, 0, 0, 0},
		{"a bundle at all bounds", file(fullBundle), []string{"verify IN", "< verify --format json", "verify --html DIR/out.html IN", "repair -o DIR/out IN"},
			harmlessBundle, 0, 64 << 20, 0},
		{"a cache of 8 large bundles", bundleCache, []string{"cache verify -j 8 IN", "cache repair -j 8 --dry-run IN"}, harmlessBundleCache, 0, 64 << 20, 0},
		{"an Info.plist of 1 MB that 2,000 executables seal", file(plistOfMany), []string{"verify IN"}, harmlessBundle, 0, 0, 0},
		{"4,095 executables 60 directories deep", file(deepExecutables), []string{"verify IN", "repair -o DIR/out IN"}, harmlessBundle, 0, 0, 0},
		{"14 lists of 8 MiB in one bundle", file(nestedLists), []string{"verify IN", "repair -o DIR/out IN"}, harmlessBundle, 0, 64 << 20, 0},
		{"14 lists of 8 MiB around bundles", file(listsAroundBundles), []string{"verify IN", "repair -o DIR/out IN"}, harmlessBundle, 0, 64 << 20, 0},
		{"100 Info.plists with names of 1 MB", file(longExecutables), []string{"verify IN"}, harmlessBundle, 0, 0, 0},
		{"50 Info.plists of dictionaries as keys", file(sharedKeys), []string{"verify IN"}, harmlessBundle, 0, 0, 0},
		{"a cache of 16 NARs with Info.plists of 1 MB", infoCache, []string{"cache verify -j 16 IN"}, harmlessBundleCache, 0, 0, 0},
		{"a ledger of long lines and many packages", file(hostileLedger), []string{
			"cache summary IN", "cache summary --format json IN", "cache summary --html DIR/out.html IN",
		}, harmlessLedger, attackReport, 0, 0},
		{"a ledger of texts of 8 MiB with a window of 64 MiB", file(longTexts), []string{
			"cache summary IN", "cache summary --format json IN", "cache summary --html DIR/out.html IN",
		}, harmlessLedger, attackReport, 0, 0},
		{"compressed narinfos with windows of 128 MiB", windowInfos, []string{
			"cache verify -j 16 IN", "cache repair -j 16 -o DIR/cache IN", "refs IN",
		}, harmlessPaths, 0, 0, 0},
		{"a narinfo of 4 GiB", hugeInfo, []string{"refs IN", "cache verify IN", "cache repair IN"}, harmlessCache, 0, 0, 0},
	}
}

// TestAttacksInLittleMemory holds the memory that each attack takes, measured by the system, to the base, --hold-memory
// and the budget of reports. NARSEAL_ATTACK_BINARY names another program to be measured, for a table before and after.
func TestAttacksInLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	binary, err := plainBinary()
	if err != nil {
		t.Fatal(err)
	}
	if other := os.Getenv("NARSEAL_ATTACK_BINARY"); other != "" {
		binary = other
	}
	for _, a := range attacks() {
		t.Run(strings.ReplaceAll(a.name, " ", "-"), func(t *testing.T) {
			in := a.write(t, t.TempDir())
			size := diskSize(t, in)
			usual, parts := "", int64(1) // the harmless input has one of as many parts of the size
			if testing.Verbose() {
				contents := max(a.unpacked, contentsSize(t, in))
				parts = (contents + maxUsual - 1) / maxUsual
				usual = a.usual(t, t.TempDir(), contents/parts)
			}
			for _, line := range a.runs {
				hold := cmp.Or(a.hold, attackHold)
				limit := attackBase + hold + a.budget
				bytes, took, status := attackRun(t, binary, in, line, hold)
				for range 2 {
					// On a busy machine, garbage may be collected too late.
					if bytes > limit && status >= 0 {
						again, _, _ := attackRun(t, binary, in, line, hold)
						bytes = min(bytes, again)
					}
				}
				var usualTime time.Duration
				if usual != "" {
					_, usualTime, _ = attackRun(t, binary, usual, line, hold)
					usualTime *= time.Duration(parts)
				}
				t.Logf("%-60s input %8d B, peak %7.1f MiB, %6.2f s (harmless: %.2f s), status %d",
					shortLine(line), size, float64(bytes)/(1<<20), took.Seconds(), usualTime.Seconds(), status)
				if bytes > limit {
					t.Errorf("%s: %d MiB of resident memory, want at most %d", shortLine(line), bytes>>20, limit>>20)
				}
				if status < 0 {
					t.Errorf("%s: did not end within %v", shortLine(line), attackTime)
				}
			}
		})
	}
}

func shortLine(line string) string {
	return strings.NewReplacer(hashA, "A", hashB, "B").Replace(line)
}

// attackRun runs narseal in a process of its own and returns its peak of resident memory. A status of -1 is one that
// did not end in time.
func attackRun(t *testing.T, binary, in, line string, holdMemory int64) (peak int64, took time.Duration, status int) {
	t.Helper()
	out := t.TempDir()
	words := strings.Fields(line)
	stdin := words[0] == "<"
	if stdin {
		words = words[1:]
	}
	args := []string{filepath.Join(out, "peak"), binary}
	hold := []string{"--hold-memory", strconv.FormatInt(holdMemory, 10)}
	if strings.HasPrefix(line, "cache summary") { // holds nothing
		hold = nil
	}
	for i, w := range words {
		w = strings.ReplaceAll(w, "DIR", out)
		if w == "IN" { // options stand before it
			args, hold, w = append(args, hold...), nil, in
		}
		args = append(args, w)
		if i == len(words)-1 {
			args = append(args, hold...)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), attackTime)
	defer cancel()
	c := exec.CommandContext(ctx, "peak", args...)
	c.WaitDelay = time.Second
	c.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(out, "state"), "TMPDIR="+out)
	if stdin {
		f, err := os.Open(in)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		c.Stdin = f
	}
	var stderr bytes.Buffer
	c.Stdout, c.Stderr = io.Discard, &limitedBuffer{&stderr, 4096}
	err := c.Run()
	if c.ProcessState == nil {
		t.Fatal(err)
	}
	took = c.ProcessState.UserTime() + c.ProcessState.SystemTime() // whatever else the machine does
	if ctx.Err() != nil {
		return 0, took, -1
	}
	text, err := os.ReadFile(filepath.Join(out, "peak"))
	if err != nil {
		t.Fatalf("%v; stderr: %s", err, stderr.String())
	}
	if peak, err = strconv.ParseInt(string(text), 10, 64); err != nil {
		t.Fatal(err)
	}
	if s := c.ProcessState.ExitCode(); s != 0 && s != 3 && s != 1 {
		t.Errorf("%s: status %d; stderr: %s", shortLine(line), s, stderr.String())
	}
	return peak, took, c.ProcessState.ExitCode()
}

// limitedBuffer keeps the first bytes that are written to it.
type limitedBuffer struct {
	b    *bytes.Buffer
	room int
}

func (l *limitedBuffer) Write(p []byte) (int, error) {
	n := min(len(p), l.room)
	l.b.Write(p[:n])
	l.room -= n
	return len(p), nil
}

// diskSize is what the input takes on disk, in bytes.
func diskSize(t *testing.T, in string) (n int64) {
	t.Helper()
	out, err := exec.Command("du", "-s", "--block-size=1", in).Output()
	if err != nil {
		return 0 // no GNU du: it is only printed
	}
	if _, err := fmt.Sscan(string(out), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// contentsSize is the size of an input after decompression, in bytes: of an archive, of all NARs of a cache, or else on the
// disk.
func contentsSize(t *testing.T, in string) (n int64) {
	t.Helper()
	infos, err := filepath.Glob(filepath.Join(in, "*.narinfo"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, name := range infos {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var url string
		var size int64
		for line := range strings.Lines(string(text)) {
			if v, ok := strings.CutPrefix(line, "URL: "); ok {
				url = v
			} else if v, ok := strings.CutPrefix(line, "NarSize: "); ok {
				fmt.Sscan(v, &size)
			}
		}
		if !seen[url] {
			seen[url] = true
			n += size
		}
	}
	if f, err := os.Open(in); err == nil && n == 0 {
		defer f.Close()
		if dec, c, err := compression.Decompress(f); err == nil && c != compression.None {
			defer dec.Close()
			n, _ = io.Copy(io.Discard, dec)
		}
	}
	return max(n, diskSize(t, in))
}
