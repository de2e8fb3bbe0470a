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

// Limits of a page of a listing. An entry has up to ten elements, as of its owner and checksum.
const (
	maxTags    = 64 * pageSize // where elements begin and end
	maxTag     = 4 << 10       // bytes of one, with its attributes
	maxEntries = pageSize
)

// A pageError is a page that is not one of a listing.
type pageError struct{ text string }

func (e *pageError) Error() string { return e.text }

// checkPage looks at the answer to a request for a page before the library does. The library takes any XML for an empty
// page, and allocates far more for some elements than they have bytes. An error that comes with status 200, as S3 is known
// to do, gets another status.
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
		resp.StatusCode = http.StatusBadRequest // its code tells what it is
		return nil
	case root != "ListBucketResult":
		return &pageError{"an answer that is not a listing"}
	}
	return nil
}

// readAll reads an answer, which must be short and not take long.
func readAll(resp *http.Response, limit int64) (b []byte, err error) {
	err = remote.Soon(resp.Body, func() error {
		b, err = io.ReadAll(&limited{resp.Body, limit})
		return err
	})
	return b, err
}

// checkAnswer looks at any other answer that the library reads whole: an error, or that to a write. What is not XML is left
// to the library, which does not parse it then or fails.
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

// checkTags bounds the tags of a document, and returns the name of its only root.
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
		case tag[0] == '!': // no server sends one, and more than this could hide in it
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

// localName is the name of an element without its name space.
func localName(tag []byte) string {
	if end := bytes.IndexAny(tag, " \t\r\n/"); end >= 0 {
		tag = tag[:end]
	}
	return string(tag[bytes.LastIndexByte(tag, ':')+1:])
}

// An ascent checks that the keys of each page come after those of the pages before, as S3 promises. So a listing ends, and
// no page comes twice.
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
