package nar_test

import (
	"encoding/binary"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"

	nixnar "github.com/nix-community/go-nix/pkg/nar"
)

// Models of the two other readers: which malformed archives they accept, and what they read from them. Each deviation
// is a rule with a name, and a model returns the rules that an input used. The differential test compares the models
// with the readers themselves, so a rule is more than an excuse.
const (
	ruleOrder      = "names in any order"
	ruleTrailing   = "bytes after the archive"
	ruleNoType     = "a node without a type"
	ruleNoContents = "a regular file without contents"
	ruleNoTarget   = "a symlink without a target"
	ruleNoNode     = "an entry without a node"
	ruleAgain      = "a field given again: contents are put together"
	ruleExecutable = "executable given after the contents, or again"
	ruleTargetNUL  = "a target ends at its first NUL"
	ruleNameLength = "a name over 255 bytes whose node makes no file"

	ruleCut       = "a cut before a string is the end"
	ruleTypeClose = "a node of type ) is none"
	ruleTokens    = "unknown tokens in a directory"
	ruleNameClose = "an entry named ) ends its directory"
	ruleNames     = "empty names, . and .."
	ruleTwice     = "a name twice"
	ruleTarget    = "any target of up to 4095 bytes"
	rulePadding   = "wrong padding after a short string, or none"
)

// A verdict is the result of reading an input.
type verdict struct {
	ok    bool
	items []item          // of the tree that results, if ok
	rules map[string]bool // that the input used
}

func (v *verdict) uses(rule string, when bool) {
	if when {
		v.rules[rule] = true
	}
}

// likeNix is nix-store --restore of Nix 2.8 (src/libutil/archive.cc).
func likeNix(data []byte) verdict {
	m := nixModel{decoder: decoder{data}, files: map[string]*item{}, v: verdict{rules: map[string]bool{}}}
	func() {
		defer func() {
			if e := recover(); e != nil && e != errGrammar {
				panic(e)
			}
		}()
		m.want("nix-archive-1")
		m.node("")
		m.v.uses(ruleTrailing, len(m.b) > 0)
		m.v.ok = true
	}()
	for _, p := range slices.Sorted(maps.Keys(m.files)) {
		m.v.items = append(m.v.items, *m.files[p])
	}
	return m.v
}

type nixModel struct {
	decoder
	files map[string]*item // on the disk, by path
	v     verdict
}

// create creates a file in an existing directory.
func (m *nixModel) create(p string, typ nixnar.NodeType) *item {
	m.must(m.files[p] == nil)        // EEXIST
	m.must(len(path.Base(p)) <= 255) // ENAMETOOLONG
	it := &item{Header: nixnar.Header{Path: p, Type: typ}}
	if p == "" {
		it.Path = "/"
	}
	m.files[p] = it
	return it
}

// node reads the node of path p.
func (m *nixModel) node(p string) {
	m.want("(")
	var typ nixnar.NodeType
	var it *item
	filled, flagged := false, false
	last := ""
	for {
		switch s := m.str(); {
		case s == ")":
			m.v.uses(ruleNoType, typ == "")
			m.v.uses(ruleNoContents, typ == nixnar.TypeRegular && !filled)
			m.v.uses(ruleNoTarget, typ == nixnar.TypeSymlink && !filled)
			m.v.uses(ruleNameLength, it == nil && len(path.Base(p)) > 255)
			return
		case s == "type":
			m.must(typ == "")
			switch typ = nixnar.NodeType(m.str()); typ {
			case nixnar.TypeRegular, nixnar.TypeDirectory:
				it = m.create(p, typ)
			case nixnar.TypeSymlink:
			default:
				m.must(false)
			}
		case s == "contents" && typ == nixnar.TypeRegular:
			m.v.uses(ruleAgain, filled)
			filled = true
			it.contents += m.str()
			it.Size = int64(len(it.contents))
		case s == "executable" && typ == nixnar.TypeRegular:
			m.want("")
			m.v.uses(ruleExecutable, filled || flagged)
			flagged = true
			it.Executable = true
		case s == "target" && typ == nixnar.TypeSymlink:
			target := m.str()
			if i := strings.IndexByte(target, 0); i >= 0 {
				m.v.uses(ruleTargetNUL, true)
				target = target[:i]
			}
			m.must(target != "" && len(target) <= 4095) // ENOENT, ENAMETOOLONG
			it = m.create(p, typ)                       // EEXIST if there were two
			it.LinkTarget = target
			filled = true
		case s == "entry" && typ == nixnar.TypeDirectory:
			last = m.entry(p, last)
		default:
			m.must(false)
		}
	}
}

// entry reads an entry of directory p, and returns the greatest name so far.
func (m *nixModel) entry(p, last string) string {
	m.want("(")
	name, nodes := "", 0
	for {
		switch m.str() {
		case ")":
			m.v.uses(ruleNoNode, nodes == 0)
			return last
		case "name":
			next := m.str()
			m.must(next != "" && next != "." && next != ".." && !strings.ContainsAny(next, "/\x00"))
			m.must(next > name) // of the same entry only
			m.v.uses(ruleAgain, name != "")
			m.v.uses(ruleOrder, next <= last)
			name, last = next, max(last, next)
		case "node":
			m.must(name != "")
			m.v.uses(ruleAgain, nodes > 0)
			nodes++
			m.node(p + "/" + name)
		default:
			m.must(false)
		}
	}
}

