package storecmd

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/nixcli"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter"
	"narseal/macho"
	"narseal/macho/bundle"
	"narseal/nar"
	"narseal/nar/nartest"
)

// put writes a tree to disk.
func put(t *testing.T, path string, n nartest.Node) {
	t.Helper()
	var err error
	switch n := n.(type) {
	case nartest.File:
		err = os.WriteFile(path, []byte(n), 0o444)
	case nartest.Exec:
		err = os.WriteFile(path, []byte(n), 0o555)
	case nartest.Symlink:
		err = os.Symlink(string(n), path)
	case nartest.Dir:
		err = os.Mkdir(path, 0o755)
		for name, inner := range n {
			put(t, filepath.Join(path, name), inner)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func randomTree(random *rand.Rand, depth int) nartest.Node {
	text := strings.Repeat("x", random.IntN(20))
	switch n := random.IntN(5 + depth); n {
	case 0:
		return nartest.Symlink("y" + text)
	case 1:
		return nartest.Exec(text)
	case 2:
		return nartest.File(text)
	default:
		dir := nartest.Dir{}
		for i := range random.IntN(5) {
			if depth > 0 {
				dir[strings.Repeat(string(rune('a'+i)), 1+random.IntN(20))] = randomTree(random, depth-1)
			}
		}
		return dir
	}
}

func newSizeRun(dir string) *run {
	return &run{
		Env: &command.Env{Terminal: terminal.New(new(strings.Builder))}, store: &nixcli.Store{Dir: dir, RealDir: dir}, jobs: 2,
		budget: report.NewBudget(1 << 20), bundles: bundle.NewPool(bundle.DefaultPool),
	}
}

// The size that a scan adds up is that of the archive, which another encoder makes; every loss is found.
func TestArchiveSize(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := newSizeRun(dir)
	r.pauses = settleAll // nobody else is at work
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		tree := randomTree(random, 3)
		path := filepath.Join(dir, base)
		put(t, path, tree)
		size := int64(len(nartest.Tree(tree)))
		for _, want := range []int64{size, size - 8, size + 8} {
			f := r.scan(context.Background(), &nixcli.Path{Base: base, NarSize: want})
			if want == size && f.status != verified {
				t.Fatalf("%d: %v of %#v", i, f.errs, tree)
			}
			if want != size && (f.status != failed || len(f.errs) != 1 || !errors.Is(f.errs[0], errModified)) {
				t.Fatalf("%d: %s, %v of %#v with %d bytes of %d", i, f.status, f.errs, tree, size, want)
			}
		}
		if f := r.scan(context.Background(), &nixcli.Path{Base: base}); f.status != verified {
			t.Fatalf("%d: the database does not know the size: %v", i, f.errs)
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
}

// A file that lost 8 bytes or more is always found. A smaller loss is found unless the padding hides it.
func TestArchivePadding(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := newSizeRun(dir)
	r.pauses = settleAll
	path := filepath.Join(dir, base)
	for whole := range 26 {
		size := int64(len(nartest.Tree(nartest.File(strings.Repeat("x", whole)))))
		for rest := range whole {
			if err := os.WriteFile(path, make([]byte, rest), 0o644); err != nil {
				t.Fatal(err)
			}
			want := failed
			if whole-rest < 8 && (whole+7)/8 == (rest+7)/8 {
				want = verified
			}
			if f := r.scan(context.Background(), &nixcli.Path{Base: base, NarSize: size}); f.status != want {
				t.Errorf("%d bytes of %d: %s, want %s", rest, whole, f.status, want)
			}
		}
	}
}

// A path that Nix is removing or replacing is looked at again, for a time that does not grow with the number of paths.
func TestSettle(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tree := nartest.Dir{"a": nartest.File("a"), "b": nartest.File("b")}
	p := &nixcli.Path{Base: base, NarSize: int64(len(nartest.Tree(tree)))}
	path := filepath.Join(dir, base)
	put(t, path, nartest.Dir{"a": nartest.File("a")})
	r := newSizeRun(dir)
	looked := make(chan *pathFound)
	go func() { looked <- r.scan(context.Background(), p) }()
	put(t, filepath.Join(path, "b"), nartest.File("b"))
	if f := <-looked; f.status != verified || f.tally.Entries.Regular != 2 {
		t.Errorf("a path that becomes complete: %s, %v", f.status, f.errs)
	}
	if err := os.Remove(filepath.Join(path, "b")); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if f := r.scan(context.Background(), p); f.status != failed {
			t.Errorf("a path that stays incomplete: %s, %v", f.status, f.errs)
		}
	}
	if r.pauses < settleAll {
		t.Errorf("%d pauses of %d", r.pauses, settleAll)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r.pauses = 0
	if f := r.scan(ctx, p); f.status != failed || r.pauses > 1 {
		t.Errorf("after the run was stopped: %s, %d pauses", f.status, r.pauses)
	}
}

// What fails because the run is stopped is not reported, and neither are signatures of a path that disappeared.
func TestStoppedAndGone(t *testing.T) {
	r := newSizeRun(t.TempDir())
	r.options = &Options{Jobs: 2}
	paths := nixcli.NewPathList(nil)
	defer paths.Close()
	for i := range 20 {
		p := nixcli.Path{Base: base, NarSize: int64(i)}
		if err := paths.Add(&p); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var reported []*pathFound
	err := r.each(ctx, paths, func(ctx context.Context, p *nixcli.Path) *pathFound {
		f := &pathFound{Path: *p, status: unchanged}
		if p.NarSize >= 5 {
			cancel()
			<-ctx.Done()
			f.status, f.errs = failed, []error{ctx.Err()}
		}
		return f
	}, func(f *pathFound) error {
		reported = append(reported, f)
		return nil
	})
	if !errors.Is(err, context.Canceled) || len(reported) != 5 {
		t.Errorf("%d paths are reported, want 5; %v", len(reported), err)
	}

	f := &pathFound{status: verified}
	r.add(f, filter.Signature{Path: nar.NewPath("/x"), Slice: macho.Slice{Status: macho.StatusStale}})
	f.disappear(r.budget)
	if r.total.Sum(&f.tally); f.status != gone || r.total.Invalid != 0 || len(f.signatures) > 0 {
		t.Errorf("a path that disappeared: %+v", f)
	}
}
