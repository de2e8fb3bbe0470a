package filter_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"narseal/filter"
	"narseal/filter/rules"
	"narseal/filter/spill"
	"narseal/macho"
	"narseal/macho/machotest"
	"narseal/nar"
	"narseal/nar/nartest"
)

// FuzzRun runs a filter with any rules over any archive. Where the run is
// done the output is a complete archive of the same length, and else it is
// none; what no rule can match comes out as it is.
func FuzzRun(f *testing.F) {
	rule := oldHash + "=" + newHash
	add := func(root nartest.Node) {
		in := nartest.Tree(root)
		for how := range byte(36) {
			f.Add(in, rule, how)
		}
		f.Add(in[:len(in)-1], rule, byte(0))
		f.Add(in, newHash+"="+oldHash+"\n"+rule, byte(7))
	}
	add(nartest.Symlink(oldHash))
	add(nartest.Dir{"a": nartest.File(oldHash), oldHash: nartest.Dir{"b": nartest.Exec("")}, "z": nartest.Symlink("a")})
	for _, d := range []machotest.Directory{{PageShift: 8}, {HashType: 1}} {
		for _, blobs := range [][]machotest.Blob{nil, {{Slot: 0x10000, Magic: machotest.CMS, Data: []byte("a certificate's")}}} {
			image, _ := machotest.Image{CodeSize: 800, Text: []byte(oldHash), Directories: []machotest.Directory{d}, Blobs: blobs}.Build()
			add(nartest.Exec(image))
			add(nartest.Exec(machotest.Fat(true, false, machotest.Slice{CPU: 7, Data: image})))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, text string, how byte) {
		list, err := rules.ParseFile(strings.NewReader(text), "rules")
		if err != nil || len(list) == 0 {
			list = []rules.Rule{theRule}
		}
		compiled, err := rules.Compile(list, rules.AllEncodings)
		if err != nil {
			return
		}
		var all spillFiles
		c := filter.Config{
			Rules:      compiled,
			Signatures: filter.SignatureOptions{Jobs: 1, Repair: filter.RepairMode(how % 3), OnCMS: macho.CMSPolicy(how / 3 % 3), Verify: how/9%2 == 1},
			Spill:      spill.Options{Memory: []int64{1, 1 << 20}[how/18%2], Open: all.new},
		}
		var out bytes.Buffer
		res, err := c.Run(nar.NewWriter(&out), nar.NewReader(bytes.NewReader(in)))
		if all.open != 0 {
			t.Errorf("%d spill files are open", all.open)
		}
		if done := isComplete(out.Bytes()); done != (err == nil) {
			t.Fatalf("the run ended in %v, and whether the output is complete: %t", err, done)
		}
		if err != nil {
			return
		}
		if out.Len() != len(in) {
			t.Errorf("%d bytes became %d", len(in), out.Len())
		}
		if res.Replacements() == 0 && c.Signatures.Repair == filter.RepairTouched && !bytes.Equal(out.Bytes(), in) {
			t.Error("nothing was replaced, and the output differs")
		}
	})
}

// isComplete reports whether b is a complete archive.
func isComplete(b []byte) bool {
	r := nar.NewReader(bytes.NewReader(b))
	for {
		if _, err := r.Next(); err != nil {
			return err == io.EOF
		}
	}
}
