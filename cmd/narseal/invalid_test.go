package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"narseal/macho/machotest"
	"narseal/nar/nartest"
)

// Status 3 says that a signature does not hold, and stderr which and why. The
// output is complete, unless the run touched what it may not pass on.
func TestInvalid(t *testing.T) {
	image := machotest.Image{CodeSize: 40_000, Text: []byte(hashA), Directories: []machotest.Directory{{PageShift: 12}}}
	adhoc, l := image.Build()
	image.Blobs = []machotest.Blob{{Slot: 0x10000, Magic: machotest.CMS, Data: []byte("a certificate's")}}
	certified, _ := image.Build()
	broken := bytes.Clone(adhoc)
	broken[l.Signature] ^= 0xff // the SuperBlob's magic
	unknown := bytes.Clone(adhoc)
	unknown[l.Blobs[0]+37] = 9 // the hash type
	damaged := bytes.Clone(adhoc)
	page := l.Directories[0].Pages[5]
	if bytes.Contains(damaged[page.From:page.To], []byte(hashA)) {
		t.Fatal("the page that is damaged holds the hash")
	}
	damaged[page.From+1000] ^= 0xff

	const complete, aborted = true, false
	for _, test := range []struct {
		name     string
		image    []byte
		args     string
		status   int
		complete bool
		stderr   []string // lines hold these, in this order
	}{
		{"intact", adhoc, "", 0, complete, nil},
		{"certificate", certified, "", 3, aborted, []string{`error: repair "/x": arm64 slice at offset 0: signed by a certificate`, "hint: --on-cms adhoc"}},
		{"certificate", certified, "--repair all", 3, aborted, []string{`error: repair "/x": `, "hint: --on-cms adhoc"}},
		{"certificate", certified, "--on-cms keep", 3, complete, []string{`warning: "/x": arm64 slice at offset 0: cms: signed by a certificate`, "hint: only its owner can renew a signature by a certificate; --on-cms adhoc "}},
		{"certificate", certified, "--on-cms keep --quiet", 3, complete, nil},
		{"certificate", certified, "--on-cms adhoc", 0, complete, nil},
		{"certificate", certified, "--repair none", 3, complete, []string{`warning: "/x": arm64 slice at offset 0: cms: `, "hint: --repair none "}},
		{"malformed", broken, "", 3, aborted, []string{`error: repair "/x": arm64 slice at offset 0: signature has magic`, "hint: --on-cms keep"}},
		{"malformed", broken, "--on-cms adhoc", 3, aborted, []string{"error: repair", "hint: --on-cms keep"}},
		{"malformed", broken, "--on-cms keep", 3, complete, []string{`warning: "/x": arm64 slice at offset 0: malformed: `}},
		{"unsupported", unknown, "", 3, aborted, []string{`error: repair "/x": arm64 slice at offset 0: CodeDirectory 0x0: hash type 9`, "hint: --on-cms keep"}},
		{"unsupported", unknown, "--on-cms keep", 3, complete, []string{`warning: "/x": arm64 slice at offset 0: unsupported: `}},
		{"damaged before", damaged, "", 3, complete, []string{`warning: "/x": arm64 slice at offset 0: stale: damaged where this run changed nothing`, "hint: --repair all "}},
		{"damaged before", damaged, "--on-cms keep", 3, complete, []string{"warning: ", "hint: --repair all "}},
		{"damaged before", damaged, "--repair all", 0, complete, nil},
		{"not resealed", adhoc, "--repair none", 3, complete, []string{`warning: "/x": arm64 slice at offset 0: stale code slots: `, "hint: --repair none "}},
	} {
		t.Run(test.name+" "+test.args, func(t *testing.T) {
			in := nartest.Tree(nartest.Dir{"x": nartest.Exec(test.image)})
			for _, report := range []bool{false, true} { // which looks at more, and changes nothing
				dir := t.TempDir()
				args := append([]string{"rewrite", "-m", hashA + "=" + hashB}, strings.Fields(test.args)...)
				if report {
					args = append(args, "--report", filepath.Join(t.TempDir(), "report"))
				}
				o := invoke(bytes.NewReader(in), args...)
				if o.status != test.status {
					t.Fatalf("status %d, want %d; stderr: %s", o.status, test.status, o.stderr)
				}
				if whole([]byte(o.stdout)) != test.complete || test.complete && len(o.stdout) != len(in) {
					t.Errorf("%d bytes of output, complete: %t, want %t", len(o.stdout), !test.complete, test.complete)
				}
				lines := strings.Split(strings.TrimSuffix(o.stderr, "\n"), "\n")
				if len(test.stderr) == 0 && o.stderr != "" || len(test.stderr) > 0 && len(lines) != len(test.stderr) {
					t.Fatalf("stderr: %s", o.stderr)
				}
				for i, want := range test.stderr {
					if !strings.HasPrefix(lines[i], "narseal: "+want) {
						t.Errorf("stderr says\n%s\nwant\nnarseal: %s", lines[i], want)
					}
				}
				// A file appears where the output is complete.
				file := filepath.Join(dir, "out")
				invoke(bytes.NewReader(in), append(args, "-o", file)...).want(t, test.status, nil)
				got, err := os.ReadFile(file)
				if (err == nil) != test.complete || test.complete && string(got) != o.stdout {
					t.Errorf("-o: %v, %d bytes", err, len(got))
				}
				if !test.complete {
					empty(t, dir)
				}
			}
		})
	}
}
