package sweepsummary

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"narseal/cmd/narseal/internal/ledger"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/worklist"
)

// Closures are what the shards of the latest sweep know of the closure that each has searched.
type Closures struct {
	Shards   int      `json:"shards"`
	Paths    int      `json:"paths"`    // of the largest
	Problems []string `json:"problems"` // why paths of the closure may be in no ledger
}

// A searched is the last Closure of a shard.
type searched struct {
	begun   bool // and not finished
	paths   int
	digest  string
	unknown string // one of the paths
	at      time.Time
}

// maxClosures bounds the shards whose closures are compared.
const maxClosures = 1 << 16

func (r *Reader) addClosure(_ int, c *ledger.Closure) error {
	s, err := c.ParseShard()
	if err != nil || r.paths == nil {
		return err
	}
	if r.closures == nil {
		r.closures = map[worklist.Shard]searched{}
	}
	old, there := r.closures[s]
	if !there && len(r.closures) == maxClosures {
		return fmt.Errorf("the closures of more than %d shards", maxClosures)
	}
	at := c.At
	if !at.After(r.clock) {
		at = r.clock.Add(1) // the clock was set back, or another machine wrote the line
	}
	r.clock = at
	if !there || !at.Before(old.at) {
		v := searched{begun: c.Begun, paths: c.Paths, digest: strings.Clone(c.Digest), at: at}
		if len(c.Unknown) > 0 {
			v.unknown = strings.Clone(c.Unknown[0])
		}
		r.closures[s] = v
	}
	return nil
}

// compareClosures compares the closures of as many shards as the latest one says that there are.
func (r *Reader) compareClosures() *Closures {
	if len(r.closures) == 0 {
		return nil
	}
	var latest worklist.Shard
	for s, c := range r.closures {
		if last, ok := r.closures[latest]; !ok || c.at.After(last.at) || c.at.Equal(last.at) && s.Count > latest.Count {
			latest = s
		}
	}
	v := &Closures{Shards: latest.Count, Problems: []string{}}
	var shards []int // that are finished
	digests := map[string]int{}
	missing, one := 0, 0 // shards without a line, and the first of them
	for i := range latest.Count {
		s := worklist.Shard{Index: i, Count: latest.Count}
		c, there := r.closures[s]
		problem := ""
		switch {
		case !there:
			if missing++; missing == 1 {
				one = i
			}
			continue
		case c.begun:
			problem = "has begun and not finished: it is running, was stopped, or has failed"
		default:
			shards = append(shards, i)
			v.Paths = max(v.Paths, c.paths)
			digests[c.digest]++
			if c.unknown != "" {
				problem = "does not know what " + c.unknown + " refers to"
			}
		}
		if problem != "" && len(v.Problems) < maxShown {
			v.Problems = append(v.Problems, fmt.Sprintf("shard %d/%d %s", s.Index, s.Count, problem))
		}
	}
	if missing > 0 {
		v.Problems = append(v.Problems, fmt.Sprintf("no ledger has the closure of %s of %d, such as %d/%d", report.Plural(int64(missing), "shard", "shards"), latest.Count, one, latest.Count))
	}
	if len(digests) > 1 {
		v.Problems = append(v.Problems, r.difference(shards, latest.Count))
	}
	return v
}

// difference names two shards that have found different closures.
func (r *Reader) difference(shards []int, count int) string {
	first := r.closures[worklist.Shard{Index: shards[0], Count: count}]
	for _, i := range shards[1:] {
		if c := r.closures[worklist.Shard{Index: i, Count: count}]; c.digest != first.digest {
			return fmt.Sprintf("shards found different closures: %d/%d found %s, %d/%d found %s; the list or the cache changed meanwhile, or the cache does not answer all alike",
				shards[0], count, report.Plural(int64(first.paths), "path", "paths"), i, count, report.Plural(int64(c.paths), "path", "paths"))
		}
	}
	return ""
}

// Err returns an error if paths of a closure may be in no ledger.
func (s *Summary) Err() error {
	if s.Closures == nil || len(s.Closures.Problems) == 0 {
		return nil
	}
	return errors.New("closure: " + strings.Join(s.Closures.Problems[:min(len(s.Closures.Problems), 10)], "; "))
}
