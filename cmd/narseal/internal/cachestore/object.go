package cachestore

import (
	"context"
	"strings"

	"narseal/cmd/narseal/internal/terminal"
)

// OpenObject opens the store of an object that is named by a URL such as s3://BUCKET/DIR/NAME?region=…, and returns the
// object's name in the store.
func OpenObject(ctx context.Context, name string, o Options) (c *Cache, object string, err error) {
	address, query, found := strings.Cut(name, "?")
	scheme, rest, _ := strings.Cut(address, "://")
	at := strings.LastIndexByte(rest, '/')
	if at < 0 || at == len(rest)-1 {
		return nil, "", terminal.Usage("", "%s: want the URL of one object", Redact(name))
	}
	store := scheme + "://" + rest[:at]
	if found {
		store += "?" + query
	}
	if c, err = Open(ctx, store, o); err != nil && strings.Contains(query, "@") {
		err = terminal.Usage("in a user name or a password, @ is written as %40, / as %2F and ? as %3F", "%s: not a URL", Redact(name))
	}
	return c, rest[at+1:], err
}
