package nar_test

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"narseal/nar/nartest"
)

// Names, tokens and numbers that a mutation may insert.
var (
	plainNames  = []string{"a", "b", "c", "ab", "a-b", "a.b", "A", "..data", "...", "x y", "\xff", "(", ")", "entry", "node", strings.Repeat("n", 255)}
	nastyNames  = []string{"", ".", "..", "/", "a/b", "../x", "a\x00", "\x00", strings.Repeat("n", 256), "a"}
	targets     = []string{"t", "/nix/store", "..", "a\x00b", "\x00", "", strings.Repeat("t", 4095), strings.Repeat("t", 4096)}
	knownTokens = []string{"(", ")", "type", "regular", "directory", "symlink", "executable", "contents", "target", "entry", "name", "node", "", "x", "nix-archive-1", strings.Repeat("x", 33)}
)

func pick[T any](rnd *rand.Rand, of []T) T { return of[rnd.IntN(len(of))] }

// mutant returns the archive of a random tree with some errors, or none.
func mutant(rnd *rand.Rand) []byte {
	for {
		root := randomTree(rnd, 3)
		var kinds [3]int // mutations of the tree, of its strings, of bytes
		for range pick(rnd, []int{0, 1, 1, 1, 1, 1, 1, 2, 2, 4}) {
			kinds[rnd.IntN(3)]++
		}
		for range kinds[0] {
			mutateTree(rnd, &root)
		}
		data := nartest.Tree(root)
		for range kinds[1] {
			data = mutateTokens(rnd, data)
		}
		for range kinds[2] {
			data = mutateBytes(rnd, data)
		}
		// nix-store allocates the length that a field claims.
		if n := greatestLength(data); n < 1<<20 || n > 1<<47 {
			return data
		}
	}
}

func randomTree(rnd *rand.Rand, depth int) nartest.Node {
	contents := strings.Repeat("contents", 3)[:rnd.IntN(25)]
	switch n := rnd.IntN(8); {
	case n < 2 && depth < 3:
		return nartest.File(contents)
	case n == 2 && depth < 3:
		return nartest.Exec(contents)
	case n == 3 && depth < 3:
		return nartest.Symlink(pick(rnd, targets[:3]))
	}
	if depth == 0 {
		return nartest.File("")
	}
	d := nartest.Dir{}
	for range rnd.IntN(5) {
		d[pick(rnd, plainNames)] = randomTree(rnd, depth-1)
	}
	es := nartest.Entries{}
	for _, name := range slices.Sorted(maps.Keys(d)) {
		es = append(es, nartest.Entry{Name: name, Node: d[name]})
	}
	return es
}

// mutateTree changes names, their order, nodes or nesting.
func mutateTree(rnd *rand.Rand, n *nartest.Node) {
	if es, ok := (*n).(nartest.Entries); ok && len(es) > 0 {
		i := rnd.IntN(len(es))
		switch rnd.IntN(8) {
		case 0:
			es[i].Name = pick(rnd, nastyNames)
		case 1:
			es[i].Name = pick(rnd, plainNames)
		case 2:
			*n = slices.Insert(es, rnd.IntN(len(es)+1), es[i])
		case 3:
			j := rnd.IntN(len(es))
			es[i], es[j] = es[j], es[i]
		default:
			mutateTree(rnd, &es[i].Node)
		}
		return
	}
	file := str("(", "type", "regular", "contents", "x", ")")
	switch rnd.IntN(5) {
	case 0:
		*n = nartest.Symlink(pick(rnd, targets))
	case 1:
		*n = nartest.Entries{{Name: pick(rnd, nastyNames), Node: *n}}
	case 2:
		*n = nartest.Entries{{Name: "d", Node: *n}, {Name: "e", Node: *n}}
	default:
		*n = nartest.Raw(pick(rnd, []string{
			str("(", ")"), file + file, "", str("(", "type", "regular", ")"), str("(", "type", "symlink", ")"),
			str("(", "type", "regular", "executable", "", "executable", "", "contents", "x", ")"),
			str("(", "type", "regular", "contents", "x", "executable", "", ")"),
			str("(", "type", "regular", "contents", "x", "contents", "", ")"),
			str("(", "type", "regular", "executable", "1", "contents", "x", ")"),
			str("(", "type", "directory", "entry", "(", ")", ")"),
			str("(", "type", "directory", "entry", "(", "name", "a", ")", ")"),
			str("(", "type", "directory", "entry", "(", "name", "a", "node") + file + str("name", "b", "node") + file + str(")", ")"),
			str("(", "type", "directory", "type", "directory", ")"),
			str("(", "type", "socket", ")"),
		}))
	}
}

// lengths returns the offsets of the length fields, as far as the strings can be followed.
func lengths(data []byte) []int {
	var at []int
	for i := 0; i+8 <= len(data); {
		at = append(at, i)
		n := binary.LittleEndian.Uint64(data[i:])
		if n > uint64(len(data)) {
			break
		}
		i += 8 + int(n+7)&^7
	}
	return at
}

func greatestLength(data []byte) uint64 {
	var most uint64
	for _, i := range lengths(data) {
		most = max(most, binary.LittleEndian.Uint64(data[i:]))
	}
	return most
}

// mutateTokens removes, repeats, swaps, replaces or inserts whole strings.
func mutateTokens(rnd *rand.Rand, data []byte) []byte {
	at := lengths(data)
	if len(at) < 3 {
		return data
	}
	at = append(at, len(data))
	i := rnd.IntN(len(at) - 1)
	before, token, after := data[:at[i]], data[at[i]:at[i+1]], data[at[i+1]:]
	switch rnd.IntN(5) {
	case 0:
		token = nil
	case 1:
		token = append(bytes.Clone(token), token...)
	case 2:
		j := rnd.IntN(len(at) - 1)
		other := data[at[j]:at[j+1]]
		token = append(bytes.Clone(other), token...)
	case 3:
		token = nartest.Strings(pick(rnd, knownTokens))
	case 4:
		token = append(nartest.Strings(pick(rnd, knownTokens)), token...)
	}
	return slices.Concat(before, token, after)
}

// mutateBytes changes a length, padding, any bit, or the end of the archive.
func mutateBytes(rnd *rand.Rand, data []byte) []byte {
	data = bytes.Clone(data)
	if len(data) < 8 {
		return append(data, 0)
	}
	i := pick(rnd, lengths(data))
	n := binary.LittleEndian.Uint64(data[i:])
	end := i + 8 + int(min(n, uint64(len(data)-i-8)))
	switch rnd.IntN(6) {
	case 0:
		n += pick(rnd, []uint64{1, 8, 1 << 63, 1 << 48, 256})
		n -= pick(rnd, []uint64{0, 0, 2, 16})
		binary.LittleEndian.PutUint64(data[i:], n)
	case 1:
		if end < len(data) {
			data[end] = byte(rnd.Uint32()) // of the padding, if there is any
		}
	case 2:
		data[rnd.IntN(len(data))] ^= 1 << rnd.IntN(8)
	case 3:
		data = data[:rnd.IntN(len(data))]
	case 4:
		data = data[:i] // between two strings
	case 5:
		data = append(data, pick(rnd, []string{"\x00", "x", str(")"), str("("), string(data)})...)
	}
	return data
}
