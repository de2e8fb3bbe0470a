package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"narseal/macho/machotest"
	"narseal/nar/compression"
	"narseal/nar/nartest"
)

// Each command that cannot write to stdout ends with an error. A command that is not in the table fails the test.
func TestStdoutIsFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()

	stale, _ := machotest.Stale(20_000)
	base := hashA + "-x"
	archive := nartest.Tree(nartest.Dir{"text": nartest.File("see /nix/store/" + base), "image": nartest.Exec(stale)})
	tests := map[string][]string{ // by command
		"rewrite":       {"-m " + hashA + "=" + hashB + " IN", "-m " + hashA + "=" + hashB + " -o /dev/full IN"},
		"repair":        {"IN", "--in-place DIR/image"},
		"verify":        {"IN", "DIR/image", "--format json IN", "--format github IN", "--report /dev/full IN", "--html /dev/full IN"},
		"refs":          {"IN", "--format json IN", "--report /dev/full IN", "CACHE"},
		"address":       {"--self /nix/store/" + base + " IN"},
		"cache verify":  {"CACHE", "--format json CACHE", "--format github CACHE"},
		"cache repair":  {"CACHE", "--dry-run CACHE", "--output DIR/repaired CACHE"},
		"cache rewrite": {"--rename -m " + hashA + "=" + hashB + " CACHE"},
		"cache summary": {"DIR/ledger", "--format json DIR/ledger"},
		"store verify":  {"", "--format json"},
		"store repair":  {"--dry-run", ""},
		"completion":    {"bash", "zsh", "fish"},
		"help":          {"", "verify"},
		"man":           {"/dev/full"},
		"":              {"--help", "--version", "verify --help", "cache help"},
		"cache":         {"--help", "help verify"},
		"store":         {"--help"},
	}
	eachCommand(testApp().Commands, func(c *cli.Command) {
		if _, ok := tests[strings.TrimPrefix(c.HelpName, program+" ")]; !ok {
			t.Errorf("%s is not tested", c.HelpName)
		}
	})
	for command, calls := range tests {
		for _, call := range calls {
			call = strings.TrimSpace(command + " " + call)
			t.Run(call, func(t *testing.T) {
				dir := t.TempDir()
				c := exec.Command("narseal")
				if strings.HasPrefix(call, "store ") && !strings.HasSuffix(call, "--help") {
					s := newNixStore(t)
					s.fill()
					c.Env = s.env
				}
				cache := filepath.Join(dir, "cache")
				if err := addMember(cache, base, archive, compression.None, nil); err != nil {
					t.Fatal(err)
				}
				writeFile(t, filepath.Join(dir, "in.nar"), archive)
				writeFile(t, filepath.Join(dir, "image"), stale)
				writeFile(t, filepath.Join(dir, "ledger"), nil)
				names := strings.NewReplacer("DIR", dir, "IN", filepath.Join(dir, "in.nar"), "CACHE", cache)
				for _, arg := range strings.Fields(call) {
					c.Args = append(c.Args, names.Replace(arg))
				}
				c.Stdout = full
				status, stderr := runStatus(t, c)
				if want := map[bool]string{false: "no space left on device", true: "not a directory"}[command == "man"]; status != statusError ||
					!strings.HasPrefix(stderr, "narseal: ") || !strings.Contains(stderr, want) {
					t.Errorf("status %d, want %d with %q; stderr: %s", status, statusError, want, stderr)
				}
			})
		}
	}
}

// A reader of help who goes away ends the program as one of a list does: by SIGPIPE, without a message.
func TestReaderOfHelpGone(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"--version"}, {"help", "rewrite"}, {"completion", "bash"}} {
		r, w := pipe(t)
		r.Close()
		c := newChild(args...)
		c.Stdout = w
		c.start(t)
		if status := c.ended(t); status != 141 || c.stderr.Len() > 0 {
			t.Errorf("%q: status %d; stderr: %s", args, status, &c.stderr)
		}
	}
}
