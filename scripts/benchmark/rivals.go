package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"strings"
)

// rawCopy is the least that a filter can do: reads and writes with the pipe
// sizes that narseal asks for.
func rawCopy() error {
	enlarge(os.Stdin)
	enlarge(os.Stdout)
	buf := make([]byte, 256<<10)
	for {
		n, err := os.Stdin.Read(buf)
		if n > 0 {
			if _, err := os.Stdout.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// rewritingSink does what Nix's RewritingSink does (src/libstore/references.cc),
// plainly: each rule is looked for in each chunk, behind what may begin a
// match at its end.
func rewritingSink(rulesFile string) error {
	enlarge(os.Stdin)
	enlarge(os.Stdout)
	b, err := os.ReadFile(rulesFile)
	if err != nil {
		return err
	}
	var rules [][2][]byte
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		from, to, _ := strings.Cut(s.Text(), "=")
		rules = append(rules, [2][]byte{[]byte(from), []byte(to)})
	}
	const keep = 31
	var prev []byte
	chunk := make([]byte, 64<<10)
	for {
		n, err := os.Stdin.Read(chunk)
		if n > 0 {
			s := append(prev, chunk[:n]...)
			for _, r := range rules {
				for at := 0; ; {
					i := bytes.Index(s[at:], r[0])
					if i < 0 {
						break
					}
					at += i
					copy(s[at:], r[1])
				}
			}
			done := max(0, len(s)-keep)
			if _, err := os.Stdout.Write(s[:done]); err != nil {
				return err
			}
			prev = append([]byte(nil), s[done:]...)
		}
		if err == io.EOF {
			_, err = os.Stdout.Write(prev)
			return err
		}
		if err != nil {
			return err
		}
	}
}
