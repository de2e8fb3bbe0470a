package binarycache_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
	"narseal/nar/binarycache/folder"
)

const (
	drvID    = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	buildID  = "0123456789abcdef0123456789abcdef01234567"
	buildID2 = "1123456789abcdef0123456789abcdef01234567"
)

// withOthers is a cache with a path that changes, one that is renamed and one that stays, and logs, realisations and
// debuginfos of them.
func withOthers(t testing.TB) map[string]string {
	t.Helper()
	app, lib, fine := hash("a")+"-app", hash("l")+"-lib", hash("f")+"-fine"
	files := objects(t, member{base: app, nar: nar("broken " + lib), refs: []string{lib}}, member{base: lib, nar: nar(lib)}, member{base: fine, nar: nar("fine")})
	url := func(c string) string { return line(files[hash(c)+".narinfo"], "URL") }
	realisation := func(output, out, deps string) string {
		return `{"dependentRealisations":{` + deps + `},"id":"` + drvID + "!" + output + `","outPath":"` + out + `","signatures":["k:abc"]}`
	}
	maps.Copy(files, map[string]string{
		"log/" + hash("d") + "-app.drv":         "a log that names " + lib,
		"realisations/" + drvID + "!out.doi":    realisation("out", lib, ""),
		"realisations/" + drvID + "!doc.doi":    realisation("doc", fine, `"`+drvID+`!out":"`+lib+`"`),
		"realisations/" + drvID + "!man.doi":    realisation("man", fine, ""),
		"realisations/" + drvID + "!gone.doi":   realisation("gone", hash("g")+"-gone", ""),
		"realisations/" + drvID + "!broken.doi": "{",
		"debuginfo/" + buildID:                  `{"archive":"../` + url("a") + `","member":"lib/debug/x","more":1}`,
		"debuginfo/" + buildID2:                 `{"archive":"../` + url("f") + `","member":"lib/debug/y"}`,
		"debuginfo/gone":                        `{"archive":"../nar/gone.nar.xz","member":"lib/debug/y"}`,
		"debuginfo/outside":                     `{"archive":"../../etc/passwd","member":"x"}`,
		"debuginfo/garbage":                     `[]`,
	})
	return files
}

// noneDangles fails where a debuginfo names a NAR, or a realisation a path, that is not there.
func noneDangles(t testing.TB, files map[string]string) {
	t.Helper()
	for name, content := range files {
		var link struct{ Archive, OutPath string }
		switch {
		case strings.HasPrefix(name, "debuginfo/"):
			if err := json.Unmarshal([]byte(content), &link); err != nil {
				t.Errorf("%s: %v", name, err)
			} else if _, ok := files[path.Join("debuginfo", link.Archive)]; !ok {
				t.Errorf("%s names %s, which is not there", name, link.Archive)
			}
		case strings.HasPrefix(name, "realisations/"):
			if err := json.Unmarshal([]byte(content), &link); err != nil {
				t.Errorf("%s: %v", name, err)
			} else if _, ok := files[link.OutPath[:32]+".narinfo"]; !ok {
				t.Errorf("%s names %s, which is not there", name, link.OutPath)
			}
		}
	}
}

// othersOf are the objects that are not of paths.
func othersOf(files map[string]string) map[string]string {
	others := map[string]string{}
	for name, content := range files {
		if dir, _, ok := strings.Cut(name, "/"); ok && dir != "nar" {
			others[name] = content
		}
	}
	return others
}

