package main

import (
	"bytes"
	"io"
	"os"
	"testing"

	"narseal/macho/machotest"
	"narseal/nar"
	"narseal/nar/nartest"
)

// FuzzRewrite runs the whole program in memory: any input, any rules, and
// each way to treat signatures.
func FuzzRewrite(f *testing.F) {
	rule := hashA + "=" + hashB
	add := func(in []byte, rules string) {
		for how := range byte(len(hows)) {
			f.Add(in, rules, how)
		}
	}
	// Small seeds: the engine tries to make each even smaller, byte by byte.
	small := fixtures(f)["small"].in
	add(small, rule)
	add(small[:len(small)-1], rule)
	for _, dirs := range [][]machotest.Directory{{{PageShift: 8}}, {{HashType: 1}, {Slot: 0x1000, PageShift: 12}}} {
		for _, blobs := range [][]machotest.Blob{nil, {{Slot: 0x10000, Magic: machotest.CMS, Data: []byte("a certificate's")}}} {
			image, _ := machotest.Image{CodeSize: 800, Text: []byte(hashA), Directories: dirs, Blobs: blobs}.Build()
			add(nartest.Tree(nartest.Exec(image)), rule)
			add(nartest.Tree(nartest.Dir{"fat": nartest.Exec(machotest.Fat(false, false, machotest.Slice{CPU: 7, Data: image}))}), rule)
		}
	}
	add(small, rule+" # and a comment\n\n"+hashB+" "+hashA+"\n")
	add(exportOf([]closurePath{{path: "/nix/store/" + hashA + "-x", tree: nartest.File(hashA)}}), rule)
	add(nartest.Tree(nartest.Entries{{Name: hashA, Node: nartest.File("")}, {Name: hashB, Node: nartest.File("")}}), rule)
	add(nil, "")
	f.Fuzz(func(t *testing.T, in []byte, rules string, how byte) {
		if nar.Sniff(in) == nar.FormatUnknown {
			in = append(nartest.Strings("nix-archive-1"), in...) // and no compression
		}
		args := append([]string{"rewrite", "--map-file", writeTemp(t, rules)}, hows[int(how)%len(hows)]...)
		o := invoke(bytes.NewReader(in), args...)
		switch o.status {
		case statusDone, statusInvalid:
			if whole([]byte(o.stdout)) && len(o.stdout) != len(in) {
				t.Errorf("%d bytes became %d", len(in), len(o.stdout))
			}
			if o.status == statusDone && !whole([]byte(o.stdout)) {
				t.Error("done, and the output is not complete")
			}
		case statusError, statusUsage:
			if whole([]byte(o.stdout)) {
				t.Error("an error, and the output is complete")
			}
		default:
			t.Errorf("status %d", o.status)
		}
		if o.status != statusDone && o.stderr == "" {
			t.Errorf("status %d without a word", o.status)
		}
		if o.status == statusUsage && o.stdout != "" {
			t.Errorf("wrong usage, and %d bytes of output", len(o.stdout))
		}
	})
}

var hows = [][]string{
	nil,
	{"--on-cms", "keep", "--hold-memory", "1"},
	{"--on-cms", "adhoc", "--repair", "all"},
	{"--repair", "none", "--spool"},
}

func writeTemp(t *testing.T, text string) string {
	t.Helper()
	name := t.TempDir() + "/file"
	if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return name
}

// whole tells whether b is a complete archive or export stream.
func whole(b []byte) bool {
	if nar.Sniff(b) != nar.FormatExport {
		return complete(b)
	}
	x := nar.NewExportReader(bytes.NewReader(b))
	for {
		r, err := x.Next()
		if err != nil {
			return err == io.EOF
		}
		for {
			if _, err = r.Next(); err != nil {
				break
			}
		}
		if err != io.EOF {
			return false
		}
	}
}
