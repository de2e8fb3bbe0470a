package s3store

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/internal/remote"
)

// A bucket sends requests. It is the Backend of the store.
type bucket struct {
	*address
	core      *minio.Core
	transport *remote.Transport
	ahead     atomic.Int64 // see limiter
}

// URL returns the name of an object for messages.
func (b *bucket) URL(name string) string {
	if name == "" {
		return b.url()
	}
	return "s3://" + b.bucket + "/" + b.prefix + name
}

func (b *bucket) key(name string) string { return b.prefix + name }

// Names of attributes.
const (
	contentType     = "Content-Type"
	contentEncoding = "Content-Encoding"
	cacheControl    = "Cache-Control"
	storageClass    = "X-Amz-Storage-Class"
)

func (b *bucket) attributesOf(h http.Header) map[string]string {
	m := map[string]string{}
	for _, name := range []string{contentType, contentEncoding, cacheControl, storageClass} {
		v := h.Get(name)
		if name == contentEncoding {
			// Some servers also store the encoding of the upload.
			v = strings.Trim(strings.ReplaceAll(v, "aws-chunked", ""), ", ")
		}
		if name == storageClass && isArchive(v) {
			continue // objects in archives cannot be read without waiting for hours
		}
		if b.transport.TakesAttribute(v) {
			m[name] = v
		}
	}
	return m
}

// Get reads an object.
func (b *bucket) Get(ctx context.Context, name string, from int64, before *remote.Answer) (*remote.Answer, error) {
	var o minio.GetObjectOptions
	if before != nil {
		if err := o.SetMatchETag(string(before.Version)); err != nil {
			return nil, &remote.Error{Text: "the server sends no ETag"}
		}
		if from > 0 {
			o.Set("Range", fmt.Sprintf("bytes=%d-", from))
		}
	}
	body, info, header, err := b.core.GetObject(ctx, b.bucket, b.key(name), o)
	if err != nil {
		return nil, b.explain(err)
	}
	a := &remote.Answer{Body: body, Object: binarycache.Object{
		Name: name, Size: info.Size, ModTime: info.LastModified.Truncate(time.Second),
		Version: binarycache.Version(info.ETag), Attributes: b.attributesOf(header),
	}}
	if header.Get("Content-Range") != "" {
		var first, last int64
		text := header.Get("Content-Range")
		if n, err := fmt.Sscanf(text, "bytes %d-%d/%d", &first, &last, &a.Size); n != 3 || err != nil || first != from || last != a.Size-1 {
			body.Close()
			return nil, &remote.Error{Text: fmt.Sprintf("Content-Range: got %q, want all from %d on", b.said(text), from)}
		}
		a.From = from
	}
	if before != nil && (a.Version != before.Version || a.Size != before.Size) {
		body.Close()
		return nil, &remote.Error{Status: http.StatusPreconditionFailed, Text: "the object has changed"}
	}
	return a, nil
}

// Head describes an object.
func (b *bucket) Head(ctx context.Context, name string) (binarycache.Object, error) {
	info, err := b.core.StatObject(ctx, b.bucket, b.key(name), minio.StatObjectOptions{})
	if err != nil {
		return binarycache.Object{}, b.explain(err)
	}
	h := info.Metadata.Clone()
	return binarycache.Object{Name: name, Size: info.Size, ModTime: info.LastModified.Truncate(time.Second),
		Version: binarycache.Version(info.ETag), Attributes: b.attributesOf(h)}, nil
}

// Sizes of uploads, in bytes.
const (
	maxSingle  = 100 << 20 // maximum of an upload in one request
	partSize   = 16 << 20
	maxParts   = 10_000
	maxRequest = 5 << 30 // S3's limit for one request
)

// classOf returns the storage class for writing an object. An object that is replaced keeps its class. For a new one,
// whose attributes may come from another cache, the class in the URL takes precedence. Objects never go to an archive
// class, where they could not be read.
func (b *bucket) classOf(o binarycache.Object, c binarycache.Condition) string {
	class := o.Attributes[storageClass]
	if isArchive(class) {
		class = ""
	}
	if !c.New {
		return cmp.Or(class, b.storageClass)
	}
	if !slices.Contains(usualClasses, class) { // another server may not know the class and refuse the object
		class = ""
	}
	return cmp.Or(b.storageClass, class)
}

// usualClasses lists the storage classes of objects that can be read immediately.
var usualClasses = []string{"STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"}

func isArchive(class string) bool {
	return strings.EqualFold(class, "GLACIER") || strings.EqualFold(class, "DEEP_ARCHIVE")
}

