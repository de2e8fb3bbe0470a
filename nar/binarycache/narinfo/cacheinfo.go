package narinfo

import (
	"fmt"
	"strings"

	"narseal/nar/storepath"
)

// A CacheInfo is what nix-cache-info says.
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