// likeGoNix is go-nix's Reader, with contents read to their end.
func likeGoNix(data []byte) verdict {
	m := goNixModel{b: data, v: verdict{rules: map[string]bool{}}}
	func() {
		defer func() {
			switch e := recover(); e {
			case nil, errGoNixEOF:
				m.v.ok = true
			case errGrammar:
			default:
				panic(e)
			}
		}()
		m.expect("nix-archive-1")
		m.node("/")
		m.v.uses(ruleTrailing, len(m.b) > 0)
	}()
	return m.v
}

type goNixModel struct {
	b    []byte
	last string
	v    verdict
}

// errGoNixEOF stands for io.EOF. go-nix takes it for the archive's end wherever it occurs, except at a token that it
// expects.
var errGoNixEOF = errors.New("the input's end")

func (m *goNixModel) must(ok bool) {
	if !ok {
		panic(errGrammar)
	}
}

// cut ends the model at the end of the input, after n bytes of what was wanted.
func (m *goNixModel) cut(n int, expected bool) {
	m.must(n == 0 && !expected)
	m.v.uses(ruleCut, true)
	panic(errGoNixEOF)
}

func (m *goNixModel) number(expected bool) uint64 {
	if len(m.b) < 8 {
		m.cut(len(m.b), expected)
	}
	n := binary.LittleEndian.Uint64(m.b)
	m.b = m.b[8:]
	return n
}

// str reads a string of at most limit bytes. Its padding may have any bytes, and may be truncated.
func (m *goNixModel) str(limit int, expected bool) string {
	n := m.number(expected)
	m.must(n <= uint64(limit))
	if uint64(len(m.b)) < n {
		m.cut(len(m.b), expected)
	}
	s := string(m.b[:n])
	m.b = m.b[n:]
	pad := min(int(-n&7), len(m.b))
	m.v.uses(rulePadding, pad < int(-n&7) || strings.Trim(string(m.b[:pad]), "\x00") != "")
	m.b = m.b[pad:]
	return s
}

func (m *goNixModel) expect(s string) { m.must(m.str(len(s), true) == s) }

func (m *goNixModel) header(it item) int {
	m.must(nixnar.PathIsLexicographicallyOrdered(m.last, it.Path))
	m.last = it.Path
	m.v.items = append(m.v.items, it)
	return len(m.v.items) - 1
}

func (m *goNixModel) node(p string) {
	m.expect("(")
	m.expect("type")
	switch typ := m.str(32, false); typ {
	case "regular":
		it := item{Header: nixnar.Header{Path: p, Type: nixnar.TypeRegular}}
		s := m.str(len("executable"), false)
		if s == "executable" {
			it.Executable = true
			m.must(len(m.b) >= 8) // its error is wrapped, including io.EOF
			m.must(m.number(true) == 0)
			s = m.str(32, false)
		}
		m.must(s == "contents")
		n := m.number(false)
		m.must(n <= 1<<63-1)
		it.Size = int64(n)
		have := min(n, uint64(len(m.b)))
		it.contents = string(m.b[:have])
		m.b = m.b[have:]
		m.header(it)
		if pad := int(-n & 7); pad > 0 {
			if len(m.b) < pad {
				m.v.uses(ruleCut, true)
				m.cut(len(m.b), false)
			}
			m.must(strings.Trim(string(m.b[:pad]), "\x00") == "")
			m.b = m.b[pad:]
		}
		m.must(m.str(32, false) == ")")
	case "symlink":
		m.expect("target")
		target := m.str(4095, false)
		m.v.uses(ruleTarget, target == "" || strings.Contains(target, "\x00"))
		m.header(item{Header: nixnar.Header{Path: p, Type: nixnar.TypeSymlink, LinkTarget: target}})
		m.must(m.str(32, false) == ")")
	case "directory":
		m.header(item{Header: nixnar.Header{Path: p, Type: nixnar.TypeDirectory}})
		last := ""
		for first := true; ; first = false {
			s := m.str(32, false)
			if s == "entry" {
				m.expect("(")
				m.expect("name")
				s = m.str(255, false)
				m.must(nixnar.IsValidNodeName(s))
				m.v.uses(ruleNames, s == "" || s == "." || s == "..")
				m.v.uses(ruleTwice, !first && s == last)
				m.v.uses(ruleOrder, !first && s < last)
				m.v.uses(ruleNameClose, s == ")")
				last = s
				m.expect("node")
				m.node(path.Join(p, s))
				m.expect(")")
			} else {
				m.v.uses(ruleTokens, s != ")")
			}
			if s == ")" {
				return
			}
		}
	default:
		m.must(typ == ")")
		m.v.uses(ruleTypeClose, true)
	}
}
