package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"narseal/cmd/narseal/internal/worklist"
)

// A Closure is a line that a run writes that searches a closure. Every shard searches the whole closure for itself: if all
// have seen the same, all their Closures have the same Digest. A run writes a first line that says only that it has Begun, and
// another one at its end: if that is missing, the run was killed or has failed.
type Closure struct {
	Shard   string    `json:"shard,omitempty"` // I/N; empty for the whole
	Begun   bool      `json:"begun,omitempty"`
	Paths   int       `json:"paths,omitempty"`  // of the whole closure
	Digest  string    `json:"digest,omitempty"` // SHA-256 of their hash parts in order, in the form of SRI
	Unknown hashParts `json:"unknown,omitzero"` // hash parts of the first paths whose references are not known
	At      time.Time `json:"at"`
}

// hashParts are at most maxUnknown hash parts. Further ones are not kept.
type hashParts []string

func (p *hashParts) UnmarshalJSON(b []byte) error {
	*p = nil
	return elements(b, func(dec *json.Decoder) error {
		if len(*p) == maxUnknown {
			return dec.Decode(&skipped{})
		}
		var s string
		err := dec.Decode(&s)
		*p = append(*p, s)
		return err
	})
}

// maxUnknown bounds the paths that a Closure names.
const maxUnknown = 1000

// closureLine is the line of a Closure.
type closureLine struct {
	Closure *Closure `json:"closure"`
}

// AddClosure adds the line of a closure that was searched.
func (l *Ledger) AddClosure(c Closure) error {
	if l == nil {
		return nil
	}
	c.Unknown = append([]string{}, c.Unknown[:min(len(c.Unknown), maxUnknown)]...)
	b, err := l.closureText(&c)
	return l.write(b, err, true)
}

func (l *Ledger) closureText(c *Closure) ([]byte, error) {
	c.At = l.now().UTC().Truncate(time.Second)
	return encode(closureLine{c})
}

// firstLines returns the lines that a run writes before it begins its work.
func (l *Ledger) firstLines(o *Options, isNew bool) (text []byte, err error) {
	if isNew {
		if text, err = encode(o.work()); err != nil {
			return nil, err
		}
	}
	if !o.Closure {
		return text, nil
	}
	b, err := l.closureText(&Closure{Shard: o.Shard.String(), Begun: true})
	return append(text, b...), err
}

// ParseShard returns the shard.
func (c *Closure) ParseShard() (worklist.Shard, error) {
	if c.Shard == "" {
		return worklist.Shard{Count: 1}, nil
	}
	s, err := worklist.ParseShard(c.Shard, func(string) (string, bool) { return "", false })
	if err != nil {
		err = fmt.Errorf("shard %q: %w", cut(c.Shard, 100), err)
	}
	return s, err
}

// check returns an error for values that no run writes.
func (c *Closure) check() error {
	if c.Paths < 0 || c.Paths > worklist.MaxClosure || len(c.Digest) > 100 {
		return errors.New("closure: a value is out of range")
	}
	for _, h := range c.Unknown {
		if _, err := worklist.ParseHash(h); err != nil {
			return fmt.Errorf("closure: unknown: %w", err)
		}
	}
	_, err := c.ParseShard()
	return err
}
