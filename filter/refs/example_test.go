package refs_test

import (
	"fmt"
	"log"
	"os"

	"narseal/filter/refs"
	"narseal/filter/rules"
	"narseal/nar"
)

// The references in an archive, except those in binaries.
func ExampleScanner() {
	in, err := os.Open("../../testdata/sample.nar")
	if err != nil {
		log.Fatal(err)
	}
	defer in.Close()
	scanner := refs.Scanner{
		StoreDir:  "/nix/store",
		Encodings: rules.AllEncodings,
		Found: func(r *refs.Reference) error {
			if r.Part == refs.InTarget || r.Path.String() == "/etc/hello.conf" {
				fmt.Printf("%s %s, byte %d: %s\n", r.Path, r.Part, r.Offset, r.Base)
			}
			return nil
		},
	}
	if err := scanner.Archive(nar.NewReader(in)); err != nil {
		log.Fatal(err)
	}
	// Output:
	// /etc/hello.conf contents, byte 30: c7pxwlricrjnrk7ymhzfzig1gh9m971s-hello-1.0
	// /lib/libhello.dylib target, byte 0: c7pxwlricrjnrk7ymhzfzig1gh9m971s-hello-1.0
}
