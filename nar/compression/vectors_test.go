package compression_test

import (
	"encoding/base64"
	"testing"

	"narseal/nar/compression"
)

// plain is the contents of the vectors.
const plain = "nix-archive-1"

// vectors has plain as compressed by the usual programs (XZ Utils 5.4.1, zstd 1.5.4, gzip 1.12, bzip2 1.0.8). With
// them, reading is tested against other encoders even where those programs are missing.
var vectors = []struct {
	command string
	format  compression.Type
	base64  string
}{
	{"xz", compression.Xz, "/Td6WFoAAATm1rRGAgAhARYAAAB0L+WjAQAMbml4LWFyY2hpdmUtMQAAAABuUf49Nroc7wABJQ1xGcS2H7bzfQEAAAAABFla"},
	{"xz --x86 --lzma2 -C sha256", compression.Xz, "/Td6WFoAAArh+wyhAgEEACEBFgANhjUfAQAMbml4LWFyY2hpdmUtMQAAAACFjLxl8tHeN5srVUS68nxBG2UPoHaJVL4ycjZQD6dFlAABPQ0ogd80GJtLmgEAAAAAClla"},
	{"zstd", compression.Zstd, "KLUv/QRYaQAAbml4LWFyY2hpdmUtMfB8/K4="},
	{"pzstd", compression.Zstd, "UCpNGAQAAAAaAAAAKLUv/QRYaQAAbml4LWFyY2hpdmUtMfB8/K4="},
	{"gzip -n", compression.Gzip, "H4sIAAAAAAAAA8vLrNBNLErOyCxL1TUEAASc0q4NAAAA"},
	{"bzip2", compression.Bzip2, "QlpoOTFBWSZTWYbMt0EAAASZgAACIAAqYRFAIAAiADEIBppotSxXBApvF3JFOFCQhsy3QQ=="},
}

// Streams whose header asks for more memory than any legitimate one.
var greedy = []struct{ command, base64, want string }{
	{"zstd --long=28", "KLUv/QSQaQAAbml4LWFyY2hpdmUtMfB8/K4=", "window size exceeded"},
	{"xz --lzma2=dict=128MiB", "/Td6WFoAAATm1rRGAgAhAR4AAACbB1FmAQAAeAAAAABFru+D+O4WCgABGQGlLIHMH7bzfQEAAAAABFla", "dictionary size exceeds max"},
}

func decode(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
