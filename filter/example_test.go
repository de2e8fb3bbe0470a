package filter_test

import (
	"bytes"
	"fmt"
	"log"
	"os"

	"narseal/filter"
	"narseal/nar"
)

// An archive goes from a reader to a writer, and what happened is told.
func Example() {
	in, err := os.Open("../testdata/sample.nar")
	if err != nil {
		log.Fatal(err)
	}
	defer in.Close()
	rule, err := filter.ParseRule("c7pxwlricrjnrk7ymhzfzig1gh9m971s=zs4w5ny0jq3ijrad3la4a6rvbn4bpiyx")
	if err != nil {
		log.Fatal(err)
	}
	rules, err := filter.Compile([]filter.Rule{rule}, filter.AllEncodings)
	if err != nil {
		log.Fatal(err)
	}

	config := filter.Config{
		Rules: rules,
		Signature: func(s filter.Signature) {
			fmt.Println(s.Path, s.Arch, s.Status)
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
