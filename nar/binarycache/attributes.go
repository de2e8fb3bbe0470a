package binarycache

import (
	"fmt"
	"maps"
	"strings"

	"narseal/nar/binarycache/internal/encoding"
	"narseal/nar/binarycache/narinfo"
)

const contentType = "Content-Type"

// without is attributes without one.
func without(attributes map[string]string, name string) map[string]string {
	others := map[string]string{}
	maps.Copy(others, attributes)
	delete(others, name)
	return others
}

// checkPlain returns an error if a client would decode a NAR before it decompresses it as its narinfo says.
func checkPlain(o Object) error {
	switch e := strings.ToLower(o.Attributes[encoding.Header]); e {
	case "", "identity", "aws-chunked": // the last is of how it was uploaded
		return nil
	}
	return fmt.Errorf("%s: %w: it has a %s, which Nix decodes first: a NAR is compressed as its narinfo says", o.Name, ErrMismatch, encoding.Header)
}

// typed is an object to be written, with the content type that Nix gives one of this name. The other attributes are those
// of the object that it replaces.
func typed(o Object) Object {
	kind := typeOf(o.Name)
	if kind == "" {
		return o
	}
	o.Attributes = maps.Clone(o.Attributes)
	if o.Attributes == nil {
		o.Attributes = map[string]string{}
	}
	o.Attributes[contentType] = kind
	return o
}

// typeOf is the content type by which Nix uploads an object (src/libstore/binary-cache-store.cc), or "".
func typeOf(name string) string {
	dir, _, _ := strings.Cut(name, "/")
	switch {
	case name == narinfo.CacheInfoName:
		return "text/x-nix-cache-info"
	case narinfo.IsName(name):
		return "text/x-nix-narinfo"
	case narinfo.IsListing(name), dir == debugInfoDir, dir == realisationsDir:
		return "application/json"
	case dir == logDir:
		return "text/plain; charset=utf-8"
	case narinfo.IsNAR(name):
		return "application/x-nix-nar"
	}
	return ""
}
