package rules_test

import (
	"fmt"
	"log"

	"narseal/filter/rules"
)

// Rules apply at once: a swap works, and nothing cascades.
func ExampleSet_Apply() {
	const a, b = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	set, err := rules.Compile([]rules.Rule{{From: a, To: b}, {From: b, To: a}}, rules.UTF8)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(set.Apply("/nix/store/" + a + "-x and /nix/store/" + b + "-y"))
	// Output: /nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-x and /nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-y
}
