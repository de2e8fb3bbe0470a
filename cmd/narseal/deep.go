package main

import (
	"maps"
	"slices"

	"github.com/urfave/cli/v2"

	"narseal/filter"
	"narseal/filter/refs"
	"narseal/filter/rules"
)

// deepFlags are the limits of looking into what is packed.
func deepFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "deep-depth", Value: refs.DefaultDepth, Usage: "look into `N` levels of packing inside each other"},
		&cli.StringFlag{Name: "deep-size", Value: "4GiB", Usage: "look into `SIZE` of what a file expands to"},
		&cli.Int64Flag{Name: "deep-ratio", Value: refs.DefaultRatio, Usage: "give up what expands more than `N` times"},
	}
}

// deepConfig reads the limits.
func deepConfig(c *cli.Context, t *terminal) (*refs.Unpack, error) {
	d := &refs.Unpack{Depth: c.Int("deep-depth"), Ratio: c.Int64("deep-ratio")}
	d.Spill.Open = newScratch(exitsOf(c.Context))
	if d.Depth < 1 {
		return nil, badUsage("", "--deep-depth %d: want at least 1", d.Depth)
	}
	if d.Ratio < 1 {
		return nil, badUsage("", "--deep-ratio %d: want at least 1", d.Ratio)
	}
	var err error
	if d.Size, err = sizeOption(c, "deep-size"); err != nil {
		return nil, err
	}
	if d.Spill.Memory, err = sizeOption(c, "hold-memory"); err != nil {
		return nil, err
	}
	d.Warn = func(path string, err error) { t.warn("%s: not all of it was looked into: %v", printable(path), err) }
	return d, nil
}

// hiddenList warns of what rewrite cannot reach.
type hiddenList struct {
	t     *terminal
	rules *rules.Set
	told  map[int]int64  // mentions, by rule
	last  map[int]string // where the last one was
}

// watchHidden has cfg look for what its rules cannot reach.
func watchHidden(c *cli.Context, t *terminal, cfg *filter.Config) (*hiddenList, error) {
	var err error
	if cfg.Unpack, err = deepConfig(c, t); err != nil {
		return nil, err
	}
	l := &hiddenList{t, cfg.Rules, map[int]int64{}, map[int]string{}}
	cfg.Observer.Hidden = l.add
	return l, nil
}

func (l *hiddenList) add(m *refs.Reference) error {
	p := place{Path: m.Path, Member: m.Member, Packed: m.Packed, Part: m.Part, Offset: m.Offset}
	l.told[m.Hash]++
	if where := p.Path.Short() + m.Member; l.last[m.Hash] != where && l.told[m.Hash] <= maxPlaces {
		l.last[m.Hash] = where
		l.t.warn("%s: %s is hidden here, where no rewrite reaches it (%s)", p.String(), l.rules.Rule(m.Hash).From, m.Encoding)
	}
	return nil
}

// end says how many there were of which not all were named.
func (l *hiddenList) end() {
	for _, rule := range slices.Sorted(maps.Keys(l.told)) {
		if n := l.told[rule]; n > maxPlaces {
			l.t.warn("%s: %d hidden mentions in all", l.rules.Rule(rule).From, n)
		}
	}
}
