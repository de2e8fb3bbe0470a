// Package s3store accesses a binary cache in a bucket of S3, or of a server with the same protocol, as Nix does for
// s3://BUCKET. No other package imports the client library, minio-go.
package s3store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/internal/remote"
)

// Options are the settings of a store.
type Options struct {
	// Program and Release are the program's name and version in the User-Agent header.
	Program, Release string
}

// A Store is a [binarycache.Store] in a bucket. The version of an object is its ETag.
//
// Before the first Put with a condition, the Store writes a test object, and deletes it again, to find out whether the
// server checks If-Match and If-None-Match. If it does not, the Store checks conditions right before each change, and
// Warnings says so. For Delete, the version is always checked right before.
//
// An object of more than 100 MiB is sent in parts. If the program is killed during the upload, the parts stay on the
// server. A lifecycle rule AbortIncompleteMultipartUpload of the bucket removes them.
type Store struct {
	*remote.Store
	bucket *bucket
	creds  *credentials.Credentials
}

// New returns the store at an s3:// URL with Nix's parameters. It sends no request and does not look for credentials.
func New(address string, o Options) (*Store, error) {
	a, err := parse(address)
	if err != nil {
		return nil, err
	}
	t, err := remote.NewTransport("AWS_CA_BUNDLE", "NIX_SSL_CERT_FILE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
	if err != nil {
		return nil, err
	}
	creds := credentials.New(&provider{profile: a.profile, transport: t, client: newCredentialClient(t)})
	b := &bucket{address: a, transport: t}
	core, err := minio.NewCore(a.host, &minio.Options{
		Creds: creds, Secure: a.secure, Transport: limiter{t, &b.ahead}, Region: a.region, BucketLookup: a.lookup, MaxRetries: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	core.SetS3EnableDualstack(false) // Nix uses the plain endpoints, and firewalls know them
	core.SetAppInfo(o.Program, o.Release)
	b.core = core
	return &Store{remote.NewStore(b, t), b, creds}, nil
}

// URL returns the URL of the cache, with only the parameters that locate it.
func (s *Store) URL() string { return s.bucket.url() }

// Connect finds the credentials. If it is not called, the first request finds them.
func (s *Store) Connect(ctx context.Context) error {
	_, err := s.creds.GetWithContext(&credentials.CredContext{Context: ctx})
	return err
}

// Files returns the names of files from which credentials may be read again when they expire. Some may be empty.
func (s *Store) Files() []string { return credentialFiles() }

// Limits of listings.
const (
	pageSize  = 1000
	maxEmpty  = 1000 // maximum number of pages in a row without an object
	dirMarker = "/"
)

// List iterates over the objects of a directory, page by page.
func (s *Store) List(ctx context.Context, dir string) iter.Seq2[binarycache.Object, error] {
	return func(yield func(binarycache.Object, error) bool) {
		fail := func(err error) { yield(binarycache.Object{}, s.bucket.transport.Fail("list", s.bucket.URL(dir), err)) }
		prefix := s.bucket.prefix
		if dir != "" {
			if err := remote.CheckName("list", dir); err != nil {
				yield(binarycache.Object{}, err)
				return
			}
			prefix += dir + "/"
		}
		var (
			token string
			keys  ascent
			empty int
		)
		for {
			page, err := s.page(ctx, prefix, token)
			if errors.Is(err, fs.ErrPermission) {
				err = fmt.Errorf("%w (%w)", err, errors.ErrUnsupported)
			}
			if err == nil {
				err = keys.next(page.Contents)
			}
			if err != nil {
				fail(err)
				return
			}
			empty++
			for i := range page.Contents {
				if o, ok := listed(&page.Contents[i], s.bucket.prefix, prefix); ok {
					empty = 0
					if !yield(o, nil) {
						return
					}
				}
			}
			switch next := page.NextContinuationToken; {
			case !page.IsTruncated:
				return
			case next == "" || next == token || empty > maxEmpty:
				fail(errCircle)
				return
			default:
				token = next
			}
		}
	}
}

// leftOver is the age from which a probe is no longer needed by its run.
const leftOver = time.Hour

// Clean deletes the test objects that killed runs left behind, wherever a run may put them.
func (s *Store) Clean(ctx context.Context) error {
	for _, dir := range []string{"", "nar/", "log/", "realisations/", "debuginfo/"} {
		if err := s.clean(ctx, s.bucket.prefix+dir); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) clean(ctx context.Context, dir string) error {
	page, err := s.page(ctx, dir+remote.ProbePrefix, "")
	if errors.Is(err, fs.ErrPermission) {
		return nil // the objects are harmless
	}
	if err != nil {
		return s.bucket.transport.Fail("clean", s.bucket.URL(""), err)
	}
	for i := range page.Contents {
		o, ok := listed(&page.Contents[i], s.bucket.prefix, dir)
		if !ok || !remote.IsProbe(path.Base(o.Name)) || time.Since(o.ModTime) < leftOver { // a server may ignore the prefix
			continue
		}
		if err := s.Delete(ctx, o.Name, binarycache.Condition{}); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

// page gets one page of a listing.
func (s *Store) page(ctx context.Context, prefix, token string) (page minio.ListBucketV2Result, err error) {
	err = s.bucket.transport.Retry(ctx, func() error {
		page, err = s.bucket.list(ctx, prefix, token)
		return err
	})
	return page, err
}

// listed returns the object of an entry in the listing of a directory.
func listed(e *minio.ObjectInfo, root, prefix string) (o binarycache.Object, ok bool) {
	rest, ok := strings.CutPrefix(e.Key, prefix)
	name := strings.TrimPrefix(e.Key, root)
	if !ok || rest == "" || path.Base(rest) != rest || remote.CheckName("list", name) != nil {
		return o, false // a directory, or not an object of a cache
	}
	return binarycache.Object{Name: name, Size: e.Size, ModTime: e.LastModified.Truncate(time.Second),
		Version: binarycache.Version(strings.Trim(e.ETag, `"`))}, true
}
