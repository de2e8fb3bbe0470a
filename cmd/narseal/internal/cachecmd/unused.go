package cachecmd

import (
	"path"
	"strings"

	"narseal/filter"
	"narseal/filter/rules"
	"narseal/nar/binarycache"
)

// ruleCounts counts how often each rule matched in a cache, in NARs and in the names of paths.
type ruleCounts struct {
	counts []int64
	byHash map[string]int // indexes of rules by the old hash
}

func newRuleCounts(set *rules.Set) *ruleCounts {
	c := &ruleCounts{make([]int64, set.Len()), make(map[string]int, set.Len())}
	for i := range c.counts {
		hash, _, _ := strings.Cut(set.Rule(i).From, "-")
		c.byHash[hash] = i
	}
	return c
}

// add adds the matches of one path.
func (c *ruleCounts) add(res *binarycache.Result, found *filter.Result) {
	if c == nil {
		return
	}
	if res.NewStorePath != "" && res.NewStorePath != res.StorePath {
		hash, _, _ := strings.Cut(path.Base(res.StorePath), "-")
		if i, ok := c.byHash[hash]; ok {
			c.counts[i]++
		}
	}
	for i, n := range found.Counts {
		c.counts[i] += n
	}
}
