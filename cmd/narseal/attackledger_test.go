package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

const (
	ledgerHead = `{"ledger":"narseal/1","command":"cache repair","options":"repair all; on-cms keep; key k:x"}` + "\n"
	ledgerPath = `{"storePath":"/nix/store/%032d-%s","narHash":"sha256:0000000000000000000000000000000000000000000000000000",` +
		`"status":"unrepairable","at":"2026-01-02T03:04:05Z","signatures":[%s]}` + "\n"
)

// hostileLedger has lines of the longest allowed length, of values that are short in JSON and long in memory, and then
// more paths, each of another package and cause, than are kept.
func hostileLedger() []byte {
	var b bytes.Buffer
	b.WriteString(ledgerHead)
	for i, list := range []string{
		strings.Repeat("{},", 2_700_000) + "{}",
		`{"codeDirectories":[` + strings.Repeat("{},", 2_700_000) + `{}]}`,
		`{"codeDirectories":[{"stale":[` + strings.Repeat("0,", 4_000_000) + `0]}]}`,
		`{"codeDirectories":[{"staleSpecial":[` + strings.Repeat("0,", 4_000_000) + `0]}]}`,
	} {
		fmt.Fprintf(&b, ledgerPath, i, "line", list)
	}
	for i := range 200_000 {
		fmt.Fprintf(&b, ledgerPath, 10+i, fmt.Sprint(i, "x"),
			fmt.Sprintf(`{"path":"/%d","arch":"arm64","signature":"s%d","status":"stale","reason":"r%d"}`, i, i, i))
	}
	return b.Bytes()
}

// longTexts has paths that failed, and paths with signatures, each with a text as long as a line may be, in a stream with a
// window of 64 MiB.
func longTexts() []byte {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithWindowSize(64<<20), zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		panic(err)
	}
	const size = 8<<20 - 1000
	io.WriteString(z, ledgerHead)
	for i := range 30 {
		line := fmt.Sprintf(ledgerPath, i, "failed", "")
		io.WriteString(z, strings.Replace(line, `"unrepairable"`, `"failed","error":"`+strings.Repeat("e", size)+`"`, 1))
	}
	for i, text := range []string{"path", "reason"} {
		for j, repeated := range []string{"\x7f", "a ", "\ufffd"} {
			fmt.Fprintf(z, ledgerPath, 30+3*i+j, text, `{"`+text+`":"`+strings.Repeat(repeated, size/len(repeated))+`"}`)
		}
	}
	io.WriteString(z, strings.Replace(fmt.Sprintf(ledgerPath, 36, "name", strings.Repeat(`{"status":"stale"},`, 200)+"{}"), "/nix/store", strings.Repeat("/x", 2000), 1))
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// harmlessLedger has as many bytes of paths without invalid signatures.
func harmlessLedger(t *testing.T, dir string, n int64) string {
	var b bytes.Buffer
	b.WriteString(ledgerHead)
	for i := 0; int64(b.Len()) < n; i++ {
		fmt.Fprintf(&b, ledgerPath, i, "hello-1.0", "")
	}
	name := filepath.Join(dir, "ledger")
	if err := os.WriteFile(name, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	return name
}
