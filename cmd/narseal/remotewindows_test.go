package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"narseal/nar/binarycache/cachetest"
	"narseal/nar/nartest"
)

// zstdFrame is a frame of one raw block that asks for a window of 2^log bytes (RFC 8878, 3.1.1).
func zstdFrame(log int, text string) string {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, byte(log-10) << 3}
	size := binary.LittleEndian.AppendUint32(nil, uint32(len(text))<<3|1)
	return string(append(b, size[:3]...)) + text
}

// Narinfos of a few bytes that ask for large windows take no more memory than others, however many are read at a time.
func TestRemoteNarinfoWindows(t *testing.T) {
	for _, log := range []int{23, 27} {
		var store cachetest.WebStore
		var list bytes.Buffer
		for i := range 48 {
			base := fmt.Sprintf("%032d-p", i)
			objects, err := cachetest.Objects(cachetest.Path{Base: base, NAR: nartest.Tree(nartest.File(base))})
			if err != nil {
				t.Fatal(err)
			}
			for name, text := range objects {
				if strings.HasSuffix(name, ".narinfo") {
					text = zstdFrame(log, text)
				}
				store.Set(name, text, nil)
			}
			fmt.Fprintln(&list, base)
		}
		server := httptest.NewServer(&store)
		for _, args := range [][]string{{"-j", "16"}, {"-j", "16", "--closure"}} {
			args = append(append([]string{"cache", "verify", "--paths", "-"}, args...), server.URL)
			status, stderr := bounded(t, bytes.NewReader(list.Bytes()), nil, args...)
			if status != 0 {
				t.Errorf("windows of 2^%d, %q: status %d\n%.500s", log, args, status, stderr)
			}
		}
		server.Close()
	}
}
