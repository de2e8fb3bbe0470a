package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/urfave/cli/v2"

	"narseal/nar/nartest"
)

// What a user types, and what the tabulator makes of it. It is the same in
// every shell, but that fish is asked for what it would offer.
var completionCases = []struct{ typed, completed string }{
	// commands
	{"narseal ver", "narseal verify"},
	{"narseal cache rep", "narseal cache repair"},
	{"narseal help rew", "narseal help rewrite"},
	{"narseal help cache ver", "narseal help cache verify"},
	{"narseal completion z", "narseal completion zsh"},
	// options of the program, a command, and a command of a command
	{"narseal --vers", "narseal --version"},
	{"narseal rewrite --map-", "narseal rewrite --map-file"},
	{"narseal verify --al", "narseal verify --all"},
	{"narseal cache verify --tru", "narseal cache verify --trusted-public-keys"},
	{"narseal cache rewrite --pru", "narseal cache rewrite --prune"},
	// words as values, also in one word with the option
	{"narseal verify --format js", "narseal verify --format json"},
	{"narseal rewrite --compression=zs", "narseal rewrite --compression=zstd"},
	{"narseal rewrite -m a=b --repair al", "narseal rewrite -m a=b --repair all"},
	{"narseal cache repair --on-cms ad", "narseal cache repair --on-cms adhoc"},
	// files as values and as inputs
	{"narseal rewrite -o some-f", "narseal rewrite -o some-file"},
	{"narseal verify --report some-f", "narseal verify --report some-file"},
	{"narseal verify some-f", "narseal verify some-file"},
	{"narseal cache verify some-d", "narseal cache verify some-dir/"},
	// a directory with the name of a command
	{"narseal cach", "narseal cache"},
	// nothing completes a number
	{"narseal verify -j some-f", "narseal verify -j some-f"},
}

// completionDir is a directory with the script of a shell and the files that the
// cases name.
func completionDir(t *testing.T, shell string) string {
	dir := t.TempDir()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{program, "completion", shell}, nil, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Fatalf("status %d, %s", code, &stderr)
	}
	for name, data := range map[string][]byte{"script": stdout.Bytes(), "some-file": nil} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"some-dir", "cache"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// completeInteractively runs a shell on a terminal, and types.
func completeInteractively(t *testing.T, dir, begin string, command ...string) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TERM=dumb", "LC_ALL=C", "HISTFILE="}
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 50, Cols: 200})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
		tty.Close()
	}()
	got := make(chan []byte)
	go func() {
		defer close(got)
		for {
			b := make([]byte, 4096)
			n, err := tty.Read(b)
			if err != nil {
				return
			}
			got <- b[:n]
		}
	}()
	// until waits for what the shell writes.
	until := func(pattern string) string {
		re := regexp.MustCompile(pattern)
		var all []byte
		timeout := time.After(30 * time.Second)
		for {
			if m := re.FindSubmatch(all); m != nil {
				return string(m[1])
			}
			select {
			case b, ok := <-got:
				if !ok {
					t.Fatalf("the shell ended, having written %q", all)
				}
				all = append(all, b...)
			case <-timeout:
				t.Fatalf("the shell never wrote %s, but %q", pattern, all)
			}
		}
	}
	tty.WriteString(begin + "; echo rea''dy\r")
	until("\n(ready)")
	for _, c := range completionCases {
		// At the beginning of the line, what makes it harmless and visible.
		tty.WriteString(c.typed + "\t\x01: '\x05' ; echo GOT \"$_\" \r")
		if line := strings.TrimSpace(until("GOT ([^\r\n\"$]*)\r")); line != c.completed {
			t.Errorf("%q becomes %q, want %q", c.typed, line, c.completed)
		}
	}
}

func TestBashCompletion(t *testing.T) {
	completeInteractively(t, completionDir(t, "bash"), "source ./script; bind 'set bell-style none'",
		nartest.Tool(t, "bash"), "--norc", "--noprofile", "-i")
}

func TestZshCompletion(t *testing.T) {
	completeInteractively(t, completionDir(t, "zsh"), "autoload -Uz compinit; compinit -D -u; bindkey -e; source ./script; setopt no_beep no_auto_remove_slash",
		nartest.Tool(t, "zsh"), "-f", "-i")
}

// fishQuote makes s one word of fish, where a backslash in quotes is special.
func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}

func TestFishCompletion(t *testing.T) {
	dir := completionDir(t, "fish")
	fish := nartest.Tool(t, "fish")
	for _, c := range completionCases {
		cmd := exec.Command(fish, "--no-config", "-c", "source ./script; complete -C "+fishQuote(c.typed))
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var offered []string
		for line := range strings.Lines(string(out)) {
			word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			offered = append(offered, word)
		}
		i := strings.LastIndexByte(c.completed, ' ')
		want := []string{c.completed[i+1:]}
		if c.completed == c.typed {
			want = nil
		}
		if !slices.Equal(offered, want) {
			t.Errorf("after %q fish offers %q, want %q", c.typed, offered, want)
		}
	}
}

// Every command and option is in every script, and no other that looks like
// one.
func TestCompletionIsWhole(t *testing.T) {
	app := testApp()
	want := map[string]bool{}
	for _, c := range programManual(app).All() {
		for _, o := range c.Options {
			want["--"+o.Long] = true
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		var stdout, stderr bytes.Buffer
		run(t.Context(), []string{program, "completion", shell}, nil, &stdout, &stderr)
		text := stdout.String()
		if shell == "fish" {
			text = strings.ReplaceAll(text, "-l ", "--")
		}
		for o := range want {
			if !strings.Contains(text, o) {
				t.Errorf("%s: %s is not completed", shell, o)
			}
		}
		eachCommand(app.Commands, func(c *cli.Command) {
			if !regexp.MustCompile(`\b` + c.Name + `\b`).MatchString(text) {
				t.Errorf("%s: %s is not completed", shell, c.Name)
			}
		})
		if regexp.MustCompile(`\bman\b`).MatchString(text) {
			t.Errorf("%s: the hidden command is completed", shell)
		}
	}
}
