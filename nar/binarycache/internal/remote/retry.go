package remote

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"narseal/nar/binarycache/narinfo"
)

// Limits for retries.
const (
	maxTries   = 10
	firstTries = 3              // until a server has responded once, since the URL may be wrong
	badTries   = 2              // if all responses make no sense
	manyFailed = 8              // after this many failed requests in a row, requests get firstTries
	tooMany    = 4 * manyFailed // after this many, requests are not sent at all, so that the run ends
	firstWait  = 100 * time.Millisecond
	maxWait    = 30 * time.Second
)

// A kind is the kind of a request. Requests that fail in a row are counted for all kinds together and for each kind:
// narinfos may come from a CDN while the server behind it, which has the NARs, is down.
type kind int

const (
	anyKind kind = iota
	getting
	describing
	putting
	deleting
)

const kinds = 2 * (deleting + 1)

// of returns the kind of a request for the object with this name.
func (k kind) of(name string) kind {
	if narinfo.IsNAR(name) {
		return k + kinds/2
	}
	return k
}

func (k kind) String() string {
	text := [...]string{"", "GET", "HEAD", "PUT", "DELETE"}[k%(kinds/2)]
	switch {
	case k >= kinds/2:
		return " (" + text + " of NARs)"
	case k != anyKind:
		return " (" + text + " of other objects than NARs)"
	}
	return ""
}

// failures counts requests that have failed after all their tries, in a row.
type failures struct {
	all atomic.Int32
	of  [kinds]atomic.Int32
}

// tries returns how often a request is tried at most: 0 after too many failures. n is their number.
func (t *Transport) tries(k kind) (most int, n int32) {
	all, own := t.failed.all.Load(), t.failed.of[k].Load()
	switch n = max(all, own); {
	case n >= tooMany:
		return 0, n
	case n >= manyFailed || !t.answered.Load():
		return firstTries, n
	}
	return maxTries, n
}

// note counts a request that has failed after all its tries, or has succeeded.
func (t *Transport) note(k kind, failed bool) {
	if failed {
		t.failed.all.Add(1)
		t.failed.of[k].Add(1)
		return
	}
	t.failed.all.Store(0)
	t.failed.of[k].Store(0)
}

// Retry calls f until it succeeds, or another try makes no sense. Between tries it waits for a random time that becomes
// longer, so that many clients do not return at the same time.
func (t *Transport) Retry(ctx context.Context, f func() error) error { return t.retry(ctx, anyKind, f) }

// retry is Retry for requests of a kind.
func (t *Transport) retry(ctx context.Context, k kind, f func() error) error {
	err := t.try(ctx, k, f)
	if err == nil {
		t.note(k, false)
	}
	return err
}

// try is like retry, but the caller notes that the request has succeeded.
func (t *Transport) try(ctx context.Context, k kind, f func() error) error {
	bad := 0
	for try := 1; ; try++ {
		if most, n := t.tries(k); most == 0 {
			return &Error{Text: fmt.Sprintf("not tried: the last %d requests have failed%s", n, k),
				Advice: "run the command again when the server is well"}
		}
		err := f()
		if err == nil {
			return nil
		}
		if !again(err) {
			t.note(k, false)
			return err
		}
		if bad++; !malformed(err) {
			bad = 0
		}
		if most, _ := t.tries(k); try >= most || bad >= badTries {
			t.note(k, true)
			return err
		}
		if e := backoff(ctx, try); e != nil {
			return e
		}
	}
}

// backoff waits before another try.
func backoff(ctx context.Context, try int) error {
	most := min(firstWait<<(try-1), maxWait)
	return sleep(ctx, most/4+rand.N(most))
}

// malformed reports whether a response made no sense.
func malformed(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Malformed
}

// again reports whether another try may succeed.
func again(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	if e.Again {
		return true
	}
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusInsufficientStorage:
		return false
	}
	return e.Status >= 500
}
