package binarycache

import (
	"maps"
	"strings"

	"narseal/nar/binarycache/narinfo"
)

const contentType = "Content-Type"

// without returns attributes without the one of this name.
func without(attributes map[string]string, name string) map[string]string {
	others := map[string]string{}
	maps.Copy(others, attributes)
	delete(others, name)
	return others
}

// typed returns an object to be written with the content type that Nix gives to objects of its name. Its other
// attributes are those of the object that it replaces.
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

// typeOf returns the content type with which Nix uploads an object (src/libstore/binary-cache-store.cc), or "".
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