func TestOthersAreCopied(t *testing.T) {
	files := withOthers(t)
	m := cachetest.NewMemory(files)
	log := "log/" + hash("d") + "-app.drv"
	m.Write(binarycache.Object{Name: log, Attributes: map[string]string{"Content-Encoding": "br", "Cache-Control": "no-cache"}}, files[log])
	dir := t.TempDir()
	write(t, dir, files)
	for name, in := range map[string]binarycache.Store{"memory": m, "directory": folder.New(dir)} {
		t.Run(name, func(t *testing.T) {
			out := cachetest.NewMemory(nil)
			o := binarycache.RewriteOptions{Output: out}
			replacing(&o, hash("l"), hash("0"), hash("d"), hash("1"), "broken", "sealed")
			var warnings []string
			o.Warn = func(s string) { warnings = append(warnings, s) }
			o.Jobs = 2
			sum, err := binarycache.Rewrite(t.Context(), in, o)
			if err != nil || statuses(sum) != "changed=2 unchanged=1" {
				t.Fatal(statuses(sum), err)
			}
			got := out.Objects()
			noneDangles(t, got)
			rename := strings.NewReplacer(hash("l"), hash("0"))
			want := map[string]string{
				"log/" + hash("1") + "-app.drv": files[log],
				"debuginfo/" + buildID2:         files["debuginfo/"+buildID2],
				"debuginfo/" + buildID:          `{"archive":"../` + line(got[hash("a")+".narinfo"], "URL") + `","member":"lib/debug/x","more":1}`,
			}
			for _, output := range []string{"out", "doc", "man"} {
				name := "realisations/" + drvID + "!" + output + ".doi"
				if want[name] = files[name]; output != "man" {
					want[name] = strings.Replace(rename.Replace(files[name]), `"k:abc"`, "", 1)
				}
			}
			if got := othersOf(got); !maps.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
			if sum.Others != len(want) {
				t.Errorf("%d counted, want %d", sum.Others, len(want))
			}
			slices.Sort(warnings)
			if len(warnings) != 5 || !strings.Contains(fmt.Sprint(warnings), "nar/gone.nar.xz, which it names, is not in the output") {
				t.Errorf("warnings: %q", warnings)
			}
			if name == "memory" {
				at, err := out.Stat(t.Context(), "log/"+hash("1")+"-app.drv")
				if want := map[string]string{"Content-Encoding": "br", "Cache-Control": "no-cache", "Content-Type": "text/plain; charset=utf-8"}; err != nil || !maps.Equal(at.Attributes, want) {
					t.Errorf("the log: %v, %v", at, err)
				}
			}
			// Again, nothing is written.
			if sum, err := binarycache.Rewrite(t.Context(), in, o); err != nil || sum.Others != 0 || statuses(sum) != "finished=3" || !maps.Equal(out.Objects(), got) {
				t.Errorf("again: %s, %d others, %v", statuses(sum), sum.Others, err)
			}
		})
	}
}

// In place, a debuginfo follows its NAR, so that the old one can be deleted. What names a path that stays is not touched.
func TestOthersInPlace(t *testing.T) {
	for _, killed := range []bool{false, true} {
		files := withOthers(t)
		for _, name := range []string{"garbage", "outside"} { // prune refuses to go on
			delete(files, "debuginfo/"+name)
		}
		dir, states := t.TempDir(), t.TempDir()
		write(t, dir, files)
		o := binarycache.RewriteOptions{Prune: true}
		repairing(&o)
		var sum binarycache.Summary
		if killed { // after the narinfo, before the debuginfo
			withState(t, states, dir, o, func(o binarycache.RewriteOptions) {
				h := &failingStore{folder.New(dir), "debuginfo/"}
				if _, err := binarycache.Rewrite(t.Context(), h, o); !errors.Is(err, errInjected) {
					t.Fatal(err)
				}
			})
			noneDanglesButGone(t, read(t, dir))
		}
		withState(t, states, dir, o, func(o binarycache.RewriteOptions) { sum, _ = rewrite(t, dir, o) })
		got := read(t, dir)
		noneDanglesButGone(t, got)
		want := othersOf(files)
		want["debuginfo/"+buildID] = `{"archive":"../` + line(got[hash("a")+".narinfo"], "URL") + `","member":"lib/debug/x","more":1}`
		if !maps.Equal(othersOf(got), want) || sum.Others != 1 || sum.Pruned != 1 {
			t.Errorf("killed %v: %d written, %d pruned, got %q\nwant %q", killed, sum.Others, sum.Pruned, othersOf(got), want)
		}
	}
}

// noneDanglesButGone is noneDangles for a cache that had objects that dangle.
func noneDanglesButGone(t testing.TB, files map[string]string) {
	t.Helper()
	files = maps.Clone(files)
	maps.DeleteFunc(files, func(name, _ string) bool { return strings.Contains(name, "gone") || strings.Contains(name, "broken") })
	noneDangles(t, files)
}

// A failingStore fails to put objects whose names begin with prefix.
type failingStore struct {
	*folder.Store
	prefix string
}

func (s *failingStore) Put(ctx context.Context, o binarycache.Object, body io.ReadSeeker, c binarycache.Condition) (binarycache.Version, error) {
	if strings.HasPrefix(o.Name, s.prefix) {
		return "", errInjected
	}
	return s.Store.Put(ctx, o, body, c)
}

