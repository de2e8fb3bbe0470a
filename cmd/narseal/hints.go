package main

import (
	"runtime/debug"

	"narseal/filter"
	"narseal/macho"
)

// hintForSeal says what can be done about an image that cannot be resealed.
func hintForSeal(e *filter.SignatureError) string {
	if e.Slice.Status == macho.StatusCMS {
		return "--on-cms adhoc replaces the certificate's signature by an ad-hoc one, --on-cms keep passes the broken image on"
	}
	return "--on-cms keep passes the image on as it is"
}

// versionString is the stamped version, or what the build knows of itself.
func versionString() string {
	if version != "devel" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return version
}
