package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"narseal/nar/binarycache/cachetest"
	"narseal/nar/nartest"
)

// Nix copies to a cache on a server, narseal repairs that, and Nix copies from it, and takes only what the right key has
// signed. Nix is the one on PATH, and those of NARSEAL_NIX.
func TestRemoteForNix(t *testing.T) {
	nartest.Tool(t, "nix")
	for i, dir := range append([]string{""}, filepath.SplitList(os.Getenv("NARSEAL_NIX"))...) {
		for _, name := range []string{"nginx", "s3"} {
			t.Run(fmt.Sprint("nix", i, name), func(t *testing.T) {
				if dir != "" {
					t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
				}
				if name == "s3" && !strings.HasPrefix(nartest.Version(t), "2.3") {
					t.Skip("Debian's Nix before 2.33, which brought its own S3, has none")
				}
				if name == "s3" {
					host := cachetest.NewS3(t)
					openBucket(t, host.Host)
					remoteForNix(t, host.URL(""), true)
					return
				}
				url, _ := cachetest.NewNginx(t)
				remoteForNix(t, url, false)
			})
		}
	}
}

// openBucket lets everybody write the bucket: Debian's Nix sends no credentials.
func openBucket(t *testing.T, host string) {
	t.Helper()
	c, err := minio.New(host, &minio.Options{Creds: credentials.NewStaticV4(cachetest.S3Key, cachetest.S3Secret, ""), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::cache","arn:aws:s3:::cache/*"]}]}`
	if err := c.SetBucketPolicy(context.Background(), "cache", policy); err != nil {
		t.Fatal(err)
	}
}

func remoteForNix(t *testing.T, url string, lists bool) {
	s := nartest.Nix(t)
	s.Env = slices.DeleteFunc(s.Env, func(kv string) bool { return strings.HasPrefix(kv, "AWS_") })
	images := "/nix/store/" + hashA + "-images"
	user := "/nix/store/" + otherHash + "-user"
	s.Run(exportOf([]closurePath{
		{path: images, tree: goldenTree(t, "A", true), refs: []string{images}},
		{path: user, tree: nartest.Dir{"to": nartest.Symlink(images)}, refs: []string{images}},
	}), "nix-store", "--import")
	sep := "?"
	if strings.Contains(url, "?") {
		sep = "&"
	}
	secret := filepath.Join(t.TempDir(), "secret")
	s.Run(nil, "nix-store", "--generate-binary-cache-key", "repair-1", secret, secret+".pub")
	public, err := os.ReadFile(secret + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSpace(string(public))
	s.Run(nil, "nix", "copy", "--to", url+sep+"compression=zstd&write-nar-listing=true", user)

	args := []string{"cache", "repair", "--secret-key-file", secret, url}
	if !lists {
		args = append(args, "--paths", "-")
	}
	status, stdout, stderr := narseal(t, []byte(images+"\n"+user+"\n"), args...)
	if status != 0 || stdout != images+"\n" {
		t.Fatalf("repair: status %d\n%s%s", status, stdout, stderr)
	}
	download := func(key string) (*nartest.Store, error) {
		to := nartest.Nix(t)
		to.Env = slices.DeleteFunc(to.Env, func(kv string) bool { return strings.HasPrefix(kv, "AWS_") })
		_, err := to.Try(nil, "nix", "copy", "--from", url, images, "--option", "require-sigs", "true", "--option", "trusted-public-keys", key)
		return to, err
	}
	if _, err := download("other-1:" + strings.SplitN(key, ":", 2)[1]); err == nil {
		t.Error("another key is taken")
	}
	to, err := download(key)
	if err != nil {
		t.Fatal(err)
	}
	to.Run(nil, "nix-store", "--verify", "--check-contents")
	if status, stdout, stderr := narseal(t, nil, "verify", to.Real(images)); status != 0 {
		t.Errorf("verify what was copied: status %d\n%s%s", status, stdout, stderr)
	}
}
