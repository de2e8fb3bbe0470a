package scripts

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

// builds is a store in which derivations can be built without a sandbox, at a
// place of its own: Nix builds in no store that is mounted elsewhere.
type builds struct {
	t   *testing.T
	dir string
	env []string
	// stubs defines lib, runCommandLocal, nix, narseal and the function
	// replaceDependencies.
	stubs string
}

func newBuilds(t *testing.T) *builds {
	t.Helper()
	nartest.Tool(t, "nix-instantiate")
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := &builds{t: t, dir: dir}
	t.Cleanup(func() { // Nix leaves read-only folders
		if out, err := exec.Command("chmod", "-R", "u+w", dir).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	nixStore := nartest.Tool(t, "nix-store")
	bash := nartest.Tool(t, "bash")
	build := exec.Command(nartest.Tool(t, "go"), "build", "-o", filepath.Join(dir, "bin")+"/", "narseal/cmd/narseal")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	b.stubs = moduleLib + `
		lib.escapeShellArgs = args: toString (map (arg: "'${arg}'") args);
		runCommandLocal = name: env: script: derivation ({
			inherit name;
			system = builtins.currentSystem;
			builder = "` + bash + `";
			# A builder that closes stderr before it ends, as ln does, may be killed by Nix.
			args = [ "-euc" (script + "\n:") ];
			PATH = "` + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH") + `";
		} // env);
		nix = "` + strings.TrimSuffix(nixStore, "/bin/nix-store") + `";
		narseal = "` + dir + `";
		replaceDependencies = import ` + root + `/nix/replace-dependencies.nix { inherit lib runCommandLocal nix narseal; };
		goldens = "` + root + `/testdata/macho/goldens/A";
	`
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "NIX_") && !strings.HasPrefix(kv, "HOME=") && !strings.HasPrefix(kv, "XDG_") {
			b.env = append(b.env, kv)
		}
	}
	b.env = append(b.env,
		"HOME="+dir,
		"NIX_STORE_DIR="+filepath.Join(dir, "store"),
		"NIX_STATE_DIR="+filepath.Join(dir, "var"),
		"NIX_LOG_DIR="+filepath.Join(dir, "log"),
		"NIX_CONF_DIR="+filepath.Join(dir, "etc"),
		"NIX_CONFIG=sandbox = false\nbuild-users-group =\nsubstituters =\n"+noBuildHook(t),
	)
	return b
}

// noBuildHook is the setting without the hook that asks other machines. The Nix of scripts/nix-versions cannot start it,
// because it is no program of its own. Nix 2.8 wants one.
func noBuildHook(t *testing.T) string {
	if strings.HasPrefix(nartest.Version(t), "2.8.") {
		return ""
	}
	return "build-hook ="
}

func (b *builds) run(name string, args ...string) (stdout, stderr string, err error) {
	b.t.Helper()
	cmd := exec.Command(nartest.Tool(b.t, name), args...)
	cmd.Env = b.env
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return strings.TrimSpace(out.String()), errs.String(), err
}

// packages is what the tests replace: app, a signed binary that mentions dep, and
// top, which refers to app alone. Each mentions itself too. Names of entries hold
// dep's hash, so that replacing it changes their order.
const packages = `
	dep = version: runCommandLocal "dep-${version}" { inherit version; } "echo $version >$out";
	old = dep "1.0";
	new = dep "1.1";
	hash = path: builtins.substring 0 32 (baseNameOf path);
	app = runCommandLocal "app" { inherit old; } ''
		mkdir -p $out/bin
		${nix}/bin/nix-store --dump ${goldens}/lld-arm64 |
			narseal rewrite --map aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=${hash old} |
			${nix}/bin/nix-store --restore $out/bin/app
		narseal verify --all $out/bin/app | grep '^valid'
		echo $out $old >$out/paths
		touch $out/${hash old} $out/3 $out/x
	'';
	top = runCommandLocal "top" { inherit app; } "mkdir $out; echo $out/$app >$out/paths; ln -s $app/bin $out/bin";
`

func (b *builds) build(expr string, options ...string) (path, stderr string, err error) {
	b.t.Helper()
	args := append([]string{"--no-out-link", "--expr", "let " + b.stubs + packages + " in " + expr}, options...)
	return b.run("nix-build", args...)
}

func (b *builds) mustBuild(expr string) string {
	b.t.Helper()
	path, stderr, err := b.build(expr)
	if err != nil {
		b.t.Fatalf("%s: %v: %s", expr, err, stderr)
	}
	return path
}

// references returns what a path refers to, as Nix has it.
func (b *builds) references(path string) []string {
	b.t.Helper()
	out, stderr, err := b.run("nix-store", "--query", "--references", path)
	if err != nil {
		b.t.Fatalf("%v: %s", err, stderr)
	}
	return strings.Fields(out)
}

func TestReplaceDependencies(t *testing.T) { nartest.EachNix(t, testReplaceDependencies) }

func testReplaceDependencies(t *testing.T) {
	b := newBuilds(t)
	const replaced = `replaceDependencies { drv = top; replacements = [ { oldDependency = old; newDependency = new; } ]; }`
	oldDep, newDep, app, top := b.mustBuild("old"), b.mustBuild("new"), b.mustBuild("app"), b.mustBuild("top")
	got := b.mustBuild(replaced)
	if got == top || filepath.Base(got)[33:] != "top" {
		t.Fatalf("got %s for %s", got, top)
	}

	refs := strings.Join(b.references(got), " ")
	newApp, err := filepath.EvalSymlinks(filepath.Join(got, "bin"))
	if err != nil {
		t.Fatal(err)
	}
	newApp = filepath.Dir(newApp)
	if newApp == app || !strings.Contains(refs, newApp) || strings.Contains(refs, app) || !strings.Contains(refs, got) {
		t.Errorf("%s refers to %s, want %s and itself", got, refs, newApp)
	}
	refs = strings.Join(b.references(newApp), " ")
	if !strings.Contains(refs, newDep) || strings.Contains(refs, oldDep) || !strings.Contains(refs, newApp) || strings.Contains(refs, app) {
		t.Errorf("%s refers to %s, want %s and itself", newApp, refs, newDep)
	}
	text, err := os.ReadFile(filepath.Join(newApp, "paths"))
	if want := newApp + " " + newDep + "\n"; err != nil || string(text) != want {
		t.Errorf("got %q, %v, want %q", text, err, want)
	}
	if _, err := os.Stat(filepath.Join(newApp, filepath.Base(newDep)[:32])); err != nil {
		t.Errorf("the entry that has the hash as its name: %v", err)
	}

	var signature struct{ Status, Signature string }
	out, _, err := b.run(filepath.Join(b.dir, "bin", "narseal"), "verify", "--format", "json", newApp)
	if err == nil {
		err = json.Unmarshal([]byte(out), &signature)
	}
	if err != nil || signature.Status != "valid" || signature.Signature != "linker-signed" {
		t.Errorf("verify: %v, %s", err, out)
	}
	binary, err := os.ReadFile(filepath.Join(newApp, "bin/app"))
	if err != nil || !strings.Contains(string(binary), filepath.Base(newDep)[:32]) {
		t.Errorf("the binary does not mention %s (%v)", newDep, err)
	}
}

func TestReplaceDependenciesLeaves(t *testing.T) {
	b := newBuilds(t)
	top := b.mustBuild("top")
	for _, test := range []struct{ name, args, warning string }{
		{"nothing", `replacements = [ ];`, ""},
		{"itself", `replacements = [ { oldDependency = old; newDependency = old; } ];`, "by itself"},
		{"what is not there", `replacements = [ { oldDependency = dep "2.0"; newDependency = dep "2.1"; } ];`, "nothing refers to"},
		{"quietly", `verbose = false; replacements = [ { oldDependency = old; newDependency = old; } ];`, ""},
		{"what is cut off", `cutoffPackages = [ app ]; replacements = [ { oldDependency = old; newDependency = new; } ];`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, stderr, err := b.build("replaceDependencies { drv = top; " + test.args + " }")
			if err != nil || got != top {
				t.Errorf("got %s, %v, want %s: %s", got, err, top, stderr)
			}
			if warned := strings.Contains(stderr, "replaceDependencies: "); warned != (test.warning != "") || !strings.Contains(stderr, test.warning) {
				t.Errorf("want the warning %q: %s", test.warning, stderr)
			}
		})
	}
}

func TestReplaceDependenciesRefuses(t *testing.T) {
	b := newBuilds(t)
	for _, test := range []struct{ name, replacement, want string }{
		{"names of different lengths", `{ oldDependency = old; newDependency = dep "1.10"; }`, "differ in length"},
		{"a replacement that needs the old", `{ oldDependency = old; newDependency = runCommandLocal "dep-1.1" { inherit old; } "echo $old >$out"; }`, "which it is to replace"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, stderr, err := b.build("replaceDependencies { drv = top; replacements = [ " + test.replacement + " ]; }")
			if err == nil || !strings.Contains(stderr, test.want) {
				t.Errorf("error %v, want one with %q: %s", err, test.want, stderr)
			}
		})
	}
}
