package binarycache_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/folder"
	"narseal/nar/nartest"
)

// A cache of one path is changed in place. The filter here replaces a word in memory; package
// filter has one that streams.
func Example() {
	dir, err := os.MkdirTemp("", "cache")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	const hash = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	archive := nartest.Tree(nartest.File("Good morning"))
	for name, text := range map[string]string{
		"nix-cache-info":   "StoreDir: /nix/store\n",
		"nar/greeting.nar": string(archive),
		hash + ".narinfo": fmt.Sprintf("StorePath: /nix/store/%s-greeting\nURL: nar/greeting.nar\nCompression: none\nNarHash: %s\nNarSize: %d\nReferences: \n",
			hash, sha(archive), len(archive)),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			log.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			log.Fatal(err)
		}
	}

	sum, err := binarycache.Rewrite(context.Background(), folder.New(dir), binarycache.RewriteOptions{
		Filter: func(_ context.Context, _ *binarycache.Path, dst io.Writer, src io.Reader) error {
			b, err := io.ReadAll(src)
			if err != nil {
				return err
			}
			_, err = dst.Write(bytes.ReplaceAll(b, []byte("morning"), []byte("evening")))
			return err
		},
		Options: binarycache.Options{Done: func(r binarycache.Result) {
			fmt.Println(r.StorePath, r.Status, r.Err)
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(sum.Paths[binarycache.Changed], "changed")
	info, err := os.ReadFile(filepath.Join(dir, hash+".narinfo"))
	fmt.Println(strings.Contains(string(info), "NarHash: "+sha(bytes.ReplaceAll(archive, []byte("morning"), []byte("evening")))), err)
	// Output:
	// /nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-greeting changed <nil>
	// 1 changed
	// true <nil>
}
