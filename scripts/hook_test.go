package scripts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

// TestPostBuildHook builds with the hook, as a script and as the module sets it up. A path whose
// signatures are valid is copied to the cache, another one is not, nor is one that refers to it: it would bring the
// other one along. All builds succeed.
func TestPostBuildHook(t *testing.T) { nartest.EachNix(t, testPostBuildHook) }

func testPostBuildHook(t *testing.T) {
	for _, test := range []struct {
		name string
		hook func(t *testing.T, b *builds, cache string) string
	}{
		{"script", hookScript},
		{"module", hookOfModule},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBuilds(t)
			cache := filepath.Join(b.dir, "cache")
			hook := test.hook(t, b, "file://"+cache)
			good, stderr, err := b.build("app", "--option", "post-build-hook", hook)
			if err != nil {
				t.Fatalf("%v: %s", err, stderr)
			}
			want := map[string]bool{good: true}
			const brokenExpr = `(runCommandLocal "broken" { } "sed s/aaaaaa/bbbbbb/ ${goldens}/lld-arm64 >$out")`
			for _, expr := range []string{brokenExpr, `runCommandLocal "dependent" { } "echo ${` + brokenExpr + `} >$out"`} {
				path, stderr, err := b.build(expr, "--option", "post-build-hook", hook)
				if err != nil {
					t.Fatalf("%v: %s", err, stderr)
				}
				if !strings.Contains(stderr, "not copied to file://"+cache+": "+path) {
					t.Errorf("the log of %s, which is or needs a broken binary: %s", path, stderr)
				}
				want[path] = false
			}
			for path, want := range want {
				_, err := os.Stat(filepath.Join(cache, filepath.Base(path)[:32]+".narinfo"))
				if there := err == nil; there != want {
					t.Errorf("%s is in the cache: %v, want %v", path, there, want)
				}
			}
		})
	}
}

func hookScript(t *testing.T, b *builds, cache string) string {
	hook, err := filepath.Abs("../nix/post-build-hook.sh")
	if err != nil {
		t.Fatal(err)
	}
	b.env = append(b.env,
		"NARSEAL_CACHE="+cache,
		"PATH="+filepath.Join(b.dir, "bin")+":"+os.Getenv("PATH"))
	return hook
}

// hookOfModule evaluates nix/module.nix and builds the script that it gives to Nix.
func hookOfModule(t *testing.T, b *builds, cache string) string {
	module, err := filepath.Abs("../nix/module.nix")
	if err != nil {
		t.Fatal(err)
	}
	hook, stderr, err := b.build(`
		let
			result = import ` + module + ` {
				config = {
					nix.package = nix;
					programs.narseal = { enable = true; cache = "` + cache + `"; package = narseal; onActivation = "nothing"; };
				};
				lib = lib // moduleLib;
				pkgs = {
					runtimeShell = "/bin/sh";
					writeShellScript = name: text: runCommandLocal name { inherit text; passAsFile = [ "text" ]; }
						"{ echo '#!/bin/sh'; cat $textPath; } >$out; chmod +x $out";
				};
			};
			settings = result.config.nix.settings;
		in
		# settings has the hook as a string; its context is the derivation.
		runCommandLocal "hook" { hook = settings.post-build-hook; } "ln -s $hook $out"`)
	if err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	return hook
}
