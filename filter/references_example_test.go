package filter_test

import (
	"fmt"
	"log"
	"os"

	"narseal/filter"
	"narseal/nar"
)

// The places in an archive that mention a store path, outside of binaries.
func ExampleReferences() {
	in, err := os.Open("../testdata/sample.nar")
	if err != nil {
		log.Fatal(err)
	}
	defer in.Close()
	refs := filter.References{
		StoreDir:  "/nix/store",
		Encodings: filter.AllEncodings,
		Found: func(m *filter.Mention) error {
			if m.Part == filter.InTarget || m.Path == "/etc/hello.conf" {
				fmt.Printf("%s %s, byte %d: %s\n", m.Path, m.Part, m.Offset, m.Base)
			}
			return nil
		},
	}
	if err := refs.Run(nar.NewReader(in)); err != nil {
		log.Fatal(err)
	}
	// Output:
	// /etc/hello.conf contents, byte 30: c7pxwlricrjnrk7ymhzfzig1gh9m971s-hello-1.0
	// /lib/libhello.dylib target, byte 0: c7pxwlricrjnrk7ymhzfzig1gh9m971s-hello-1.0
}

// Rules apply at once: a swap works, and nothing cascades.
func ExampleRules_Apply() {
	const a, b = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	rules, err := filter.Compile([]filter.Rule{{From: a, To: b}, {From: b, To: a}}, filter.UTF8)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(rules.Apply("/nix/store/" + a + "-x and /nix/store/" + b + "-y"))
	// Output: /nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-x and /nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-y
}
