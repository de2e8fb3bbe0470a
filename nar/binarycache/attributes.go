package binarycache

import (
	"maps"

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
	if kind := narinfo.ContentType(o.Name); kind != "" {
		o.Attributes = without(o.Attributes, contentType)
		o.Attributes[contentType] = kind
	}
	return o
}
