// Rooms prints a table of the module's packages, with their lines and exported names, and fails if one of them, a file
// or a function is larger than the limits in CONTRIBUTING.md allow.
//
//	go run ./scripts/rooms [-quiet]
package main

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Limits of what a reader can oversee. Tests have none.
const (
	maxPackage  = 2500 // lines of code, without comments and blank lines
	maxMacho    = 3300 // package macho is one thing
	maxFile     = 400  // lines, with comments
	maxFunction = 80   // lines, from func to the closing brace
)

// A room is one package.
type room struct {
	dir      string
	files    int
	code     int // lines
	lines    int // with comments and blank lines
	tests    int // lines of its tests
	exported int // top-level names and groups of constants; 0 for a command
}

func main() {
	quiet := flag.Bool("quiet", false, "print only what is too large")
	flag.Parse()
	rooms, problems, err := survey(".")
	if err != nil {
		fmt.Fprintln(os.Stderr, "rooms:", err)
		os.Exit(1)
	}
	if !*quiet {
		fmt.Printf("| package | files | code | lines | lines of tests | exported names |\n|---|---|---|---|---|---|\n")
		for _, r := range rooms {
			fmt.Printf("| %s | %d | %d | %d | %d | %d |\n", r.dir, r.files, r.code, r.lines, r.tests, r.exported)
		}
	}
	for _, p := range problems {
		fmt.Fprintln(os.Stderr, "rooms:", p)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
}

// survey reads every Go file below root and says what is too large.
func survey(root string) (rooms []room, problems []string, err error) {
	byDir := map[string]*room{}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != root) {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		r := byDir[dir]
		if r == nil {
			r = &room{dir: dir}
			byDir[dir] = r
		}
		lines := bytes.Count(text, []byte("\n"))
		if strings.HasSuffix(path, "_test.go") {
			r.tests += lines
			return nil
		}
		found, err := r.add(path, text, lines)
		problems = append(problems, found...)
		return err
	})
	for _, dir := range slices.Sorted(maps.Keys(byDir)) {
		r := byDir[dir]
		limit := maxPackage
		if dir == "macho" {
			limit = maxMacho
		}
		if r.code > limit {
			problems = append(problems, fmt.Sprintf("%s: %d lines of code, at most %d are allowed", dir, r.code, limit))
		}
		rooms = append(rooms, *r)
	}
	return rooms, problems, err
}

// add counts one file that is no test.
func (r *room) add(path string, text []byte, lines int) (problems []string, err error) {
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, path, text, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	r.files++
	r.lines += lines
	r.code += codeLines(text)
	if lines > maxFile {
		problems = append(problems, fmt.Sprintf("%s: %d lines, at most %d are allowed", path, lines, maxFile))
	}
	for _, decl := range f.Decls {
		if f.Name.Name != "main" {
			r.exported += exported(decl)
		}
		fn, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		at, end := files.Position(fn.Pos()), files.Position(fn.End())
		if n := end.Line - at.Line + 1; n > maxFunction {
			problems = append(problems, fmt.Sprintf("%s: %s has %d lines, at most %d are allowed", at, fn.Name.Name, n, maxFunction))
		}
	}
	return problems, nil
}

// exported counts the names that a declaration adds to what the package shows. Methods and fields belong to their type,
// and a group of constants is one thing to learn.
func exported(decl ast.Decl) (n int) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil && d.Name.IsExported() {
			n++
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() {
					n++
				}
			case *ast.ValueSpec:
				for _, name := range s.Names {
					if name.IsExported() {
						n++
					}
				}
			}
		}
		if d.Tok == token.CONST {
			n = min(n, 1)
		}
	}
	return n
}

// codeLines counts the lines that hold a token other than a comment.
func codeLines(text []byte) int {
	files := token.NewFileSet()
	file := files.AddFile("", files.Base(), len(text))
	var s scanner.Scanner
	s.Init(file, text, nil, 0)
	lines := map[int]bool{}
	for {
		pos, tok, lit := s.Scan()
		if tok == token.EOF {
			return len(lines)
		}
		if tok == token.SEMICOLON && lit == "\n" {
			continue
		}
		first := file.Line(pos)
		for i := range strings.Count(lit, "\n") + 1 {
			lines[first+i] = true
		}
	}
}
