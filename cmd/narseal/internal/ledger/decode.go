package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"narseal/macho"
)

// Limits for the parts of a line that are kept. Lines that encode writes stay below them. Without these limits, a line
// full of {} or numbers takes hundreds of times its length in memory.
const (
	maxStorePath   = 4095    // in bytes; longer ones are refused
	maxWord        = 100     // bytes of a status, an architecture or a kind of signature; longer ones are refused
	maxError       = 4096    // bytes of an error or a reason; longer ones are cut
	maxFile        = 1 << 20 // bytes of a path in a store path; longer ones are cut
	maxSignatures  = 1 << 13
	maxDirectories = 16 // of a signature
	// shortList is the maximum length of a list, in bytes, that is decoded at once. Even a list such as [{},{},…] takes
	// little memory then.
	shortList = 64 << 10
)

// A signatureList holds the first signatures of a line, and counts the others.
type signatureList struct {
	list    []Signature
	omitted int64
}

func (l *signatureList) UnmarshalJSON(b []byte) error {
	*l = signatureList{list: []Signature{}}
	if len(b) <= shortList {
		return json.Unmarshal(b, &l.list)
	}
	return elements(b, func(dec *json.Decoder) error {
		if len(l.list) == maxSignatures {
			l.omitted++
			return dec.Decode(&skipped{})
		}
		var s Signature
		err := dec.Decode(&s)
		l.list = append(l.list, s)
		return err
	})
}

// UnmarshalJSON reads the fields that are needed to count signatures.
func (s *Signature) UnmarshalJSON(b []byte) error {
	var v struct {
		Path, Arch, Signature, Reason string
		Offset                        int64
		Status                        macho.Status
		CodeDirectories               directoryList
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*s = Signature{cut(v.Path, maxFile), macho.Slice{
		Arch: v.Arch, Offset: v.Offset, Status: v.Status, Signature: v.Signature, Reason: cut(v.Reason, maxError), CodeDirectories: v.CodeDirectories,
	}}
	return checkWords("signature", v.Arch, v.Signature, string(v.Status))
}

// checkWords returns an error if one of the words in a value is longer than any that a run writes.
func checkWords(what string, words ...string) error {
	for _, w := range words {
		if len(w) > maxWord {
			return fmt.Errorf("%s: %q is too long, want at most %d bytes", what, cut(w, maxWord), maxWord)
		}
	}
	return nil
}

// A directoryList holds CodeDirectories, each with only its first stale page and first stale special slot.
type directoryList []macho.CodeDirectory

func (l *directoryList) UnmarshalJSON(b []byte) error {
	type directory struct{ Stale, StaleSpecial first }
	var list []directory
	err := elements(b, func(dec *json.Decoder) error {
		if len(list) == maxDirectories {
			return dec.Decode(&skipped{})
		}
		var d directory
		err := dec.Decode(&d)
		list = append(list, d)
		return err
	})
	for _, d := range list {
		*l = append(*l, macho.CodeDirectory{Stale: d.Stale, StaleSpecial: d.StaleSpecial})
	}
	return err
}

// first is a list of numbers that keeps only the first one.
type first []int

func (l *first) UnmarshalJSON(b []byte) error {
	*l = nil
	list, ok := bytes.CutPrefix(b, []byte("["))
	if !ok {
		return json.Unmarshal(b, (*[]int)(l)) // null, or an error
	}
	list = bytes.TrimSpace(list[:bytes.IndexAny(list, ",]")])
	if len(list) == 0 {
		return nil
	}
	n, err := strconv.Atoi(string(list))
	*l = first{n}
	return err
}

// elements calls f for each element of a list, which may be null. f must read the element.
func elements(b []byte, f func(*json.Decoder) error) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	start, err := dec.Token()
	if err != nil || start == nil {
		return err
	}
	if start != json.Delim('[') {
		return fmt.Errorf("got %v, want a list", start)
	}
	for dec.More() {
		if err := f(dec); err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}

// skipped is a value that is read and discarded.
type skipped struct{}

func (*skipped) UnmarshalJSON([]byte) error { return nil }
