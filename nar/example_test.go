package nar_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"os"

	"narseal/nar"
)

// This writes an archive of a directory with two entries, and reads it.
func Example() {
	var archive bytes.Buffer
	w := nar.NewWriter(&archive)
	for _, e := range []struct {
		nar.Entry
		contents string
	}{
		{nar.Entry{Type: nar.TypeDirectory}, ""},
		{nar.Entry{Depth: 1, Name: []byte("hello"), Type: nar.TypeRegular, Executable: true, Size: 14}, "#!/bin/sh\necho"},
		{nar.Entry{Depth: 1, Name: []byte("hi"), Type: nar.TypeSymlink, Target: []byte("hello")}, ""},
	} {
		if err := w.WriteEntry(&e.Entry); err != nil {
			log.Fatal(err)
		}
		if _, err := io.WriteString(w, e.contents); err != nil {
			log.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(archive.Len(), "bytes")

	r := nar.NewReader(&archive)
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		contents, err := io.ReadAll(r)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s %s %q %q\n", e.Type, r.Path(), e.Target, contents)
	}
	// Output:
	// 520 bytes
	// directory / "" ""
	// regular /hello "" "#!/bin/sh\necho"
	// symlink /hi "hello" ""
}

// This prints the paths of an export stream and how many references each has.
func ExampleExportReader() {
	f, err := os.Open("testdata/closure.export")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	x := nar.NewExportReader(f)
	for {
		if _, err := x.Next(); err == io.EOF {
			break
		} else if err != nil {
			log.Fatal(err)
		}
		t, err := x.Trailer() // skips the archive
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(t.Path, len(t.References))
	}
	// Output:
	// /nix/store/0cpx5m1q4gcqw1hijq3i7b6iqxw51gqn-c 0
	// /nix/store/9aw9hfx2a1wbb6rwc03znv70qnaaaxpw-b 1
	// /nix/store/2l29zg4vz5cc866yd923micdbb7ij335-a 2
}

// The error for an archive that ends early says where it ends.
func ExampleFormatError() {
	data, err := os.ReadFile("testdata/tree.nar")
	if err != nil {
		log.Fatal(err)
	}
	r := nar.NewReader(bytes.NewReader(data[:len(data)/2]))
	for err == nil {
		_, err = r.Next()
	}
	fmt.Println(err)
	// Output: nar: read "/bin/hi": offset 644: want ")", but the input ends here: unexpected EOF
}