// A path that is renamed in place takes its realisations with it.
func TestOthersOfRenamedPaths(t *testing.T) {
	m := cachetest.NewMemory(withOthers(t))
	o := binarycache.RewriteOptions{}
	replacing(&o, hash("l"), hash("0"))
	before := m.Objects()
	if sum, err := binarycache.Rewrite(t.Context(), m, o); err != nil || sum.Others != 3 { // two realisations and a debuginfo
		t.Errorf("%+v, %v", sum, err)
	}
	name := "realisations/" + drvID + "!out.doi"
	if got, want := m.Objects()[name], strings.Replace(strings.ReplaceAll(before[name], hash("l"), hash("0")), `"k:abc"`, "", 1); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	noneDanglesButGone(t, func() map[string]string {
		files := m.Objects()
		delete(files, "debuginfo/outside")
		delete(files, "debuginfo/garbage")
		return files
	}())
}

// A run of some paths copies the realisations of those that are content-addressed, and renames them. It does not look for
// any if none of them is. An overlay has none.
func TestOthersOfLists(t *testing.T) {
	files := withOthers(t)
	addressed := maps.Clone(files)
	for _, c := range []string{"l", "f"} {
		addressed[hash(c)+".narinfo"] += "CA: fixed:r:sha256:1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s\n"
	}
	list := func(chars ...string) func(*binarycache.RewriteOptions) {
		return func(o *binarycache.RewriteOptions) {
			var all []string
			for _, c := range chars {
				all = append(all, hash(c))
			}
			o.Hashes = hashes(all...)
		}
	}
	for _, c := range []struct {
		name   string
		files  map[string]string
		change func(*binarycache.RewriteOptions)
		want   []string // outputs
	}{
		{"no path is content-addressed", files, list("a", "l", "f"), nil},
		{"one path of two", addressed, list("a", "l"), []string{"out"}},
		{"the other one", addressed, list("f"), []string{"doc", "man"}},
		{"all", addressed, list("a", "l", "f"), []string{"doc", "man", "out"}},
		{"since", addressed, func(o *binarycache.RewriteOptions) { o.Since = time.Unix(1, 0) }, []string{"doc", "man", "out"}},
		{"an overlay", addressed, func(o *binarycache.RewriteOptions) { list("a", "l", "f")(o); o.Overlay = true }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, out := cachetest.NewMemory(nil), cachetest.NewMemory(nil)
			for name, content := range c.files {
				in.Write(binarycache.Object{Name: name, ModTime: time.Unix(2, 0)}, content)
			}
			read := 0
			h := &hooked{Store: in, open: func(name string) {
				if strings.HasPrefix(name, "realisations/") {
					read++
				}
			}}
			o := binarycache.RewriteOptions{Output: out}
			replacing(&o, hash("l"), hash("0"))
			c.change(&o)
			sum, err := binarycache.Rewrite(t.Context(), h, o)
			if err != nil || sum.Others != len(c.want) || c.want == nil && read != 0 {
				t.Errorf("%+v, %v; %d realisations are read", sum, err, read)
			}
			var got []string
			for name, content := range othersOf(out.Objects()) {
				got = append(got, strings.TrimSuffix(strings.TrimPrefix(name, "realisations/"+drvID+"!"), ".doi"))
				if strings.Contains(content, hash("l")) {
					t.Errorf("%s: %s", name, content)
				}
			}
			if slices.Sort(got); !slices.Equal(got, c.want) {
				t.Errorf("there are %q, want %q", got, c.want)
			}
			noneDangles(t, out.Objects())
		})
	}
}

