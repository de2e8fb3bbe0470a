package main

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"howett.net/plist"

	"narseal/nar/nartest"
)

// A mutant is a bundle in which one of two files was damaged somewhere. What seals that file has its hash then, or that of
// the file as it was.
type mutant struct {
	form   *bundleForm
	name   string // CodeResources or Info.plist
	data   string
	was    string
	sealed bool // with its new hash
}

func newMutant(random *rand.Rand, binary bool) *mutant {
	forms := bundleForms()
	m := &mutant{form: forms[random.IntN(len(forms))], name: "CodeResources", sealed: random.IntN(4) > 0}
	path := "_CodeSignature/CodeResources"
	if random.IntN(4) == 0 {
		m.name, path = "Info.plist", m.form.info
	}
	dir, name := m.form.inBase(path)
	text := []byte(dir[name].(nartest.File))
	if binary {
		var v any
		if _, err := plist.Unmarshal(text, &v); err != nil {
			panic(err)
		}
		text, _ = plist.Marshal(v, plist.BinaryFormat)
	}
	m.was = string(text)
	for range 1 + random.IntN(3) {
		at := random.IntN(len(text))
		switch random.IntN(4) {
		case 0:
			text[at] = byte(random.Uint32())
		case 1:
			text[at] ^= 1 << random.IntN(8)
		case 2:
			text = append(text[:at:at], text[min(at+random.IntN(30), len(text)):]...)
		case 3: // a piece from elsewhere, which is a name or digest of another file at times
			from := random.IntN(len(text))
			copy(text[at:], text[from:min(from+random.IntN(60), len(text))])
		}
		if len(text) == 0 {
			break
		}
	}
	m.data = string(text)
	was := m.was
	if m.sealed {
		was = m.data
	}
	info, list := m.form.info, "_CodeSignature/CodeResources"
	if m.name == "CodeResources" {
		m.form.put(list, nartest.File(was))
	} else {
		m.form.put(info, nartest.File(was))
	}
	m.form.sign()
	m.form.put(path, nartest.File(m.data))
	return m
}

// wrong says why the mutant does not match its seal, by other code than verify's: what is decoded is a whole property list.
func (m *mutant) wrong() error {
	if !m.sealed && m.data != m.was {
		return errors.New("its hash is another")
	}
	if m.form.script {
		var info struct{ CFBundleExecutable string }
		dir, name := m.form.inBase(m.form.info)
		if _, err := plist.Unmarshal([]byte(dir[name].(nartest.File)), &info); err != nil || info.CFBundleExecutable != "Main" {
			return fmt.Errorf("another main executable: %q, %v", info.CFBundleExecutable, err)
		}
	}
	var list struct {
		Files, Files2 map[string]any
		Rules, Rules2 map[string]any
	}
	dir, name := m.form.inBase("_CodeSignature/CodeResources")
	var all map[string]any
	if _, err := plist.Unmarshal([]byte(dir[name].(nartest.File)), &all); err != nil {
		return err
	}
	for key, to := range map[string]*map[string]any{"files": &list.Files, "files2": &list.Files2, "rules": &list.Rules, "rules2": &list.Rules2} {
		*to, _ = all[key].(map[string]any)
	}
	if list.Files2 != nil {
		list.Files = list.Files2
	}
	if list.Rules2 != nil {
		list.Rules = list.Rules2
	}
	if list.Files == nil || list.Rules == nil {
		return errors.New("no files or no rules")
	}
	return m.compare(dirAt(m.form.tree, m.form.base), "", list.Files, list.Rules)
}

// compare removes what is there and matches from files.
func (m *mutant) compare(dir nartest.Dir, at string, files, rules map[string]any) error {
	for name, n := range dir {
		path := at + name
		if path == "_CodeSignature" || path == m.form.main {
			continue
		}
		if sub, ok := n.(nartest.Dir); ok {
			if err := m.compare(sub, path+"/", files, rules); err != nil {
				return err
			}
			continue
		}
		if omitted(path, rules) {
			continue
		}
		entry, ok := files[path]
		if !ok {
			return fmt.Errorf("%s was added", path)
		}
		if !matchesEntry(n, entry) {
			return fmt.Errorf("%s changed", path)
		}
		delete(files, path)
	}
	if at != "" {
		return nil
	}
	for path, entry := range files {
		if d, _ := entry.(map[string]any); d == nil || d["optional"] != true {
			return fmt.Errorf("%s is missing", path)
		}
	}
	return nil
}

