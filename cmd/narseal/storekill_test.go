package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"narseal/nar/nartest"
)

// A run that is killed at any moment, together with the Nix that it has started, loses nothing: the next one completes
// it. NARSEAL_STORE_KILLS says how many times it is killed, with each Nix.
func TestStoreKilled(t *testing.T) {
	kills := 4
	if s := os.Getenv("NARSEAL_STORE_KILLS"); s != "" {
		var err error
		if kills, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	nartest.Tool(t, "nix-store")
	nixes(t, func(t *testing.T, first *nixStore) {
		done, cut := 0, 0
		for round := random.IntN(3); done < kills; round++ {
			k := newKillStore(t, newNixStore(t, filepath.SplitList(first.get("PATH"))[0]))
			if round%3 == 1 { // narseal has to replace and register the paths
				k.set("PATH", unableNix(t, k.tool("nix-store"), "--repair-path")+":"+k.get("PATH"))
			}
			for n := min(20, kills-done); n > 0 && k.repair(random); n-- {
				done++
				incomplete := k.incomplete()
				if cut += incomplete; incomplete > 0 {
					k.foreseen()
				}
			}
			k.want(0, "store", "repair")
			k.check()
		}
		t.Logf("killed %d times; %d times a path was incomplete then", done, cut)
	})
}

// killStore is a store in which several paths are to be repaired.
type killStore struct {
	*nixStore
	paths           []string
	stale, repaired []byte
	rows            map[string]map[string]any
	took            time.Duration // by a run that is not killed
}

func newKillStore(t *testing.T, s *nixStore) *killStore {
	k := &killStore{nixStore: s}
	k.stale, k.repaired = rewritten(t, "lld-arm64")
	var closure []closurePath
	for i := range 4 {
		path := s.path("fghi"[i:i+1], "app")
		k.paths = append(k.paths, path)
		many := nartest.Dir{} // which take Nix a while
		for j := range 300 {
			many[strconv.Itoa(j)] = nartest.File(strconv.Itoa(j))
		}
		closure = append(closure, closurePath{path: path, refs: k.paths[:i], tree: nartest.Dir{
			"a": nartest.File("a"), "hello": nartest.Exec(k.stale), "many": many, "z": nartest.File("z"),
		}})
	}
	s.nix(exportOf(closure), "nix-store", "--import")
	s.nix(nil, "nix-store", "--optimise")
	k.rows = s.store()
	begin := time.Now()
	s.want(0, "store", "repair", "--dry-run")
	k.took = 3 * time.Since(begin) // more or less: Nix starts a few times more
	return k
}

// store is what the database has of the paths, but for what a repair changes.
func (s *nixStore) store() map[string]map[string]any {
	rows := s.rows()
	for _, row := range rows {
		for _, field := range []string{"narHash", "signatures", "ultimate", "ca"} {
			delete(row, field)
		}
	}
	return rows
}

// repair runs store repair and kills it and all that it has started, unless it ends before.
func (k *killStore) repair(random *rand.Rand) (killed bool) {
	k.t.Helper()
	before := k.incomplete()
	cmd := exec.Command("narseal", "store", "repair")
	cmd.Env, cmd.SysProcAttr = k.env, &syscall.SysProcAttr{Setsid: true}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	// Half of the time, the kill waits until something is staged: then Nix is at work.
	moment := time.Duration(random.Int64N(int64(k.took)))
	if random.IntN(2) == 0 {
		for len(k.staged("*")) == 0 && len(ended) == 0 {
			time.Sleep(time.Millisecond)
		}
		moment /= 4
	}
	select {
	case err := <-ended:
		if err != nil {
			k.t.Fatalf("%v: %s", err, &stderr)
		}
		return false
	case <-time.After(moment):
	}
	if random.IntN(4) == 0 { // by Ctrl-C, with which Nix ends what it has begun
		_ = syscall.Kill(cmd.Process.Pid, syscall.SIGINT)
		<-ended
		if n := k.incomplete(); n > before {
			k.t.Errorf("after SIGINT %d paths are incomplete, before %d: %s", n, before, &stderr)
		}
		return true
	}
	_ = syscall.Kill(cmd.Process.Pid, syscall.SIGKILL)
	<-ended
	for range 3 { // one may have begun another meanwhile
		for _, pid := range session(cmd.Process.Pid) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	return true
}

// session lists the processes of a session.
func session(id int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		// pid (name) state ppid pgrp session
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(fields) > 3 && fields[3] == strconv.Itoa(id) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// incomplete counts the paths that are not as they were and not repaired. Each must be staged.
func (k *killStore) incomplete() (n int) {
	k.t.Helper()
	for _, path := range k.paths {
		hello, err := os.ReadFile(path + "/hello")
		z, errZ := os.ReadFile(path + "/z")
		if err == nil && errZ == nil && string(z) == "z" && (bytes.Equal(hello, k.stale) || bytes.Equal(hello, k.repaired)) {
			continue
		}
		n++
		if staged := k.staged(filepath.Base(path)); len(staged) != 1 {
			k.t.Errorf("%s is incomplete and not staged: %q", path, staged)
		}
	}
	return n
}

// foreseen looks at a store that was left incomplete: verify says so, and a dry run says that the next run completes it.
func (k *killStore) foreseen() {
	k.t.Helper()
	if _, stderr := k.want(1, "store", "verify"); !strings.Contains(stderr, "its repair is not complete") {
		k.t.Errorf("store verify: %s", stderr)
	}
	k.want(0, "store", "repair", "--dry-run")
}

// staged lists what is staged of a path.
func (k *killStore) staged(base string) []string {
	found, err := filepath.Glob(k.get("NIX_STATE_DIR") + "/narseal/store-*/" + base + "/record.json")
	if err != nil {
		k.t.Fatal(err)
	}
	return found
}

// check looks at a store that is repaired.
func (k *killStore) check() {
	k.t.Helper()
	k.clean("after the kills")
	k.want(0, "store", "verify")
	for _, path := range k.paths {
		if !bytes.Equal(readFile(k.t, path+"/hello"), k.repaired) || string(readFile(k.t, path+"/many/299")) != "299" {
			k.t.Errorf("%s is not repaired", path)
		}
	}
	if rows := k.store(); !reflect.DeepEqual(rows, k.rows) {
		k.t.Errorf("the database has %v, had %v", rows, k.rows)
	}
	var left []string
	for _, pattern := range []string{k.dir + "/.narseal*", k.get("NIX_STATE_DIR") + "/narseal/*/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			k.t.Fatal(err)
		}
		left = append(left, found...)
	}
	if len(left) > 0 {
		k.t.Errorf("left: %q", left)
	}
}
