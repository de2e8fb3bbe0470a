package scripts

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"narseal/nar/nartest"
)

// step is a script of an example, for a shell.
type step struct {
	shell  []string
	script string
	env    []string
}

// example is a file of docs/examples, and what it must call.
type example struct {
	file  string
	args  []string
	calls string // of the stubs, if every signature is valid; PATH is what was built
	bad   string // of the stubs, if one is not
	steps func(t *testing.T, file []byte) []step
}

// TestExamples runs the files of docs/examples, with stubs for Nix and for the services, and narseal as it is: once with a
// build whose signatures are valid, and once with another. That one ends with status 3 and is not pushed.
func TestExamples(t *testing.T) {
	sh, bash := nartest.Tool(t, "sh"), nartest.Tool(t, "bash")
	program := filepath.Join(t.TempDir(), "narseal")
	if out, err := exec.Command(nartest.Tool(t, "go"), "build", "-o", program, "narseal/cmd/narseal").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	posix := func(_ *testing.T, file []byte) []step {
		return []step{{shell: []string{sh}, script: string(file)}}
	}
	const build = "nix build\n"
	const requisites = "nix-store --query --requisites ./result\n"
	for _, e := range []example{
		{"attic-push.sh", []string{"ci", "PATH"}, "nix-store --query --requisites PATH\nattic push ci PATH\n", "nix-store --query --requisites PATH\n", posix},
		{"cachix-push.sh", []string{"ci", "PATH"}, "nix-store --query --requisites PATH\ncachix push ci PATH\n", "nix-store --query --requisites PATH\n", posix},
		{"niks3-push.sh", []string{"PATH"}, "nix-store --query --requisites PATH\nniks3 push PATH\n", "nix-store --query --requisites PATH\n", posix},
		{"hydra-runcommand.sh", nil, "jq -r .outputs[].path build.json\n", "jq -r .outputs[].path build.json\n", posix},
		{"github-workflow.yml", nil, "nix build --out-link tmp/narseal NARSEAL\n" + build + requisites, "nix build --out-link tmp/narseal NARSEAL\n" + build + requisites,
			func(t *testing.T, file []byte) []step { return githubSteps(t, file, bash) }},
		{"gitlab-ci.yml", nil, build + "nix build --out-link narseal NARSEAL\n" + requisites, build + "nix build --out-link narseal NARSEAL\n" + requisites,
			func(t *testing.T, file []byte) []step { return gitlabSteps(t, file, bash) }},
		{"buildkite.yml", nil, build + requisites, build + requisites + "buildkite-agent annotate --style error --context signatures\n",
			func(t *testing.T, file []byte) []step { return buildkiteSteps(t, file, bash) }},
	} {
		t.Run(e.file, func(t *testing.T) {
			file, err := os.ReadFile("../docs/examples/" + e.file)
			if err != nil {
				t.Fatal(err)
			}
			steps := e.steps(t, file)
			for status, want := range map[int]string{0: e.calls, 3: e.bad} {
				got, calls, out := runExample(t, steps, e.args, program, status != 0)
				if got != status || calls != want {
					t.Errorf("status %d, want %d; calls\n%swant\n%s%s", got, status, calls, want, out)
				}
			}
		})
	}
	files, err := filepath.Glob("../docs/examples/*.*") // those in directories have tests of their own
	if err != nil || len(files) != 8 {
		t.Errorf("files %q, of which 7 were tried: %v", files, err)
	}
}

// stub logs how it is called, and does what is in the environment under its name.
const stub = `#!/bin/sh
echo "${0##*/} $*" >>"$CALLS"
case ${0##*/} in
nix-store) echo "$BUILT" ;;
nix) ln -sfn "$BUILT" result
	case "$*" in *--out-link*) mkdir -p narseal/bin tmp/narseal/bin && ln -sf "$NARSEAL_PROGRAM" narseal/bin/narseal && ln -sf "$NARSEAL_PROGRAM" tmp/narseal/bin/narseal ;; esac ;;
jq) echo "$BUILT" ;;
buildkite-agent) cat >/dev/null ;;
esac
`

