package s3store

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"

	"narseal/nar/binarycache/internal/remote"
)

// address is a parsed s3:// URL.
type address struct {
	bucket, prefix string // prefix ends with a slash or is empty
	region         string
	host           string // the endpoint's host, optionally with a port
	secure         bool
	lookup         minio.BucketLookupType
	profile        string
	storageClass   string
	multipart      bool // large objects are sent in parts
}

// ignored lists Nix's parameters that only affect Nix itself or what it writes.
var ignored = []string{
	"compression", "compression-level", "parallel-compression", "narinfo-compression", "ls-compression", "log-compression",
	"write-nar-listing", "index-debug-info", "secret-key", "secret-keys", "local-nar-cache", "buffer-size", "multipart-threshold",
	"multipart-chunk-size", "path-info-cache-size", "priority", "store", "system-features", "trusted", "want-mass-query",
}

// parse parses s3://BUCKET[/PREFIX][?…]. Its errors do not contain the URL, which may contain secrets.
func parse(s string) (*address, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "s3" {
		return nil, errors.New("want s3://BUCKET[/PREFIX][?region=…&endpoint=…&profile=…]")
	}
	if u.User != nil {
		return nil, errors.New("credentials do not belong in the URL: see ?profile=, AWS_PROFILE and AWS_ACCESS_KEY_ID")
	}
	if u.Host == "" || u.Port() != "" {
		return nil, errors.New("want s3://BUCKET[/PREFIX]; a server is named by ?endpoint=")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("the parameters after ? are not of the form name=value&…")
	}
	a := &address{bucket: u.Host, prefix: strings.Trim(u.Path, "/"), region: "us-east-1", secure: true, multipart: true}
	if a.prefix != "" {
		a.prefix += "/"
	}
	scheme, endpoint := "", ""
	for name, values := range q {
		value := values[len(values)-1]
		switch name {
		case "region":
			if a.region = value; value == "" {
				err = errors.New("region: it is empty")
			} else if strings.Trim(value, regionLetters) != "" {
				err = fmt.Errorf("region %q: want a name such as eu-west-1", remote.Clip(value))
			}
		case "profile":
			a.profile = value
		case "storage-class":
			a.storageClass = value
		case "scheme":
			scheme = value
		case "endpoint":
			endpoint = value
		case "multipart-upload":
			a.multipart = value != "false" && value != "0"
		case "addressing-style":
			err = a.setLookup(value)
		default:
			if !slices.Contains(ignored, name) {
				err = fmt.Errorf("unknown parameter %s: there are region, endpoint, profile, addressing-style, scheme, storage-class and multipart-upload", remote.Clip(name))
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return a, a.setEndpoint(scheme, endpoint)
}

func (a *address) setLookup(style string) error {
	switch style {
	case "auto":
		a.lookup = minio.BucketLookupAuto
	case "path":
		a.lookup = minio.BucketLookupPath
	case "virtual":
		a.lookup = minio.BucketLookupDNS
	default:
		return fmt.Errorf("addressing-style: got %q, want auto, path or virtual", remote.Clip(style))
	}
	return nil
}

// setEndpoint sets the endpoint: a host, or a URL with its own scheme.
func (a *address) setEndpoint(scheme, endpoint string) error {
	if strings.Contains(endpoint, "://") {
		u, err := url.Parse(endpoint)
		if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
			return errors.New("endpoint: want HOST[:PORT] or https://HOST[:PORT]")
		}
		scheme, endpoint = u.Scheme, u.Host
	}
	switch scheme {
	case "", "https":
	case "http":
		a.secure = false
	default:
		return errors.New("scheme: want https or http")
	}
	if strings.ContainsAny(endpoint, "/@?# ") {
		return errors.New("endpoint: want HOST[:PORT] or https://HOST[:PORT]")
	}
	if a.host = strings.ToLower(endpoint); a.host == "" {
		a.host = amazon
	}
	return nil
}

// amazon is the default endpoint.
const amazon = "s3.amazonaws.com"

// url returns the URL with only the parameters that locate the cache.
func (a *address) url() string {
	s := "s3://" + a.bucket
	if a.prefix != "" {
		s += "/" + strings.TrimSuffix(a.prefix, "/")
	}
	q := url.Values{}
	if a.host != amazon {
		scheme := "https://"
		if !a.secure {
			scheme = "http://"
		}
		q.Set("endpoint", scheme+a.host)
	}
	if len(q) == 0 {
		return s
	}
	text, _ := url.QueryUnescape(q.Encode()) // for display
	return s + "?" + text
}

// regionLetters are the characters of regions. A region is in a header, and a URL that was put together wrongly, as
// s3://b/DIR?region=R/NAME, must not look right.
const regionLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