// omitted reports whether the rule of the greatest weight leaves a file out, or none has it. Of two rules of one weight, the
// one that leaves nothing out counts.
func omitted(path string, rules map[string]any) bool {
	best, omit := -1.0, true
	for pattern, rule := range rules {
		if re, err := regexp.Compile("(?s)" + pattern); err != nil || !re.MatchString(path) {
			continue
		}
		weight, out := 1.0, rule == false
		if d, ok := rule.(map[string]any); ok {
			out = d["omit"] == true
			switch w := d["weight"].(type) {
			case float64:
				weight = float64(uint32(w))
			case uint64:
				weight = float64(w)
			}
		}
		if weight > best || weight == best && !out {
			best, omit = weight, out
		}
	}
	return omit
}

func matchesEntry(n nartest.Node, entry any) bool {
	link, isLink := n.(nartest.Symlink)
	text, _ := n.(nartest.File)
	one, two, four := sha1.Sum([]byte(text)), sha256.Sum256([]byte(text)), sha512.Sum384([]byte(text))
	if sum, ok := entry.([]byte); ok {
		return !isLink && bytes.Equal(sum, one[:])
	}
	d, _ := entry.(map[string]any)
	if isLink {
		return d["symlink"] == string(link)
	}
	digests := 0
	for key, want := range map[string][]byte{"hash": one[:], "hash2": two[:], "hash3": two[:20], "hash4": four[:]} {
		got, ok := d[key]
		if sum, isData := got.([]byte); ok && (!isData || !bytes.Equal(sum, want)) {
			return false
		}
		if ok {
			digests++
		}
	}
	return digests > 0 && d["symlink"] == nil && d["requirement"] == nil
}

// TestBundleMutants damages lists of resources and Info.plists at random: verify never ends with 0 where something does not
// match, nor with anything but 0 or 3, and takes little memory. A repair does not change what verify finds valid.
func TestBundleMutants(t *testing.T) {
	count := 300
	if s := os.Getenv("NARSEAL_MUTANTS"); s != "" {
		var err error
		if count, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	random := rand.New(rand.NewPCG(19, uint64(count)))
	valid, wrong := 0, 0
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range count {
		m := newMutant(random, i%2 == 1)
		why := m.wrong()
		archive := nartest.Tree(m.form.tree)
		o := invoke(bytes.NewReader(archive), "verify", "-q")
		switch {
		case o.status == statusDone && why != nil:
			t.Errorf("mutant %d of %s, %s: %v, and verify ends with 0:\n%.2000q", i, m.form.name, m.name, why, m.data)
		case o.status != statusDone && o.status != statusInvalid:
			t.Errorf("mutant %d of %s, %s: status %d: %s", i, m.form.name, m.name, o.status, o.stderr)
		}
		if o.status == statusDone {
			if o := invoke(bytes.NewReader(archive), "repair", "--on-cms", "adhoc"); o.status != statusDone || o.stdout != string(archive) {
				t.Errorf("mutant %d of %s, %s: verify ends with 0, and a repair changes it or ends with %d: %s", i, m.form.name, m.name, o.status, o.stderr)
			}
		}
		if why == nil {
			valid++
		} else {
			wrong++
		}
		if strings.Contains(o.stderr, "panic") {
			t.Fatal(o.stderr)
		}
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.Sys) - int64(before.Sys); grown > 128<<20 {
		t.Errorf("%d MiB of memory", grown>>20)
	}
	t.Logf("%d mutants match, %d do not", valid, wrong)
	if wrong < count/2 {
		t.Errorf("only %d of %d mutants do not match", wrong, count)
	}
}
