package cachetest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// versitygw is the S3 server of the tests, which keeps each bucket as a directory.
const (
	versitygw        = "github.com/versity/versitygw/cmd/versitygw"
	versitygwVersion = "v1.8.0"
)

// An S3 is a server on the loopback.
type S3 struct {
	Host string // and port
	Dir  string // has a directory for each bucket
}

// The credentials of the server.
const (
	S3Key    = "test"
	S3Secret = "testsecret"
)

// NewS3 starts a server with one bucket called cache, and has the credentials in the environment. The server is built by
// the go command if it is not in the user's cache yet. With NARSEAL_TEST_S3=off the test is skipped.
func NewS3(t testing.TB) *S3 {
	t.Helper()
	program := buildS3(t)
	s := &S3{Host: freePort(t), Dir: t.TempDir()}
	if err := os.Mkdir(filepath.Join(s.Dir, "cache"), 0o777); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--port", s.Host, "--region", "us-east-1", "--quiet", "--keep-alive", "posix", s.Dir)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+S3Key, "ROOT_SECRET_ACCESS_KEY="+S3Secret)
	Start(t, cmd, s.Host)
	t.Setenv("AWS_ACCESS_KEY_ID", S3Key)
	t.Setenv("AWS_SECRET_ACCESS_KEY", S3Secret)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	return s
}

// URL is the address of a prefix in the bucket cache; "" is all of it.
func (s *S3) URL(prefix string) string {
	return fmt.Sprintf("s3://cache%s?region=us-east-1&endpoint=http://%s", prefix, s.Host)
}

// buildS3 returns the server's program.
func buildS3(t testing.TB) string {
	t.Helper()
	if os.Getenv("NARSEAL_TEST_S3") == "off" {
		t.Skip("NARSEAL_TEST_S3=off")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "narseal-test", "versitygw-"+versitygwVersion)
	program := filepath.Join(dir, "versitygw")
	if _, err := os.Stat(program); err == nil {
		return program
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	// Tests of several packages may come here at the same time: the first one that is done is taken.
	work, err := os.MkdirTemp(dir, "build")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(work)
	cmd := exec.Command("go", "install", versitygw+"@"+versitygwVersion)
	cmd.Env = append(os.Environ(), "GOBIN="+work, "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the S3 server (NARSEAL_TEST_S3=off does without): %v\n%s", err, out)
	}
	if err := os.Rename(filepath.Join(work, "versitygw"), program); err != nil {
		t.Fatal(err)
	}
	return program
}

// Start starts a server and waits until it takes connections. It ends with the test.
func Start(t testing.TB, cmd *exec.Cmd, host string) {
	t.Helper()
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	for {
		c, err := net.Dial("tcp", host)
		if err == nil {
			c.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s: %v", cmd.Path, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// freePort returns an address that nobody listens on.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