// In place, a list renames the realisations of the paths that it renames, and the secret keys sign them.
func TestOthersOfListInPlace(t *testing.T) {
	files := withOthers(t)
	files[hash("l")+".narinfo"] += "CA: fixed:r:sha256:1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s\n"
	m := cachetest.NewMemory(files)
	secret, _ := cachetest.Key(t)
	key, err := signature.LoadSecretKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	o := binarycache.RewriteOptions{SecretKeys: []signature.SecretKey{key}}
	o.Hashes = hashes(hash("l"))
	replacing(&o, hash("l"), hash("0"))
	if sum, err := binarycache.Rewrite(t.Context(), m, o); err != nil || sum.Others != 2 {
		t.Errorf("%+v, %v", sum, err)
	}
	name := "realisations/" + drvID + "!out.doi"
	// As Nix signs it: see TestSign in internal/realisation.
	text := `{"dependentRealisations":{},"id":"` + drvID + `!out","outPath":"` + hash("0") + `-lib"`
	sig, err := key.Sign(nil, text+"}")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := m.Objects()[name], text+`,"signatures":["`+sig.String()+`"]}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Runs of parts of the hashes copy each object once.
func TestOthersOfParts(t *testing.T) {
	in := cachetest.NewMemory(withOthers(t))
	out := cachetest.NewMemory(nil)
	o := binarycache.RewriteOptions{Output: out}
	total := 0
	for _, upper := range []bool{false, true} {
		o.Select = func(h string) bool { return (h[0] >= 'g') == upper }
		sum, err := binarycache.Rewrite(t.Context(), in, o)
		if err != nil {
			t.Error(err)
		}
		total += sum.Others
	}
	if total != 6 || len(othersOf(out.Objects())) != total {
		t.Errorf("%d objects: %q", total, slices.Sorted(maps.Keys(othersOf(out.Objects()))))
	}
	noneDangles(t, out.Objects())
}

// A path that is left out takes its realisations with it.
func TestOthersOfExcludedPaths(t *testing.T) {
	out := cachetest.NewMemory(nil)
	o := binarycache.RewriteOptions{Output: out}
	o.Exclude = func(base string) bool { return strings.HasPrefix(base, hash("f")) }
	if _, err := binarycache.Rewrite(t.Context(), cachetest.NewMemory(withOthers(t)), o); err != nil {
		t.Fatal(err)
	}
	noneDangles(t, out.Objects())
	for name := range othersOf(out.Objects()) {
		if strings.Contains(name, "!doc") || strings.Contains(name, "!man") || strings.Contains(name, buildID2) {
			t.Errorf("%s is there", name)
		}
	}
}

// In place, debuginfos are read only if a NAR has changed.
func TestOthersAreNotRead(t *testing.T) {
	m := cachetest.NewMemory(withOthers(t))
	h := &hooked{Store: m, open: func(name string) {
		if strings.HasPrefix(name, "debuginfo/") {
			t.Errorf("%s is read", name)
		}
	}}
	if sum, err := binarycache.Rewrite(t.Context(), h, binarycache.RewriteOptions{}); err != nil || sum.Others != 0 {
		t.Errorf("%+v, %v", sum, err)
	}
}

// With trusted keys, a realisation that none of them has signed is not written, and the secret keys do not sign it. One whose
// ID is not that of its name never is.
func TestUntrustedRealisations(t *testing.T) {
	files := withOthers(t)
	trusted, public := keyPair(t, "trusted-1")
	other, _ := keyPair(t, "other-1")
	own, _ := keyPair(t, "own-1")
	sign := func(key signature.SecretKey, text string) string {
		sig, err := key.Sign(nil, text)
		if err != nil {
			t.Fatal(err)
		}
		return sig.String()
	}
	for name, text := range files {
		if strings.HasSuffix(name, ".narinfo") {
			var refs []string
			for _, ref := range strings.Fields(line(text, "References")) {
				refs = append(refs, "/nix/store/"+ref)
			}
			fingerprint := fmt.Sprintf("1;%s;%s;%s;%s", line(text, "StorePath"), line(text, "NarHash"), line(text, "NarSize"), strings.Join(refs, ","))
			files[name] += "Sig: " + sign(trusted, fingerprint) + "\nCA: fixed:r:sha256:1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s\n"
		}
	}
	body := func(output, out string) string {
		return `{"dependentRealisations":{},"id":"` + drvID + "!" + output + `","outPath":"` + out + `"`
	}
	lib, fine := hash("l")+"-lib", hash("f")+"-fine"
	for name := range files {
		if strings.HasPrefix(name, "realisations/") {
			delete(files, name)
		}
	}
	realisations := map[string]string{ // of a path that is renamed, and of one that stays
		"good":     body("good", lib) + `,"signatures":["` + sign(other, body("good", lib)+"}") + `","` + sign(trusted, body("good", lib)+"}") + `"]}`,
		"same":     body("same", fine) + `,"signatures":["` + sign(trusted, body("same", fine)+"}") + `"]}`,
		"none":     body("none", lib) + `,"signatures":[]}`,
		"nonesame": body("nonesame", fine) + `}`,
		"other":    body("other", lib) + `,"signatures":["` + sign(other, body("other", lib)+"}") + `"]}`,
		"own":      body("own", lib) + `,"signatures":["` + sign(own, body("own", lib)+"}") + `"]}`,
		"moved":    body("moved", lib) + `,"signatures":["` + sign(trusted, body("moved", fine)+"}") + `"]}`,
		"garbage":  body("garbage", lib) + `,"signatures":["` + strings.Repeat(sign(other, "")+`","`, 100) + sign(trusted, body("garbage", lib)+"}") + `"]}`,
		"name":     body("good", lib) + `,"signatures":["` + sign(trusted, body("good", lib)+"}") + `"]}`,
		"noid":     `{"outPath":"` + lib + `","signatures":[]}`,
	}
	for output, text := range realisations {
		files["realisations/"+drvID+"!"+output+".doi"] = text
	}
	for _, inPlace := range []bool{false, true} {
		for _, trusting := range []bool{false, true} {
			in, out := cachetest.NewMemory(files), cachetest.NewMemory(nil)
			o := binarycache.RewriteOptions{Output: out, SecretKeys: []signature.SecretKey{own}}
			if inPlace {
				o.Output, out = nil, in
			}
			want := []string{"good", "moved", "none", "other", "own", "garbage"}
			if trusting {
				o.TrustedKeys = []signature.PublicKey{public}
				want = []string{"good"}
			}
			replacing(&o, hash("l"), hash("0"))
			if _, err := binarycache.Rewrite(t.Context(), in, o); err != nil {
				t.Fatal(err)
			}
			for output, before := range realisations {
				after, there := out.Objects()["realisations/"+drvID+"!"+output+".doi"]
				text := body(output, hash("0")+"-lib") + "}"
				signed := there && strings.Contains(after, sign(own, text)) && strings.HasPrefix(after, strings.TrimSuffix(text, "}"))
				if signed != slices.Contains(want, output) {
					t.Errorf("in place %v, trusted keys %v: %s is signed: %v: %s", inPlace, trusting, output, signed, after)
				}
				same := output == "same" || output == "nonesame" && !trusting
				if !signed && there != (inPlace || same) || !signed && there && after != before {
					t.Errorf("in place %v, trusted keys %v: %s is there: %v: %s", inPlace, trusting, output, there, after)
				}
			}
		}
	}
}

// A realisation or debuginfo that the cache replaces during the run is written as it was checked.
func TestOthersAreReadOnce(t *testing.T) {
	trusted, public := keyPair(t, "trusted-1")
	fine := hash("f") + "-fine"
	files := objects(t, member{base: fine, nar: nar("fine")}, member{base: hash("e") + "-evil", nar: nar("evil")})
	for name, text := range files {
		if strings.HasSuffix(name, ".narinfo") {
			sig, err := trusted.Sign(nil, fmt.Sprintf("1;%s;%s;%s;", line(text, "StorePath"), line(text, "NarHash"), line(text, "NarSize")))
			if err != nil {
				t.Fatal(err)
			}
			files[name] += "Sig: " + sig.String() + "\n"
		}
	}
	body := func(out string) string {
		return `{"dependentRealisations":{},"id":"` + drvID + `!out","outPath":"` + out + `"`
	}
	sig, err := trusted.Sign(nil, body(fine)+"}")
	if err != nil {
		t.Fatal(err)
	}
	first := map[string]string{
		"realisations/" + drvID + "!out.doi": body(fine) + `,"signatures":["` + sig.String() + `"]}`,
		"debuginfo/" + buildID:               `{"archive":"../` + line(files[hash("f")+".narinfo"], "URL") + `","member":"x"}`,
	}
	second := map[string]string{
		"realisations/" + drvID + "!out.doi": body(hash("e")+"-evil") + `,"signatures":[]}`,
		"debuginfo/" + buildID:               `{"archive":"../nar/gone.nar.xz","member":"x"}`,
	}
	maps.Copy(files, first)
	in, out := cachetest.NewMemory(files), cachetest.NewMemory(nil)
	opened := map[string]bool{}
	h := &hooked{Store: in, open: func(name string) {
		if opened[name] && second[name] != "" {
			in.Write(binarycache.Object{Name: name}, second[name])
		}
		opened[name] = true
	}}
	o := binarycache.RewriteOptions{Output: out}
	o.TrustedKeys = []signature.PublicKey{public}
	if sum, err := binarycache.Rewrite(t.Context(), h, o); err != nil || sum.Others != len(first) {
		t.Errorf("%+v, %v", sum, err)
	}
	if got := othersOf(out.Objects()); !maps.Equal(got, first) {
		t.Errorf("got  %q\nwant %q", got, first)
	}
}
