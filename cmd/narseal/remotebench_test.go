package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"narseal/nar/binarycache/cachetest"
	"narseal/nar/compression"
	"narseal/nar/nartest"
)

// BenchmarkRemoteMany verifies a cache of many tiny paths, and compares with the mere reading of the same objects by as
// many connections. Where narseal lists the cache (s3), the reader does, too, and reads what is listed meanwhile; else both
// have a list. NARSEAL_REMOTE_PATHS is how many paths:
//
//	NARSEAL_REMOTE_PATHS=100000 go test ./cmd/narseal -run '^$' -bench RemoteMany -benchtime 1x -timeout 1h
func BenchmarkRemoteMany(b *testing.B) {
	paths := 2000
	if s := os.Getenv("NARSEAL_REMOTE_PATHS"); s != "" {
		var err error
		if paths, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("nginx", func(b *testing.B) {
		url, dir := cachetest.NewNginx(b)
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: manyJobs}}
		get := func(name string) (io.ReadCloser, error) {
			resp, err := client.Get(url + "/" + name)
			if err != nil {
				return nil, err
			}
			return resp.Body, nil
		}
		infos, nars := writeMany(b, dir, paths)
		compareMany(b, url, infos, nars, get, nil)
	})
	b.Run("s3", func(b *testing.B) {
		s := cachetest.NewS3(b)
		c, err := minio.NewCore(s.Host, &minio.Options{Creds: credentials.NewStaticV4(cachetest.S3Key, cachetest.S3Secret, ""), Region: "us-east-1"})
		if err != nil {
			b.Fatal(err)
		}
		get := func(name string) (io.ReadCloser, error) {
			r, _, _, err := c.GetObject(b.Context(), "cache", name, minio.GetObjectOptions{})
			return r, err
		}
		list := func(found func(name string)) error {
			token := ""
			for {
				page, err := c.ListObjectsV2("cache", "", "", token, "/", 1000)
				if err != nil {
					return err
				}
				for _, o := range page.Contents {
					found(o.Key)
				}
				if !page.IsTruncated {
					return nil
				}
				token = page.NextContinuationToken
			}
		}
		infos, nars := writeMany(b, filepath.Join(s.Dir, "cache"), paths)
		b.Run("listed", func(b *testing.B) { compareMany(b, s.URL(""), infos, nars, get, list) })
		b.Run("paths", func(b *testing.B) { compareMany(b, s.URL(""), infos, nars, get, nil) })
	})
}

// manyJobs is how many paths are read at a time.
const manyJobs = 16

// compareMany takes the best of three turns each: other programs' work only ever adds. list may be nil.
func compareMany(b *testing.B, url string, infos, nars []string, get func(string) (io.ReadCloser, error), list func(found func(string)) error) {
	for b.Loop() {
		raw, program := manyCost{wall: time.Hour, cpu: time.Hour}, manyCost{wall: time.Hour, cpu: time.Hour, first: time.Hour}
		for range 3 {
			raw.best(readMany(b, get, list, infos, nars))
			program.best(verifyMany(b, url, infos, list == nil))
		}
		paths := float64(len(infos))
		b.ReportMetric(paths/program.wall.Seconds(), "paths/s")
		b.ReportMetric(paths/raw.wall.Seconds(), "rawpaths/s")
		b.ReportMetric(raw.wall.Seconds()/program.wall.Seconds(), "ratio")
		b.ReportMetric(program.cpu.Seconds()*1e6/paths, "cpu-µs/path")
		b.ReportMetric(raw.cpu.Seconds()*1e6/paths, "rawcpu-µs/path")
		b.ReportMetric(program.first.Seconds(), "s-to-first")
		b.ReportMetric(float64(program.peak)/(1<<20), "MiB-peak")
	}
}

// manyCost is what a turn takes.
type manyCost struct {
	wall, cpu time.Duration
	first     time.Duration // until the first result
	peak      int64         // bytes of memory
}

func (c *manyCost) best(turn manyCost) {
	c.wall, c.cpu, c.first = min(c.wall, turn.wall), min(c.cpu, turn.cpu), min(c.first, turn.first)
	c.peak = max(c.peak, turn.peak)
}

// writeMany writes a cache of tiny paths. Each holds a small signed image.
func writeMany(b *testing.B, dir string, n int) (infos, nars []string) {
	image, err := os.ReadFile("../../testdata/macho/goldens/A/ents-arm64")
	if err != nil {
		b.Fatal(err)
	}
	for i := range n {
		base := fmt.Sprintf("%s%08d-p", strings.Repeat("0", 24), i)
		tree := nartest.Dir{"text": nartest.File(base)}
		if i%100 == 0 {
			tree["image"] = nartest.Exec(image)
		}
		p := cachetest.Path{Base: base, NAR: nartest.Tree(tree), Compression: compression.Zstd}
		objects, err := cachetest.Objects(p)
		if err != nil {
			b.Fatal(err)
		}
		if err := cachetest.Write(dir, p); err != nil {
			b.Fatal(err)
		}
		infos = append(infos, base[:32]+".narinfo")
		for name := range objects {
			if strings.HasPrefix(name, "nar/") {
				nars = append(nars, name)
			}
		}
	}
	return infos, nars
}

// readMany reads the objects of each path, one after the other, by manyJobs goroutines.
func readMany(b *testing.B, get func(string) (io.ReadCloser, error), list func(found func(string)) error, infos, nars []string) manyCost {
	narOf := make(map[string]string, len(infos))
	for i, name := range infos {
		narOf[name] = nars[i]
	}
	before, start := cpuTime(b), time.Now()
	names := make(chan string, 1<<16)
	var done atomic.Int64
	var wg sync.WaitGroup
	for range manyJobs {
		wg.Go(func() {
			for info := range names {
				for _, name := range []string{info, narOf[info]} {
					r, err := get(name)
					if err == nil {
						_, err = io.Copy(io.Discard, r)
						r.Close()
					}
					if err != nil {
						b.Error(err)
					}
				}
				done.Add(1)
			}
		})
	}
	found := func(name string) {
		if narOf[name] != "" { // not nix-cache-info
			names <- name
		}
	}
	if list == nil {
		for _, name := range infos {
			found(name)
		}
	} else if err := list(found); err != nil {
		b.Error(err)
	}
	close(names)
	wg.Wait()
	if done.Load() != int64(len(infos)) {
		b.Errorf("read %d paths, want %d", done.Load(), len(infos))
	}
	return manyCost{wall: time.Since(start), cpu: cpuTime(b) - before}
}

// cpuTime is what this process has used so far.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// verifyMany runs cache verify, of the whole cache or of a list of paths.
func verifyMany(b *testing.B, url string, infos []string, paths bool) (c manyCost) {
	binary, err := plainBinary()
	if err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(b.TempDir(), "peak")
	args := []string{file, binary, "cache", "verify", "-j", fmt.Sprint(manyJobs), "--all", "--format", "json", url}
	cmd := exec.Command("peak", args...)
	if paths {
		cmd.Args = append(cmd.Args, "--paths", "-")
		var list strings.Builder
		for _, name := range infos {
			list.WriteString(name[:32] + "\n")
		}
		cmd.Stdin = strings.NewReader(list.String())
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	n := 0
	for lines.Scan() {
		if n++; n == 1 {
			c.first = time.Since(start)
		}
	}
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
	c.wall = time.Since(start)
	c.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if want := (len(infos) + 99) / 100; n < want {
		b.Errorf("%d lines, want %d", n, want)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	if c.peak, err = strconv.ParseInt(string(text), 10, 64); err != nil {
		b.Fatal(err)
	}
	return c
}