// runExample runs steps up to the first that fails. It returns the status, and the calls of the stubs.
func runExample(t *testing.T, steps []step, args []string, program string, broken bool) (status int, calls, out string) {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "stubs")
	for _, d := range []string{bin, filepath.Join(dir, "built", "bin"), filepath.Join(dir, "work")} {
		if err := os.MkdirAll(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"nix", "nix-store", "attic", "cachix", "niks3", "jq", "buildkite-agent"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(stub), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	image, err := os.ReadFile("../testdata/macho/goldens/A/lld-arm64")
	if err != nil {
		t.Fatal(err)
	}
	if broken {
		image[4096] ^= 0xff
	}
	built := filepath.Join(dir, "built")
	if err := os.WriteFile(filepath.Join(built, "bin", "hello"), image, 0o777); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "calls")
	for _, s := range steps {
		cmd := exec.Command(s.shell[0], append(append(s.shell[1:], "-c", s.script, "sh"), replaceAll(args, "PATH", built)...)...)
		cmd.Dir = filepath.Join(dir, "work")
		cmd.Env = append(os.Environ(), append([]string{
			"PATH=" + bin + ":" + filepath.Dir(program) + ":" + os.Getenv("PATH"), "CALLS=" + log, "BUILT=" + built, "NARSEAL_PROGRAM=" + program,
			"HYDRA_JSON=build.json", "RUNNER_TEMP=tmp", "GITHUB_PATH=path", "GITHUB_STEP_SUMMARY=", "NARSEAL=NARSEAL",
		}, s.env...)...)
		b, err := cmd.CombinedOutput()
		out += string(b)
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			status = exit.ExitCode()
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return status, strings.ReplaceAll(string(b), built, "PATH"), out
}

func replaceAll(list []string, old, new string) []string {
	var all []string
	for _, s := range list {
		all = append(all, strings.ReplaceAll(s, old, new))
	}
	return all
}

// githubSteps are the scripts of a workflow, as the runner runs them.
func githubSteps(t *testing.T, file []byte, bash string) []step {
	var workflow struct {
		Name string
		On   []string
		Env  map[string]string
		Jobs map[string]struct {
			RunsOn string `yaml:"runs-on"`
			Steps  []struct {
				Name, Uses, Run, Shell, If string
				With                       map[string]string
			}
		}
	}
	strict(t, file, &workflow)
	var steps []step
	for _, job := range workflow.Jobs {
		for _, s := range job.Steps {
			switch {
			case s.Uses != "":
				if !regexp.MustCompile(`^[a-z-]+/[a-z-]+@v\d+$`).MatchString(s.Uses) {
					t.Errorf("uses %q", s.Uses)
				}
			case s.Shell == "bash":
				steps = append(steps, step{shell: []string{bash, "--noprofile", "--norc", "-eo", "pipefail"}, script: s.Run})
			default:
				steps = append(steps, step{shell: []string{bash, "-e"}, script: s.Run})
			}
		}
	}
	return steps
}

// gitlabSteps is the script of a job, whose lines are run one after the other.
func gitlabSteps(t *testing.T, file []byte, bash string) []step {
	var jobs map[string]struct {
		Image     string
		Variables map[string]string
		Script    []string
		Artifacts struct {
			When     string
			ExposeAs string `yaml:"expose_as"`
			Paths    []string
		}
	}
	strict(t, file, &jobs)
	return []step{{shell: []string{bash, "-eo", "pipefail"}, script: strings.Join(jobs["signatures"].Script, "\n")}}
}

// buildkiteSteps is the command of a step. The agent replaces $$ by $ when it uploads the pipeline.
func buildkiteSteps(t *testing.T, file []byte, bash string) []step {
	var pipeline struct {
		Steps []struct {
			Label, Command string
			ArtifactPaths  string `yaml:"artifact_paths"`
		}
	}
	strict(t, file, &pipeline)
	command := pipeline.Steps[0].Command
	if bare := regexp.MustCompile(`(^|[^$])\$[^$]`).FindString(command); bare != "" {
		t.Errorf("the agent would replace %q itself", bare)
	}
	return []step{{shell: []string{bash, "-e"}, script: strings.ReplaceAll(command, "$$", "$")}}
}

// strict reads YAML in which every key is known.
func strict(t *testing.T, file []byte, to any) {
	t.Helper()
	d := yaml.NewDecoder(strings.NewReader(string(file)))
	d.KnownFields(true)
	if err := d.Decode(to); err != nil {
		t.Fatal(fmt.Errorf("yaml: %w", err))
	}
}
