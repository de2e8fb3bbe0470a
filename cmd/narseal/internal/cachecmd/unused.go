package cachecmd

import (
	"path"
	"strings"

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

// matched adds the matches in one NAR.
func (c *ruleCounts) matched(counts []int64) {
	for i, n := range counts {
		c.counts[i] += n
	}
}

// renamed adds the match in the name of one path.
func (c *ruleCounts) renamed(res *binarycache.Result) {
	if c == nil {
		return
	}
	if res.NewStorePath != "" && res.NewStorePath != res.StorePath {
		hash, _, _ := strings.Cut(path.Base(res.StorePath), "-")
		if i, ok := c.byHash[hash]; ok {
			c.counts[i]++
		}
	}
}
