package s3store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/minio/minio-go/v7"

	"narseal/nar/binarycache/internal/remote"
)

// Limits for a page of a listing. An entry has up to ten elements, such as its owner and checksum.
const (
	maxTags    = 64 * pageSize // start tags and end tags
	maxTag     = 4 << 10       // bytes of a tag, with its attributes
	maxEntries = pageSize
)

// A pageError is the error of a malformed response, such as one that is not a page of a listing.
type pageError struct{ text string }

func (e *pageError) Error() string { return e.text }

// checkPage checks the response to a request for a page before the library parses it. The library accepts any XML as an
// empty page, and allocates far more memory for some elements than they have bytes. If an error has status 200, as S3
// is known to send, checkPage changes the status.
func checkPage(resp *http.Response) error {
	defer resp.Body.Close()
	b, err := readAll(resp, maxPage)
	if err != nil {
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	root, err := checkTags(b)
	switch {
	case err != nil:
		return err
	case root == "Error":
		resp.StatusCode = http.StatusBadRequest // the code in the body identifies the error
		return nil
	case root != "ListBucketResult":
		return &pageError{"an answer that is not a listing"}
	}
	return nil
}

// readAll reads a response, which must be short and must arrive soon.
func readAll(resp *http.Response, limit int64) (b []byte, err error) {
	err = remote.Soon(resp.Body, func() error {
		b, err = io.ReadAll(&limited{resp.Body, limit})
		return err
	})
	return b, err
}

// checkAnswer checks any other response that the library reads as a whole: an error, or the response to a write. It
// accepts text that is not XML, which the library either does not parse or rejects.
func checkAnswer(resp *http.Response) error {
	if resp.Body == nil || resp.Body == http.NoBody || resp.ContentLength == 0 {
		return nil
	}
	defer resp.Body.Close()
	b, err := readAll(resp, maxAnswer)
	if err != nil {
		return err
	}
	if _, err := checkTags(b); errors.Is(err, errLong) {
		return err
	}
	if resp.Request.Method == http.MethodPut && resp.StatusCode == http.StatusOK && len(bytes.TrimSpace(b)) > 0 {
		return &pageError{"an answer to PUT that is not of S3, which sends no text with it"}
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	return nil
}

// checkTags checks the limits for the tags of a document, and returns the name of its root element.
func checkTags(b []byte) (root string, err error) {
	var tags, entries, depth int
	ended := false
	for {
		at := bytes.IndexByte(b, '<')
		if at < 0 {
			at = len(b)
		}
		if depth == 0 && len(bytes.TrimSpace(bytes.TrimPrefix(b[:at], []byte("\ufeff")))) > 0 {
			return "", &pageError{"an answer that is not XML"}
		}
		if b = b[at:]; len(b) == 0 {
			break
		}
		end := bytes.IndexByte(b[:min(len(b), maxTag)], '>')
		if end < 0 {
			return "", &pageError{"an answer that is not XML: a tag that does not end"}
		}
		tag := b[1:end]
		b = b[end+1:]
		if tags++; tags > maxTags {
			return "", fmt.Errorf("%w: more than %d tags", errLong, maxTags)
		}
		switch {
		case len(tag) == 0:
			return "", &pageError{"an answer that is not XML"}
		case tag[0] == '?':
			continue
		case tag[0] == '!': // no server sends one, and tags could be hidden in it
			return "", &pageError{"an answer with a comment or a document type"}
		case tag[0] == '/':
			if depth--; depth < 0 {
				return "", &pageError{"an answer that is not XML"}
			}
			ended = depth == 0
			continue
		}
		if ended {
			return "", &pageError{"an answer with more than one document"}
		}
		name := localName(tag)
		if depth == 0 {
			root = name
		}
		if name == "Contents" {
			if entries++; entries > maxEntries {
				return "", fmt.Errorf("%w: more than the %d entries that were asked for", errLong, maxEntries)
			}
		}
		if tag[len(tag)-1] == '/' {
			ended = depth == 0
		} else {
			depth++
		}
	}
	if !ended || depth != 0 {
		return "", &pageError{"an answer that is not XML, or not all of it"}
	}
	return root, nil
}

// localName returns the name of an element without its namespace.
func localName(tag []byte) string {
	if end := bytes.IndexAny(tag, " \t\r\n/"); end >= 0 {
		tag = tag[:end]
	}
	return string(tag[bytes.LastIndexByte(tag, ':')+1:])
}

// An ascent checks that the keys of each page are greater than those of the pages before it, as S3 promises. This
// ensures that a listing ends.
type ascent struct {
	last  string
	begun bool
}

var errCircle = errors.New("the server's listing goes round in circles")

func (a *ascent) next(page []minio.ObjectInfo) error {
	most := a.last
	for i := range page {
		key := page[i].Key
		if a.begun && key <= a.last {
			return fmt.Errorf("%w: after %.100q comes %.100q", errCircle, a.last, key)
		}
		most = max(most, key)
	}
	if len(page) > 0 {
		a.last, a.begun = most, true
	}
	return nil
}
