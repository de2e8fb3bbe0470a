package resources

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"narseal/macho"
)

// A Comparison holds the differences between a list and the files of a bundle, regardless of which file is the main
// executable. One Comparison serves all executables that seal the list.
type Comparison struct {
	list    *List
	found   []Problem // sorted by path
	touched int       // number of problems that are Touched
	any     bool      // any file is Touched
}

// Compare compares the files of a bundle with the list. It ignores b.Executable.
func (l *List) Compare(b *Bundle) *Comparison {
	c := &check{List: l, bundle: b, seen: map[string]bool{}}
	for i := 0; i < len(b.Files); {
		f := &b.Files[i]
		i++
		if c.file(i-1, f) || f.Kind != Directory {
			continue
		}
		for i < len(b.Files) && strings.HasPrefix(b.Files[i].Path, f.Path) && b.Files[i].Path[len(f.Path)] == '/' {
			i++
		}
	}
	touched := slices.ContainsFunc(b.Files, func(f File) bool { return f.Touched })
	for path, s := range l.files {
		if !s.optional && !c.seen[path] {
			c.report(path, "missing", touched)
		}
	}
	slices.SortFunc(c.found, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Problem, b.Problem))
	})
	done := &Comparison{list: l, found: c.found, any: touched}
	for _, p := range c.found {
		done.touched += count(p.Touched)
	}
	return done
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}

// Problems returns the problems for a main executable, sorted by path. The list must not seal the main executable
// itself, so an entry for it is reported like an entry without a file. If there are more than most problems, one more
// problem gives the number of the others.
func (c *Comparison) Problems(executable string, most int) []Problem {
	from, _ := slices.BinarySearchFunc(c.found, executable, func(p Problem, path string) int { return cmp.Compare(p.Path, path) })
	to := from
	touched := c.touched // Touched problems that are not named
	for to < len(c.found) && c.found[to].Path == executable {
		touched -= count(c.found[to].Touched)
		to++
	}
	total := len(c.found) - (to - from)
	out := slices.Clip(slices.Concat(c.found[:min(from, most)]))
	if s := c.list.files[executable]; s != nil && !s.optional {
		total++
		touched += count(c.any)
		if len(out) < most {
			out = append(out, Problem{macho.Resource{Path: executable, Problem: "missing"}, c.any})
		}
	}
	out = append(out, c.found[to:min(len(c.found), to+most-len(out))]...)
	for _, p := range out {
		touched -= count(p.Touched)
	}
	if more := total - len(out); more > 0 {
		out = append(out, Problem{macho.Resource{Problem: fmt.Sprintf("%d more files do not match", more)}, touched > 0})
	}
	return out
}

// Check compares the files of a bundle with the list, and returns the problems, sorted by path.
func (l *List) Check(b *Bundle) []Problem { return l.Compare(b).Problems(b.Executable, MaxProblems) }
