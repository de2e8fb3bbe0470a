package remote

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
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

// Retry calls f until it succeeds, or another try makes no sense. Between tries it waits for a random time that becomes
// longer, so that many clients do not return at the same time.
func (t *Transport) Retry(ctx context.Context, f func() error) error {
	bad := 0
	for try := 1; ; try++ {
		if n := t.failed.Load(); n >= tooMany {
			return &Error{Text: fmt.Sprintf("not tried: the last %d requests have failed", n),
				Advice: "run the command again when the server is well"}
		}
		err := f()
		if err == nil || !again(err) {
			t.failed.Store(0)
			return err
		}
		if bad++; !malformed(err) {
			bad = 0
		}
		most := maxTries
		if !t.answered.Load() || t.failed.Load() >= manyFailed {
			most = firstTries
		}
		if try >= most || bad >= badTries {
			t.failed.Add(1)
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
