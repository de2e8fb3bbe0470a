package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"narseal/cmd/narseal/internal/ledger"
	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
	"narseal/nar/binarycache/folder"
	"narseal/nar/nartest"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"
)

// sweepNumber is a number that an environment variable can make larger: NARSEAL_SWEEP_PATHS, _BROKEN, _SHARDS, _SIZE (of a
// path in bytes), _KILLS, _PAUSE (between them, in ms), _FAULTS (per mille of the requests), _DELAY (of a request, in ms).
func sweepNumber(t testing.TB, name string, value int) int {
	t.Helper()
	s := os.Getenv("NARSEAL_SWEEP_" + name)
	if s == "" {
		return value
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// sweepDelay is NARSEAL_SWEEP_DELAY.
func sweepDelay(t testing.TB, ms int) time.Duration {
	t.Helper()
	return time.Duration(sweepNumber(t, "DELAY", ms)) * time.Millisecond
}

// A sweptCache is a synthetic cache behind HTTP. Its paths are zeros but for a number, and some hold a damaged image.
type sweptCache struct {
	url     string
	mu      sync.RWMutex // of objects
	objects map[string]string
	list    string // file with the store paths
	broken  []string

	delay            time.Duration
	faults           atomic.Int64 // per mille
	infos, nars, bad atomic.Int64 // requests
}

func newSweptCache(t testing.TB, paths, broken, size int) *sweptCache {
	t.Helper()
	c := &sweptCache{objects: map[string]string{}, delay: sweepDelay(t, 0)}
	image := golden(t, "A/ents-arm64")
	image[200] ^= 1
	r := rand.New(rand.NewPCG(1, uint64(paths)))
	bases := make([]string, paths)
	for i := range bases {
		var b strings.Builder
		for range 32 {
			b.WriteByte("0123456789abcdfghijklmnpqrsvwxyz"[r.IntN(32)])
		}
		bases[i] = b.String() + "-p" + strconv.Itoa(i%1000) + "-1.0"
	}
	var next atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < paths; i = int(next.Add(1)) - 1 {
				data := make([]byte, size)
				copy(data, strconv.Itoa(i))
				dir := nartest.Dir{"data": nartest.File(data)}
				if i < broken {
					dir["image"] = nartest.Exec(image)
				}
				objects, err := cachetest.Objects(cachetest.Path{Base: bases[i], NAR: nartest.Tree(dir)})
				if err != nil {
					t.Error(err)
					return
				}
				c.add(objects)
			}
		})
	}
	workers.Wait()
	for _, base := range bases[:broken] {
		c.broken = append(c.broken, base[:32]+".narinfo")
	}
	slices.Sort(c.broken)
	c.list = filepath.Join(t.TempDir(), "store-paths")
	text := "# and one that the cache does not have\n" + strings.Repeat("z", 32) + "\n/nix/store/" + strings.Join(bases, "\n/nix/store/") + "\n"
	if err := os.WriteFile(c.list, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(c)
	t.Cleanup(s.Close)
	c.url = s.URL
	return c
}

func (c *sweptCache) add(objects map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.Copy(c.objects, objects)
}

func (c *sweptCache) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(c.delay)
	name := strings.TrimPrefix(r.URL.Path, "/")
	switch {
	case strings.HasSuffix(name, ".narinfo"):
		c.infos.Add(1)
	case strings.HasPrefix(name, "nar/"):
		c.nars.Add(1)
	}
	c.mu.RLock()
	body, ok := c.objects[name]
	c.mu.RUnlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	if rand.Int64N(1000) < c.faults.Load() {
		c.bad.Add(1)
		switch rand.IntN(4) {
		case 0:
			http.Error(w, "too many", http.StatusTooManyRequests)
		case 1:
			http.Error(w, "not now", http.StatusServiceUnavailable)
		case 2:
			panic(http.ErrAbortHandler)
		default:
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			_, _ = io.WriteString(w, body[:len(body)/2])
			panic(http.ErrAbortHandler)
		}
		return
	}
	http.ServeContent(w, r, "", time.Now().Add(-time.Hour), strings.NewReader(body))
}

// A sweep runs the scripts of docs/sweeps.
type sweep struct {
	t      testing.TB
	cache  *sweptCache
	env    []string
	state  string
	out    string
	shards int
	peak   atomic.Int64 // resident bytes of one process
	killed atomic.Int64 // processes
	cpu    atomic.Int64 // time of all processes, if this process starts them
}

