package compression_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"strings"

	"narseal/nar/compression"
)

func Example() {
	var packed bytes.Buffer
	w, err := compression.Compress(&packed, compression.Zstd, compression.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := io.WriteString(w, strings.Repeat("nix ", 1000)); err != nil {
		log.Fatal(err)
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}

	r, found, err := compression.Decompress(&packed)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	n, err := io.Copy(io.Discard, r)
	fmt.Println(found, n, err)
	// Output: zstd 4000 <nil>
}
