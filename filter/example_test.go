package filter_test

import (
	"bytes"
	"fmt"
	"log"
	"os"

	"narseal/filter"
	"narseal/filter/rules"
	"narseal/nar"
)

// Rewrite an archive, and print the state of each signature in it.
func Example() {
	in, err := os.Open("../testdata/sample.nar")
	if err != nil {
		log.Fatal(err)
	}
	defer in.Close()
	rule, err := rules.Parse("c7pxwlricrjnrk7ymhzfzig1gh9m971s=zs4w5ny0jq3ijrad3la4a6rvbn4bpiyx")
	if err != nil {
		log.Fatal(err)
	}
	set, err := rules.Compile([]rules.Rule{rule}, rules.AllEncodings)
	if err != nil {
		log.Fatal(err)
	}

	config := filter.Config{
		Rules: set,
		Observer: filter.Observer{
			Signature: func(s filter.Signature) { fmt.Println(s.Path, s.Arch, s.Status) },
		},
	}
	var out bytes.Buffer
	result, err := config.Run(nar.NewWriter(&out), nar.NewReader(in))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Replacements(), "replacements,", out.Len(), "bytes")
	// Output:
	// /bin/hello arm64 repaired
	// /lib/libhello.1.dylib arm64 repaired
	// 8 replacements, 69320 bytes
}