func newSweep(t testing.TB, c *sweptCache, key string, shards int) *sweep {
	t.Helper()
	dir := t.TempDir()
	s := &sweep{t: t, cache: c, state: filepath.Join(dir, "state"), out: filepath.Join(dir, "overlay"), shards: shards}
	s.env = append(os.Environ(), "CACHE="+c.url, "OVERLAY="+s.out, "KEY="+key, "LIST="+c.list, "STATE="+s.state,
		"SHARDS="+strconv.Itoa(shards), "RETRY_WAIT=0.1", "TRUSTED_KEYS=none", "OPTIONS="+os.Getenv("NARSEAL_SWEEP_OPTIONS"))
	return s
}

// sweepKey is a secret key's file, and the public key.
func sweepKey(t testing.TB) (file string, public signature.PublicKey) {
	t.Helper()
	secret, public, err := signature.GenerateKeypair("sweep-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(secret.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, public
}

const sweepScripts = "../../docs/sweeps"

// run sweeps all shards by an engine: go (this process), parallel or slurm. Meanwhile it kills n processes.
func (s *sweep) run(engine string, kills int) time.Duration {
	s.t.Helper()
	scripts, err := filepath.Abs(sweepScripts)
	if err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	var watched sync.WaitGroup
	watched.Go(func() { s.watch(done, kills) })
	begin := time.Now()
	command := func(name string, args ...string) {
		cmd := exec.Command(name, args...)
		cmd.Env, cmd.Dir = s.env, filepath.Dir(s.state)
		out, err := cmd.CombinedOutput()
		if p := cmd.ProcessState; p != nil {
			s.cpu.Add(int64(p.UserTime() + p.SystemTime()))
		}
		if err != nil {
			var text strings.Builder // without the paths that are repaired
			for line := range strings.Lines(string(out)) {
				if !strings.Contains(line, "/nix/store/") || strings.Contains(line, "narseal: ") {
					text.WriteString(line)
				}
			}
			s.t.Errorf("%s %q: %v\n%s", name, args, err, text.String()[max(0, text.Len()-8000):])
		}
	}
	switch engine {
	case "parallel":
		command(filepath.Join(scripts, "parallel.sh"))
	case "slurm":
		s.env = append(s.env, "SWEEPS="+scripts)
		command("sbatch", "--wait", "--export=ALL", fmt.Sprintf("--array=0-%d%%2", s.shards-1), "--mem=0", filepath.Join(scripts, "slurm.sbatch"))
	default:
		var all sync.WaitGroup
		for i := range s.shards {
			all.Go(func() { command(filepath.Join(scripts, "shard.sh"), fmt.Sprintf("%d/%d", i, s.shards)) })
		}
		all.Wait()
	}
	took := time.Since(begin)
	close(done)
	watched.Wait()
	return took
}

// watch measures the processes of the sweep, and kills some of them.
func (s *sweep) watch(done <-chan struct{}, kills int) {
	pause := time.Duration(sweepNumber(s.t, "PAUSE", 100)) * time.Millisecond
	for next := time.Now().Add(pause); ; {
		select {
		case <-done:
			return
		case <-time.After(20 * time.Millisecond):
		}
		pids := s.processes()
		for _, pid := range pids {
			s.peak.Store(max(s.peak.Load(), residentOf(pid)))
		}
		if kills > 0 && len(pids) > 0 && time.Now().After(next) { // a shard is tried five times
			next = time.Now().Add(pause)
			if syscall.Kill(pids[rand.IntN(len(pids))], syscall.SIGKILL) == nil {
				kills--
				s.killed.Add(1)
			}
		}
	}
}

// processes are those of narseal that write a ledger of the sweep.
func (s *sweep) processes() (pids []int) {
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		line, _ := os.ReadFile("/proc/" + d.Name() + "/cmdline")
		if bytes.HasPrefix(line, []byte("narseal\x00cache\x00")) && bytes.Contains(line, []byte("\x00"+s.state+"/")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func residentOf(pid int) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, ok := strings.Cut(string(b), "VmHWM:")
	if !ok {
		return 0
	}
	kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	return kib << 10
}

// ledgers counts the lines of each path, by status.
func (s *sweep) ledgers() (paths map[string]int, statuses map[string]int) {
	s.t.Helper()
	paths, statuses = map[string]int{}, map[string]int{}
	names, err := filepath.Glob(s.state + "/ledger-*.jsonl")
	if err != nil || len(names) != s.shards {
		s.t.Fatalf("ledgers %q, %v", names, err)
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			s.t.Fatal(err)
		}
		_, err = ledger.Read(f, func(int, ledger.Work) error { return nil }, func(_ int, l *ledger.Line) error {
			if l.Status == ledger.Missing && paths[l.StorePath] > 0 {
				return nil // a run that continues one that was killed asks for it again
			}
			paths[l.StorePath]++
			statuses[l.Status]++
			return nil
		})
		f.Close()
		if err != nil {
			s.t.Errorf("%s: %v", name, err)
		}
	}
	return paths, statuses
}

// A sweep in shards whose processes are killed, from a server that fails, finishes each path once. The overlay holds what
// was broken and nothing else, and the next sweep asks for one narinfo a path. NARSEAL_SWEEP_ENGINE=parallel or slurm has
// GNU parallel or Slurm start the shards.
func TestSweep(t *testing.T) {
	for _, tool := range []string{"bash", "seq"} {
		nartest.Tool(t, tool)
	}
	engine := os.Getenv("NARSEAL_SWEEP_ENGINE")
	paths, broken := sweepNumber(t, "PATHS", 300), sweepNumber(t, "BROKEN", 7)
	shards := sweepNumber(t, "SHARDS", 3)
	c := newSweptCache(t, paths, broken, sweepNumber(t, "SIZE", 30_000))
	key, public := sweepKey(t)
	s := newSweep(t, c, key, shards)
	c.faults.Store(int64(sweepNumber(t, "FAULTS", 30)))
	took := s.run(engine, sweepNumber(t, "KILLS", 3))
	t.Logf("%d paths in %d shards: %v; %d narinfos and %d NARs asked for, of which %d failed; %d processes killed; at most %.1f MiB for a process",
		paths, shards, took.Round(time.Millisecond), c.infos.Load(), c.nars.Load(), c.bad.Load(), s.killed.Load(), float64(s.peak.Load())/(1<<20))

	lines, statuses := s.ledgers()
	for path, n := range lines {
		if n != 1 {
			t.Errorf("%s is in the ledgers %d times", path, n)
		}
	}
	if want := map[string]int{"changed": broken, "unchanged": paths - broken, "missing": 1}; !maps.Equal(statuses, want) || len(lines) != paths+1 {
		t.Errorf("the ledgers have %d paths: %v, want %v", len(lines), statuses, want)
	}
	overlay := filesOf(t, s.out)
	var infos []string
	for name := range overlay {
		if strings.HasSuffix(name, ".narinfo") {
			infos = append(infos, name)
		}
	}
	slices.Sort(infos)
	// Two of them may share a NAR: a path that was killed after its NAR was put finds it there.
	if !slices.Equal(infos, c.broken) || len(overlay) != 2*broken+3 {
		t.Errorf("the overlay has %d objects: %q", len(overlay), infos)
	}
	sum, err := binarycache.Verify(t.Context(), folder.New(s.out), binarycache.VerifyOptions{Options: binarycache.Options{TrustedKeys: []signature.PublicKey{public}}})
	if err != nil || sum.Paths[binarycache.Verified] != broken {
		t.Errorf("the overlay: %v, %v", sum, err)
	}
	if status, stdout, stderr := narseal(t, nil, "cache", "verify", s.out); status != 0 {
		t.Errorf("the signatures in the overlay: status %d\n%s%s", status, stdout, stderr)
	}
	if page := overlay["index.html"]; !strings.Contains(page, fmt.Sprintf("with %d store paths", broken)) {
		t.Errorf("the page:\n%.2000s", page)
	}

	// The next day, one path is new.
	objects, err := cachetest.Objects(cachetest.Path{Base: strings.Repeat("z", 32) + "-new", NAR: nartest.Tree(nartest.File("new"))})
	if err != nil {
		t.Fatal(err)
	}
	c.add(objects)
	c.faults.Store(0)
	c.infos.Store(0)
	c.nars.Store(0)
	took = s.run(engine, 0)
	t.Logf("the next sweep: %v; %d narinfos and %d NARs asked for", took.Round(time.Millisecond), c.infos.Load(), c.nars.Load())
	if c.infos.Load() != int64(paths+1) || c.nars.Load() != 1 {
		t.Errorf("the next sweep asked for %d narinfos and %d NARs, want %d and 1", c.infos.Load(), c.nars.Load(), paths+1)
	}
	if !maps.Equal(filesOf(t, s.out), overlay) {
		after := filesOf(t, s.out)
		delete(after, "index.html")
		delete(overlay, "index.html")
		if !maps.Equal(after, overlay) {
			t.Error("the next sweep has changed the overlay")
		}
	}
	names, _ := filepath.Glob(s.state + "/ledger-*.jsonl")
	status, stdout, stderr := narseal(t, nil, append([]string{"cache", "summary"}, names...)...)
	if want := fmt.Sprintf("%d paths, %d with invalid signatures", paths+1, broken); status != 0 || !strings.HasPrefix(stdout, want) {
		t.Errorf("summary: status %d\n%s%s, want %s", status, stdout, stderr, want)
	}
}