// Put writes an object.
func (b *bucket) Put(ctx context.Context, o binarycache.Object, c *remote.Content, cond binarycache.Condition) (binarycache.Version, error) {
	opts := minio.PutObjectOptions{
		ContentType: o.Attributes[contentType], ContentEncoding: o.Attributes[contentEncoding],
		CacheControl: o.Attributes[cacheControl], StorageClass: b.classOf(o, cond),
		DisableContentSha256: true, // the hash is known, so the body is not sent in signed chunks
	}
	if cond.New {
		opts.SetMatchETagExcept("*")
	}
	if cond.Version != "" {
		opts.SetMatchETag(string(cond.Version))
	}
	if c.Size > maxSingle && b.multipart {
		return b.putParts(ctx, o.Name, c, opts)
	}
	body, err := c.Reader()
	if err != nil {
		return "", err
	}
	info, err := b.core.PutObject(ctx, b.bucket, b.key(o.Name), body, c.Size, "", hex.EncodeToString(c.Hash[:]), opts)
	if err != nil {
		return "", b.explain(err)
	}
	return b.confirm(ctx, o.Name, c, info.ETag)
}

// putParts writes a large object in parts. The object appears when all parts are complete.
func (b *bucket) putParts(ctx context.Context, name string, c *remote.Content, opts minio.PutObjectOptions) (v binarycache.Version, err error) {
	begin := opts
	if opts.Header().Get("If-Match") != "" || opts.Header().Get("If-None-Match") != "" {
		// The condition is sent only when the upload is completed.
		begin = minio.PutObjectOptions{ContentType: opts.ContentType, ContentEncoding: opts.ContentEncoding,
			CacheControl: opts.CacheControl, StorageClass: opts.StorageClass}
	}
	id, err := b.core.NewMultipartUpload(ctx, b.bucket, b.key(name), begin)
	if err != nil {
		return "", b.explain(err)
	}
	defer func() {
		if err != nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
			_ = b.core.AbortMultipartUpload(ctx, b.bucket, b.key(name), id)
		}
	}()
	var parts []minio.CompletePart
	size := max(partSize, (c.Size+maxParts-1)/maxParts)
	err = c.Parts(ctx, size, func(number int, part *remote.Content) error {
		return b.transport.Retry(ctx, func() error {
			body, err := part.Reader()
			if err != nil {
				return err
			}
			done, err := b.core.PutObjectPart(ctx, b.bucket, b.key(name), id, number, body, part.Size,
				minio.PutObjectPartOptions{Sha256Hex: hex.EncodeToString(part.Hash[:]), DisableContentSha256: true})
			if err != nil {
				return b.explain(err)
			}
			parts = append(parts, minio.CompletePart{PartNumber: number, ETag: done.ETag})
			return nil
		})
	})
	if err != nil {
		return "", err
	}
	end := minio.PutObjectOptions{}
	if v := opts.Header().Get("If-Match"); v != "" {
		end.SetMatchETag(strings.Trim(v, `"`))
	}
	if opts.Header().Get("If-None-Match") != "" {
		end.SetMatchETagExcept("*")
	}
	info, err := b.core.CompleteMultipartUpload(ctx, b.bucket, b.key(name), id, parts, end)
	if err != nil {
		return "", b.explain(err)
	}
	return b.confirm(ctx, name, c, info.ETag)
}

// Delete deletes an object. S3 does not report whether the object existed.
func (b *bucket) Delete(ctx context.Context, name string, _ binarycache.Condition) error {
	if err := b.core.RemoveObject(ctx, b.bucket, b.key(name), minio.RemoveObjectOptions{}); err != nil {
		return b.explain(err)
	}
	return nil
}

// list gets one page of a listing. The library accepts no context for this request. If ctx ends first, the request
// continues in the background until it completes or times out.
func (b *bucket) list(ctx context.Context, prefix, token string) (minio.ListBucketV2Result, error) {
	type result struct {
		page minio.ListBucketV2Result
		err  error
	}
	done := make(chan result, 1)
	go func() {
		page, err := b.core.ListObjectsV2(b.bucket, prefix, "", token, "/", pageSize)
		done <- result{page, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return r.page, b.explain(r.err)
		}
		return r.page, nil
	case <-ctx.Done():
		return minio.ListBucketV2Result{}, ctx.Err()
	}
}

