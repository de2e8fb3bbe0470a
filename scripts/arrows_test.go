// Package scripts holds tests of the scripts beside it.
package scripts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

// may is every kind of import that is allowed.
var may = map[string][]string{
	"cmd/narseal":      {"os", "narseal/cmd/narseal/part", "narseal/filter", "narseal/filter/rules", "narseal/nar", "narseal/nar/binarycache", "narseal/macho", "github.com/urfave/cli/v2"},
	"cmd/narseal/part": {"os/exec"},

	"cmd/narseal/internal/terminal": {"os", "narseal/cmd/narseal/internal/cleanup"},
	"cmd/narseal/internal/cleanup":  {"os"},
	"cmd/narseal/internal/report":   {"narseal/filter", "narseal/cmd/narseal/internal/terminal"},
	"cmd/narseal/internal/command":  {"narseal/filter", "narseal/cmd/narseal/internal/report"},
	"cmd/narseal/internal/cachecmd": {"narseal/nar/binarycache", "narseal/cmd/narseal/internal/command"},

	"filter":                 {"io", "narseal/filter/rules", "narseal/filter/spill", "narseal/filter/refs", "narseal/nar", "narseal/macho"},
	"filter/rules":           {"io", "narseal/nar/storepath"},
	"filter/spill":           {"io", "narseal/nar/storepath"},
	"filter/refs":            {"io", "narseal/filter/rules", "narseal/filter/spill", "narseal/nar"},
	"filter/address":         {"io", "narseal/filter", "narseal/filter/rules", "narseal/nar", "narseal/macho"},
	"nar":                    {"os", "github.com/nix-community/go-nix/pkg/wire", "github.com/klauspost/compress/zstd", "github.com/ulikunitz/xz"},
	"nar/storepath":          {"strings"},
	"nar/binarycache":        {"os", "narseal/nar"},
	"filter/rules/rulestest": {"regexp"},
	"nar/nartest":            {"testing"},
	"macho":                  {"crypto/sha256", "narseal/macho/part"},
	"macho/part":             {"io", "golang.org/x/sys/cpu"},
}

// mayNot holds an import of each kind that is not.
var mayNot = []struct{ from, to string }{
	{"cmd/narseal/part", "github.com/urfave/cli/v2"},
	{"cmd/narseal/internal/command", "github.com/urfave/cli/v2"},
	{"cmd/narseal/internal/terminal", "narseal/filter"},
	{"cmd/narseal/internal/cleanup", "narseal/nar"},
	{"cmd/narseal/internal/report", "narseal/cmd/narseal/internal/command"},
	{"cmd/narseal/internal/command", "narseal/cmd/narseal/internal/cachecmd"},
	{"filter", "os"},
	{"filter", "os/exec"},
	{"filter", "github.com/urfave/cli/v2"},
	{"filter", "github.com/klauspost/compress/zstd"},
	{"filter", "narseal/cmd/narseal/part"},
	{"filter", "narseal/filter/address"},
	{"filter/rules", "os"},
	{"filter/rules", "narseal/nar"},
	{"filter/rules", "narseal/filter/spill"},
	{"filter/rules", "narseal/macho"},
	{"filter/rules", "github.com/klauspost/compress/zstd"},
	{"filter/spill", "os"},
	{"filter/spill", "narseal/filter/rules"},
	{"filter/spill", "narseal/macho"},
	{"filter/refs", "os"},
	{"filter/refs", "narseal/filter"},
	{"filter/refs", "narseal/macho"},
	{"filter/address", "os/exec"},
	{"filter/address", "narseal/filter/rules/rulestest"},
	{"filter/rules/rulestest", "narseal/filter/rules"},
	{"nar", "narseal/macho"},
	{"nar", "narseal/filter"},
	{"nar", "github.com/urfave/cli/v2"},
	{"nar/binarycache", "narseal/nar/nartest"},
	{"macho", "narseal/nar"},
	{"macho", "narseal/filter"},
	{"macho/part", "github.com/klauspost/compress/zstd"},
	{"macho/part", "golang.org/x/sys/unix"},
	{"other", "narseal/nar"},
	{"other", "github.com/klauspost/compress/zstd"},
}

func TestArrows(t *testing.T) {
	m := newModule(t)
	for from, imports := range may {
		m.add(from+"/p.go", imports...)
		m.add(from+"/p_test.go", "os/exec", "narseal/nar/nartest")
	}
	if out, err := m.arrows(); err != nil {
		t.Errorf("what may be is refused: %v\n%s", err, out)
	}
	for _, c := range mayNot {
		m := newModule(t)
		for p := range may {
			m.add(p + "/p.go")
		}
		m.add(c.from+"/p_darwin.go", c.to) // a file that this system does not build
		out, err := m.arrows()
		if err == nil {
			t.Errorf("%s may import %s", c.from, c.to)
		}
		if want := "narseal/" + c.from + " imports " + c.to + ": "; !strings.HasPrefix(out, want) {
			t.Errorf("%s imports %s: got %q, want %q…", c.from, c.to, out, want)
		}
	}
}

// What go list cannot read must not pass for a package without imports.
func TestArrowsReadEveryPackage(t *testing.T) {
	if out, err := newModule(t).arrows(); err == nil {
		t.Errorf("a module without packages passes: %q", out)
	}
	m := newModule(t)
	m.add("nar/p.go")
	m.write("macho/p.go", "package")
	if out, err := m.arrows(); err == nil || !strings.Contains(out, "macho/p.go") {
		t.Errorf("a package that does not parse: %v, %q", err, out)
	}
}

// A module is one in a temporary directory, with packages called p and empty stand-ins
// for the packages of other modules.
type module struct {
	t   *testing.T
	dir string
}

func newModule(t *testing.T) module {
	m := module{t, t.TempDir()}
	gomod := "module narseal\n\ngo 1.26\n"
	for _, other := range []struct {
		path, version string
		packages      []string
	}{
		{"github.com/urfave/cli/v2", "v2.0.0", []string{""}},
		{"github.com/nix-community/go-nix", "v0.0.0", []string{"pkg/wire"}},
		{"github.com/klauspost/compress", "v0.0.0", []string{"zstd"}},
		{"github.com/ulikunitz/xz", "v0.0.0", []string{""}},
		{"golang.org/x/sys", "v0.0.0", []string{"cpu", "unix"}},
	} {
		gomod += fmt.Sprintf("require %[1]s %[2]s\nreplace %[1]s => ./_others/%[1]s\n", other.path, other.version)
		m.write(filepath.Join("_others", other.path, "go.mod"), "module "+other.path+"\n")
		for _, p := range other.packages {
			m.write(filepath.Join("_others", other.path, p, "p.go"), "package p\n")
		}
	}
	m.write("go.mod", gomod)
	return m
}

func (m module) add(file string, imports ...string) {
	m.t.Helper()
	source := "package p\n"
	for _, i := range imports {
		source += fmt.Sprintf("import _ %q\n", i)
	}
	m.write(file, source)
}

func (m module) arrows() (string, error) {
	m.t.Helper()
	out, err := exec.Command(nartest.Tool(m.t, "bash"), "arrows", m.dir).CombinedOutput()
	return string(out), err
}

func (m module) write(path, contents string) {
	m.t.Helper()
	path = filepath.Join(m.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(contents), 0o644); err != nil {
		m.t.Fatal(err)
	}
}
