package macho_test

import (
	"fmt"
	"log"
	"os"

	"narseal/macho"
)

// This changes a byte of a signed image and repairs the signature.
func ExampleRepair() {
	data, err := os.ReadFile("../testdata/macho/goldens/A/dual-universal")
	if err != nil {
		log.Fatal(err)
	}

	show := func(report *macho.Report, err error) {
		if err != nil {
			log.Fatal(err)
		}
		for _, s := range report.Slices {
			fmt.Print(s.Arch, " ", s.Status)
			for _, d := range s.CodeDirectories {
				fmt.Print(", ", d.HashType, " stale ", d.Stale)
			}
			fmt.Println()
		}
	}
	report, err := macho.Verify(macho.Bytes(data))
	if err != nil {
		log.Fatal(err)
	}
	changed := report.Slices[1].Offset + 9000
	data[changed] ^= 1
	show(macho.Verify(macho.Bytes(data)))
	show(macho.RepairTouched(macho.Bytes(data), []macho.Range{{Off: changed, Len: 1}}))
	show(macho.Verify(macho.Bytes(data)))
	// Output:
	// x86_64 valid, sha1 stale [], sha256 stale []
	// arm64 stale, sha1 stale [2], sha256 stale [2]
	// x86_64 valid, sha1 stale [], sha256 stale []
	// arm64 repaired, sha1 stale [2], sha256 stale [2]
	// x86_64 valid, sha1 stale [], sha256 stale []
	// arm64 valid, sha1 stale [], sha256 stale []
}
