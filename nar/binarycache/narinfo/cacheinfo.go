package narinfo

import (
	"fmt"
	"strconv"
	"strings"

	"narseal/nar/storepath"
)

// A CacheInfo is a parsed nix-cache-info.
type CacheInfo struct {
	Text     []byte
	StoreDir string
}

// ParseCacheInfo parses a nix-cache-info.
func ParseCacheInfo(b []byte) (*CacheInfo, error) {
	c := &CacheInfo{Text: b, StoreDir: storepath.DefaultDir}
	for i, l := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
		key, value, ok := strings.Cut(l, ":")
		if !ok && l != "" {
			return nil, fmt.Errorf("line %d: %q: want \"Key: value\"", i+1, clip(l))
		}
		if key != "StoreDir" {
			continue
		}
		c.StoreDir = strings.TrimSpace(value)
		if err := storepath.CheckDir(c.StoreDir); err != nil {
			return nil, fmt.Errorf("line %d: StoreDir: %w", i+1, err)
		}
	}
	return c, nil
}

// Priorities of caches: clients ask the one with the lowest number first.
const (
	defaultPriority = 50 // of a cache that names none (Nix's src/libstore/http-binary-cache-store.cc)
	overlayLead     = 10 // how much lower the priority of an overlay is than that of its input
)

// Overlay returns the text for a cache that clients ask before this one: it has this priority, or for 0, one that is 10
// lower than that of this cache, but at least 1.
func (c *CacheInfo) Overlay(priority int) []byte {
	var kept []string
	own := defaultPriority
	for l := range strings.SplitSeq(strings.TrimSuffix(string(c.Text), "\n"), "\n") {
		switch key, value, _ := strings.Cut(l, ":"); key {
		case "Priority":
			if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
				own = n
			}
		case "WantMassQuery":
		default:
			kept = append(kept, l)
		}
	}
	if priority == 0 {
		priority = max(1, own-overlayLead)
	}
	kept = append(kept, "WantMassQuery: 1", "Priority: "+strconv.Itoa(priority))
	return []byte(strings.TrimPrefix(strings.Join(kept, "\n"), "\n") + "\n")
}
