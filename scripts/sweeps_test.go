package scripts

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"
	"go.yaml.in/yaml/v3"

	"narseal/nar/binarycache/cachetest"
	"narseal/nar/nartest"
)

// A sweepFile runs what a file of docs/sweeps has a scheduler run, with a cache, an overlay and ledgers in directories.
type sweepFile struct {
	t       *testing.T
	dir     string
	program string
	paths   int
	broken  int
	key     string            // secret
	env     map[string]string // over that of the file
}

func newSweepFile(t *testing.T, program string) *sweepFile {
	t.Helper()
	f := &sweepFile{t: t, dir: t.TempDir(), program: program, paths: 40, broken: 5}
	image, err := os.ReadFile("../testdata/macho/goldens/A/ents-arm64")
	if err != nil {
		t.Fatal(err)
	}
	image[200] ^= 1
	upstream, public, err := signature.GenerateKeypair("upstream-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	var list strings.Builder
	for i := range f.paths {
		// The hash parts are spread over the whole range, so that each of 16 shards has two or three.
		base := fmt.Sprintf("%c%c%s-p%d", "0123456789abcdfghijklmnpqrsvwxyz"[i*32/f.paths], 'a', strings.Repeat(strconv.Itoa(i%10), 30), i)
		tree := nartest.Dir{"text": nartest.File(base)}
		if i%8 == 0 {
			tree["image"] = nartest.Exec(image)
		}
		if err := cachetest.Write(filepath.Join(f.dir, "cache"), cachetest.Path{Base: base, NAR: nartest.Tree(tree)}); err != nil {
			t.Fatal(err)
		}
		sign(t, filepath.Join(f.dir, "cache", base[:32]+".narinfo"), upstream)
		fmt.Fprintf(&list, "/nix/store/%s\n", base)
	}
	f.write("list", list.String())
	f.key, _ = cachetest.Key(t)
	f.write("key", f.key)
	f.env = map[string]string{"CACHE": f.dir + "/cache", "OVERLAY": f.dir + "/overlay", "LIST": f.dir + "/list", "STATE": f.dir + "/state", "RETRY_WAIT": "0",
		"TRUSTED_KEYS": public.String()}
	return f
}

// sign signs a narinfo without references.
func sign(t *testing.T, name string, key signature.SecretKey) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	value := func(key string) string {
		return regexp.MustCompile(`(?m)^` + key + `: (.*)$`).FindStringSubmatch(string(b))[1]
	}
	sig, err := key.Sign(nil, fmt.Sprintf("1;%s;%s;%s;", value("StorePath"), value("NarHash"), value("NarSize")))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, fmt.Appendf(b, "Sig: %s\n", sig), 0o600); err != nil {
		t.Fatal(err)
	}
}

// shard.sh signs nothing whose signature is not checked, unless that is said, and gives each shard a ledger of its own, also
// where the URL of their directory has parameters.
func TestShardScript(t *testing.T) {
	bash := nartest.Tool(t, "bash")
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/narseal", []byte("#!/bin/sh\necho \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ keys, state, want, not string }{
		{"", "s3://b/l", "shard.sh: set TRUSTED_KEYS", "cache repair"},
		{"none", "s3://b/l", "--ledger s3://b/l/ledger-3.jsonl C", "--trusted"},
		{"a:1 b:2", "s3://b/l?region=eu-west-1&profile=x", "--ledger s3://b/l/ledger-3.jsonl?region=eu-west-1&profile=x --trusted-public-keys a:1 b:2 C", "set"},
		{"none", dir + "/a?b", "--ledger " + dir + "/a?b/ledger-3.jsonl C", "set"},
	} {
		cmd := exec.Command(bash, shardScript(t), "3/8")
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "CACHE=C", "OVERLAY=O", "KEY=K", "LIST=L", "STATE="+c.state, "TRUSTED_KEYS="+c.keys)
		out, err := cmd.CombinedOutput()
		if (err == nil) != (c.keys != "") || !strings.Contains(string(out), c.want) || strings.Contains(string(out), c.not) {
			t.Errorf("%+v: %v: got %s", c, err, out)
		}
	}
}

func (f *sweepFile) write(name, text string) {
	f.t.Helper()
	name = filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
		f.t.Fatal(err)
	}
}