// explain converts an error of the library to a remote.Error with an explanation.
func (b *bucket) explain(err error) error {
	var response minio.ErrorResponse
	var none *credentialError
	var syntax *xml.SyntaxError
	var bad *pageError
	switch {
	case errors.As(err, &none):
		return &remote.Error{Err: none, Denied: true}
	case errors.As(err, &bad):
		return &remote.Error{Err: bad, Again: true, Malformed: true,
			Advice: "does a server that speaks S3 answer at " + b.host + ", or a proxy or a login page?"}
	case errors.Is(err, errLong):
		var u *url.Error
		for errors.As(err, &u) {
			err = u.Err
		}
		return &remote.Error{Err: err}
	case errors.As(err, &syntax), err == io.EOF: // the response is complete, but its XML is not
		return &remote.Error{Err: errors.New("an answer that is not XML: " + b.said(err.Error())), Again: true, Malformed: true}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &remote.Error{Err: fmt.Errorf("an incomplete answer: %w", err), Again: true}
	case !errors.As(err, &response):
		return remote.Network(err)
	}
	if response.StatusCode == 0 {
		// The library could not read the response. It reports that with a code of S3.
		return &remote.Error{Text: b.said(response.Message), Again: true, Malformed: true}
	}
	e := &remote.Error{Status: response.StatusCode, Code: b.said(response.Code), Text: b.said(response.Message)}
	b.classify(e, response.Region)
	return e
}

// maxSkew is the maximum difference between the clocks of client and server, a little less than S3 allows.
const maxSkew = 14 * time.Minute

// clockAhead returns by how much the server's clock was ahead when it last refused a request, or 0 if the difference
// was not too large.
func (b *bucket) clockAhead() time.Duration {
	ahead := time.Duration(b.ahead.Load()) * time.Second
	if ahead.Abs() < maxSkew {
		return 0
	}
	return ahead
}

const clockAdvice = "set the clock of this machine, or synchronize it over the network (NTP)"

func clockText(ahead time.Duration) string {
	switch {
	case ahead > 0:
		return fmt.Sprintf("the clock of this machine is %s behind that of the server", ahead.Round(time.Minute))
	case ahead < 0:
		return fmt.Sprintf("the clock of this machine is %s ahead of that of the server", -ahead.Round(time.Minute))
	}
	return "the clocks of this machine and of the server differ by too much"
}

// said makes text from the server fit for a message.
func (b *bucket) said(s string) string { return remote.Clip(b.transport.Hide(s)) }

// classify explains an error of the server by its code.
func (b *bucket) classify(e *remote.Error, region string) {
	switch e.Code {
	case "NoSuchKey", "NotFound":
		e.Absent = true
	case "PreconditionFailed":
		e.Status = http.StatusPreconditionFailed
	case "NoSuchBucket":
		e.Text, e.Advice = fmt.Sprintf("there is no bucket %s at %s", b.bucket, b.host), "are the bucket, ?endpoint= and ?region= right?"
	case "AccessDenied", "Forbidden":
		if ahead := b.clockAhead(); ahead != 0 { // a response to HEAD has no code
			e.Denied, e.Text, e.Advice = true, clockText(ahead), clockAdvice
			return
		}
		// Without the right to list a bucket, this is also the response for a missing object.
		e.Denied, e.Absent = true, true
		e.Advice = "the credentials (?profile=, AWS_PROFILE, AWS_ACCESS_KEY_ID) lack the right, or there are none: reading needs s3:GetObject, " +
			"listing s3:ListBucket, writing s3:PutObject and s3:DeleteObject"
	case "InvalidAccessKeyId", "XAdminUserNotFound": // the latter is versitygw's, with 404
		e.Denied, e.Text, e.Advice = true, "the server does not know this access key", "is AWS_ACCESS_KEY_ID, or the key of the profile, one of this server?"
	case "SignatureDoesNotMatch":
		e.Denied, e.Text, e.Advice = true, "the signature does not match", "is AWS_SECRET_ACCESS_KEY, or the secret of the profile, right?"
	case "ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired":
		e.Denied, e.Advice = true, "the session's credentials have expired or are wrong: get new ones, for example with aws sso login"
	case "RequestTimeTooSkewed", "RequestExpired":
		e.Denied, e.Text, e.Advice = true, clockText(b.clockAhead()), clockAdvice
	case "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "InvalidRegion":
		e.Text, e.Advice = "the bucket is in another region", "name the bucket's region with ?region="
		if region != "" && region != b.region {
			e.Text = "the bucket is in the region " + b.said(region)
			e.Advice = "?region=" + b.said(region)
		}
	case "InternalError", "SlowDown", "ServiceUnavailable", "RequestTimeout", "OperationAborted", "ConditionalRequestConflict",
		"BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody", "Throttling", "ThrottlingException":
		e.Again = true
	}
	switch {
	case e.Status == http.StatusMovedPermanently && e.Advice == "":
		e.Advice = "name the bucket's region with ?region="
	case e.Status == http.StatusProxyAuthRequired:
		e.Denied, e.Advice = true, remote.ProxyAdvice
	}
}
