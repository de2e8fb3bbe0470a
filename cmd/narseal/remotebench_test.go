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
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"narseal/nar/binarycache/cachetest"
	"narseal/nar/compression"
	"narseal/nar/nartest"
)

// BenchmarkRemoteMany verifies a cache of many tiny paths, and compares with the mere reading of the same objects by as
// many connections. NARSEAL_REMOTE_PATHS is how many paths; the figures of docs/performance.md are of 100,000:
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
	const jobs = 16
	for _, name := range []string{"nginx", "s3"} {
		b.Run(name, func(b *testing.B) {
			var url, dir string
			var get func(name string) (io.ReadCloser, error)
			var list func() error // a first page of a listing
			if name == "s3" {
				s := cachetest.NewS3(b)
				url, dir = s.URL(""), filepath.Join(s.Dir, "cache")
				c, err := minio.NewCore(s.Host, &minio.Options{Creds: credentials.NewStaticV4(cachetest.S3Key, cachetest.S3Secret, ""), Region: "us-east-1"})
				if err != nil {
					b.Fatal(err)
				}
				list = func() error {
					_, err := c.ListObjectsV2("cache", "", "", "", "/", 1000)
					return err
				}
				get = func(name string) (io.ReadCloser, error) {
					r, _, _, err := c.GetObject(b.Context(), "cache", name, minio.GetObjectOptions{})
					return r, err
				}
			} else {
				url, dir = cachetest.NewNginx(b)
				client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: jobs}}
				get = func(name string) (io.ReadCloser, error) {
					resp, err := client.Get(url + "/" + name)
					if err != nil {
						return nil, err
					}
					return resp.Body, nil
				}
			}
			infos, nars := writeMany(b, dir, paths)
			for b.Loop() {
				// The best of three turns each: other programs' work only ever adds.
				raw, whole, first := time.Hour, time.Hour, time.Hour
				var peak int64
				page := time.Hour
				for range 3 {
					if start := time.Now(); list != nil {
						if err := list(); err != nil {
							b.Fatal(err)
						}
						page = min(page, time.Since(start))
					}
					raw = min(raw, readMany(b, get, infos, nars, jobs))
					w, f, p := verifyMany(b, url, infos, jobs)
					whole, first, peak = min(whole, w), min(first, f), max(peak, p)
				}
				b.ReportMetric(float64(paths)/whole.Seconds(), "paths/s")
				b.ReportMetric(float64(paths)/raw.Seconds(), "rawpaths/s")
				b.ReportMetric(raw.Seconds()/whole.Seconds(), "ratio")
				b.ReportMetric(first.Seconds(), "s-to-first")
				if list != nil {
					b.ReportMetric(page.Seconds(), "s-to-rawlist")
				}
				b.ReportMetric(float64(peak)/(1<<20), "MiB-peak")
			}
		})
	}
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

// readMany reads the objects of each path, one after the other, by so many goroutines.
func readMany(b *testing.B, get func(string) (io.ReadCloser, error), infos, nars []string, jobs int) time.Duration {
	start := time.Now()
	next := make(chan int, jobs)
	var wg sync.WaitGroup
	for range jobs {
		wg.Go(func() {
			for i := range next {
				for _, name := range []string{infos[i], nars[i]} {
					r, err := get(name)
					if err == nil {
						_, err = io.Copy(io.Discard, r)
						r.Close()
					}
					if err != nil {
						b.Error(err)
					}
				}
			}
		})
	}
	for i := range infos {
		next <- i
	}
	close(next)
	wg.Wait()
	return time.Since(start)
}

// verifyMany runs cache verify, and says how long it took, when the first result came, and the peak of its memory.
func verifyMany(b *testing.B, url string, infos []string, jobs int) (whole, first time.Duration, peak int64) {
	binary, err := plainBinary()
	if err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(b.TempDir(), "peak")
	args := []string{file, binary, "cache", "verify", "-j", fmt.Sprint(jobs), "--all", "--format", "json", url}
	cmd := exec.Command("peak", args...)
	if strings.HasPrefix(url, "http") {
		cmd.Args = append(cmd.Args, "--path", "-")
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
			first = time.Since(start)
		}
	}
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
	whole = time.Since(start)
	if want := (len(infos) + 99) / 100; n < want {
		b.Errorf("%d lines, want %d", n, want)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	if peak, err = strconv.ParseInt(string(text), 10, 64); err != nil {
		b.Fatal(err)
	}
	return whole, first, peak
}
