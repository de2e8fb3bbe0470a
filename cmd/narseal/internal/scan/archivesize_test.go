package scan

import "testing"

func TestWithoutCaseHack(t *testing.T) {
	for path, want := range map[string]string{
		"/":                  "/",
		"/a/b":               "/a/b",
		"/a~nix~case~hack~1": "/a",
		"/a~nix~case~hack~1/B~nix~case~hack~12/c": "/a/B/c",
		"/~nix~case~hack":                         "/~nix~case~hack",
	} {
		if got := WithoutCaseHack(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}