// run runs a command with the environment that a file gives it, and more.
func (f *sweepFile) run(command []string, envs ...map[string]string) string {
	f.t.Helper()
	env := map[string]string{}
	for _, e := range append(envs, f.env) {
		maps.Copy(env, e)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = f.dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(f.dir, "stubs")+":"+filepath.Dir(f.program)+":"+os.Getenv("PATH"))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, name+"="+env[name])
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		f.t.Errorf("%q: %v\n%s", command, err, out)
	}
	return string(out)
}

// check checks that each path is in the ledgers once, and what is broken in the overlay.
func (f *sweepFile) check(shards int) {
	f.t.Helper()
	ledgers, err := filepath.Glob(f.dir + "/state/ledger-*.jsonl")
	if err != nil || len(ledgers) != shards {
		f.t.Fatalf("ledgers %q, want %d", ledgers, shards)
	}
	lines := map[string]int{}
	for _, name := range ledgers {
		b, err := os.ReadFile(name)
		if err != nil {
			f.t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`"storePath":"([^"]*)"`).FindAllSubmatch(b, -1) {
			lines[string(m[1])]++
		}
	}
	for path, n := range lines {
		if n != 1 {
			f.t.Errorf("%s is in the ledgers %d times", path, n)
		}
	}
	infos, err := filepath.Glob(f.dir + "/overlay/*.narinfo")
	if err != nil || len(lines) != f.paths || len(infos) != f.broken {
		f.t.Errorf("%d paths in the ledgers and %d in the overlay, want %d and %d", len(lines), len(infos), f.paths, f.broken)
	}
}

func readSweepFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("../docs/sweeps/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func shardScript(t *testing.T) string {
	t.Helper()
	script, err := filepath.Abs("../docs/sweeps/shard.sh")
	if err != nil {
		t.Fatal(err)
	}
	return script
}

// nameValues are environment variables in a list.
type nameValues []struct{ Name, Value string }

func (l nameValues) env() map[string]string {
	env := map[string]string{}
	for _, v := range l {
		env[v.Name] = v.Value
	}
	return env
}

// The commands of the files in docs/sweeps for Kubernetes, AWS Batch and GitHub Actions sweep a cache, with the variables that
// the schedulers set. TestSweep of cmd/narseal has GNU parallel and Slurm themselves run theirs.
func TestSweepFiles(t *testing.T) {
	for _, tool := range []string{"bash", "sha256sum", "tar", "zstd"} {
		nartest.Tool(t, tool)
	}
	program := filepath.Join(t.TempDir(), "narseal")
	if out, err := exec.Command(nartest.Tool(t, "go"), "build", "-o", program, "narseal/cmd/narseal").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Run("kubernetes", func(t *testing.T) { sweepKubernetes(newSweepFile(t, program)) })
	t.Run("aws-batch", func(t *testing.T) { sweepAWSBatch(newSweepFile(t, program)) })
	t.Run("github-actions", func(t *testing.T) { sweepGitHub(newSweepFile(t, program)) })
}

