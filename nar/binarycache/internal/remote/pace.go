package remote

import (
	"context"
	"sync"
	"time"
)

// A pace keeps a minimum time between requests. There is none until the server asks for fewer requests. Each time it
// does, the time is doubled; each successful request shortens it.
type pace struct {
	mu       sync.Mutex
	gap      time.Duration // between requests
	usual    time.Duration // the average time between unlimited requests
	last     time.Time     // request
	next     time.Time     // when the next one may be sent
	slowedAt time.Time
}

const (
	minGap    = 500 * time.Microsecond
	maxGap    = time.Second
	maxPause  = time.Minute            // the longest pause that a server can ask for
	slowEvery = 500 * time.Millisecond // refusals within this time count once
)

// wait waits until the next request may be sent.
func (p *pace) wait(ctx context.Context) error {
	p.mu.Lock()
	now := time.Now()
	if !p.last.IsZero() {
		p.usual += (min(now.Sub(p.last), maxGap) - p.usual) / 16
	}
	p.last = now
	at := p.next
	if at.Before(now) {
		at = now
	}
	if p.gap > 0 {
		p.next = at.Add(p.gap)
	}
	p.mu.Unlock()
	if d := at.Sub(now); d > 0 {
		return sleep(ctx, d)
	}
	return ctx.Err()
}

// slow increases the time between requests, and makes the next request wait as long as the server asks.
func (p *pace) slow(pause time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if at := now.Add(min(pause, maxPause)); pause > 0 && at.After(p.next) {
		p.next = at
	}
	if now.Sub(p.slowedAt) < slowEvery {
		return
	}
	p.slowedAt = now
	p.gap = min(max(2*p.gap, 2*p.usual, minGap), maxGap)
}

// ok decreases the time between requests.
func (p *pace) ok() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gap -= p.gap / 32; p.gap < minGap {
		p.gap = 0
	}
}

// sleep waits, unless ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