func sweepKubernetes(f *sweepFile) {
	var job struct {
		Spec struct {
			Completions int
			Template    struct {
				Spec struct {
					Containers []struct {
						Command []string
						Env     nameValues
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal(readSweepFile(f.t, "kubernetes.yaml"), &job); err != nil {
		f.t.Fatal(err)
	}
	container := job.Spec.Template.Spec.Containers[0]
	f.env["KEY"] = f.dir + "/key"
	for i := range job.Spec.Completions {
		f.run(replaceAll(container.Command, "/shard.sh", shardScript(f.t)), container.Env.env(), map[string]string{"JOB_COMPLETION_INDEX": strconv.Itoa(i)})
	}
	f.check(job.Spec.Completions)
}

func sweepAWSBatch(f *sweepFile) {
	var definition struct {
		JobDefinitionName   string
		ContainerProperties struct {
			Command     []string
			Environment nameValues
			Secrets     nameValues
		}
	}
	if err := json.Unmarshal(readSweepFile(f.t, "aws-batch.json"), &definition); err != nil {
		f.t.Fatal(err)
	}
	f.write("stubs/aws", "#!/bin/sh\necho \"aws $*\"\n")
	script, err := filepath.Abs("../docs/sweeps/aws-batch.sh")
	if err != nil {
		f.t.Fatal(err)
	}
	calls := f.run([]string{"bash", script}, map[string]string{"QUEUE": "queue"})
	m := regexp.MustCompile(`submit-job .* --job-queue queue --job-definition (\S+) --array-properties size=(\d+)`).FindStringSubmatch(calls)
	if m == nil || m[1] != definition.JobDefinitionName {
		f.t.Fatalf("aws-batch.sh calls\n%s", calls)
	}
	size, err := strconv.Atoi(m[2])
	if err != nil {
		f.t.Fatal(err)
	}
	c := definition.ContainerProperties
	command := replaceAll(replaceAll(c.Command, "/shard.sh", shardScript(f.t)), "/tmp/key", f.dir+"/job-key")
	for i := range size {
		f.run(command, c.Environment.env(), map[string]string{
			c.Secrets[0].Name: f.key, "AWS_BATCH_JOB_ARRAY_INDEX": strconv.Itoa(i), "AWS_BATCH_JOB_ARRAY_SIZE": m[2],
		})
	}
	f.check(size)
}

// stubs of sweepGitHub: curl gives a release, and aws copies between the directory and what stands for buckets.
const (
	curlStub = "#!/bin/sh\ncp \"$RELEASE/${2##*/}\" .\n"
	awsStub  = `#!/bin/bash
set -eu
[ "$1 $2" = "s3 cp" ]
shift 2
options=()
while [ $# -gt 2 ]; do options+=("$1"); shift; done
case " ${options[*]} " in *recursive*) flag=-r ;; *) flag=-f ;; esac
from=${1/s3:\/\/overlay-state/$BUCKET} to=${2/s3:\/\/overlay-state/$BUCKET}
cp $flag "$from" "${to/s3:\/\/overlay/$BUCKET\/overlay}"
`
)

func sweepGitHub(f *sweepFile) {
	type stepOf struct {
		Uses, Run string
		Env       map[string]string
	}
	var workflow struct {
		Env  map[string]string
		Jobs map[string]struct {
			Strategy struct{ Matrix struct{ Index []int } }
			Steps    []stepOf
		}
	}
	if err := yaml.Unmarshal(readSweepFile(f.t, "github-actions.yml"), &workflow); err != nil {
		f.t.Fatal(err)
	}
	f.write("stubs/curl", curlStub)
	f.write("stubs/aws", awsStub)
	f.write(".github/workflows/shard.sh", string(readSweepFile(f.t, "shard.sh")))
	f.write("release/x", "")
	f.write("bucket/overlay/x", "")
	f.run([]string{"tar", "-C", filepath.Dir(f.program), "-czf", "release/narseal-linux-amd64.tar.gz", "narseal"})
	sum := strings.Fields(f.run([]string{"sha256sum", "release/narseal-linux-amd64.tar.gz"}))[0]
	bucket := f.dir + "/bucket"
	f.env["STATE"] = bucket + "/ledgers"
	maps.Copy(f.env, map[string]string{
		"HOME": f.dir, "RUNNER_TEMP": f.dir, "GITHUB_PATH": f.dir + "/path", "GITHUB_STEP_SUMMARY": f.dir + "/summary.md",
		"RELEASE": f.dir + "/release", "BUCKET": bucket,
	})
	values := map[string]string{"${{ vars.NARSEAL_URL }}": "https://example.org", "${{ vars.NARSEAL_SHA256 }}": sum, "${{ secrets.NARSEAL_SECRET_KEY }}": f.key}
	steps := func(job, index string) {
		for _, s := range workflow.Jobs[job].Steps {
			if s.Run == "" {
				continue
			}
			env := maps.Clone(s.Env)
			for name, value := range env {
				if v, ok := values[value]; ok {
					env[name] = v
				}
			}
			script := strings.ReplaceAll(s.Run, "${{ matrix.index }}", index)
			f.run([]string{"bash", "-e", "-c", script}, workflow.Env, env)
		}
	}
	indexes := workflow.Jobs["shard"].Strategy.Matrix.Index
	for _, i := range indexes {
		steps("shard", strconv.Itoa(i))
	}
	if err := os.Symlink(bucket+"/ledgers", f.dir+"/state"); err != nil {
		f.t.Fatal(err)
	}
	f.check(len(indexes))
	for range 2 { // the second day has something to compare with
		steps("summary", "")
		if err := os.RemoveAll(f.dir + "/ledgers"); err != nil {
			f.t.Fatal(err)
		}
	}
	b, err := os.ReadFile(f.dir + "/summary.md")
	if err != nil || strings.Count(string(b), fmt.Sprintf("%d paths, %d with invalid signatures", f.paths, f.broken)) != 2 {
		f.t.Errorf("the summary: %v\n%s", err, b)
	}
	if _, err := os.Stat(bucket + "/overlay/summary.html"); err != nil {
		f.t.Error(err)
	}
}
