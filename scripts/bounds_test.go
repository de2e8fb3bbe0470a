package scripts

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// bounds are rows of SECURITY.md, by how they begin, and the constants of the code that have their numbers.
var bounds = []struct{ row, dir, name string }{
	{"name of an entry", "nar", "MaxName"},
	{"target of a symlink | 4,095", "nar", "MaxTarget"},
	{"directory depth |", "nar", "MaxDepth"},
	{"store path in an export stream", "nar/storepath", "MaxName"},
	{"references of a path in an export stream", "nar", "maxTrailer"},
	{"records of waiting entries that stay", "filter/spill", "freeItems"},
	{"records of waiting entries that stay", "nar", "maxMarked"},
	{"records of waiting entries in memory", "filter/spill", "itemMemory"},
	{"names in open directories", "filter", "freeNames"},
	{"expansion, after the first GiB", "nar/compression", "maxRatio"},
	{"window that a zstd stream", "nar/compression", "maxZstdWindow"},
	{"dictionary that an xz stream", "nar/compression", "maxXzDictionary"},
	{"narinfo, nix-cache-info", "nar/binarycache/narinfo", "MaxSize"},
	{"lines of a narinfo", "nar/binarycache/narinfo", "maxLines"},
	{"signatures of a narinfo", "nar/binarycache/narinfo", "maxSignatures"},
	{"references in the text that a signature covers", "nar/binarycache/narinfo", "maxReferences"},
	{"what is read of NARs again", "nar/binarycache/internal/repeats", "maxRatio"},
	{"memory of a decoder that needs more than", "nar/compression", "UsualMemory"},
	{"text of a listing (", "nar/binarycache/internal/listing", "MaxSize"},
	{"expansion of a listing", "nar/binarycache", "maxListingRatio"},
	{"expansion of a listing", "nar/binarycache", "freeListing"},
	{"levels in a listing", "nar/binarycache/internal/listing", "maxDepth"},
	{"string in a listing", "nar/binarycache/internal/listing", "maxString"},
	{"object in `debuginfo`", "nar/binarycache", "maxDebugInfo"},
	{"line in the saved state", "nar/binarycache/state", "maxLine"},
	{"line of a ledger", "cmd/narseal/internal/ledger", "maxLine"},
	{"line in a `--paths` list", "cmd/narseal/internal/worklist", "maxLine"},
	{"paths of a `--closure`", "cmd/narseal/internal/worklist", "MaxClosure"},
	{"header of a response", "nar/binarycache/internal/remote", "maxHeader"},
	{"redirects per request", "nar/binarycache/httpstore", "maxRedirects"},
	{"S3 response", "nar/binarycache/s3store", "maxAnswer"},
	{"consecutive pages of a listing", "nar/binarycache/s3store", "maxEmpty"},
	{"directory depth of a walk", "cmd/narseal/internal/scan", "MaxDepth"},
	{"size of an image file, or", "cmd/narseal/internal/scan", "maxSparseness"},
	{"size of an image file, or", "cmd/narseal/internal/scan", "maxExcess"},
	{"bytes of lists and Info.plists", "cmd/narseal/internal/scan", "maxRelinked"},
	{"times that a file with several names", "cmd/narseal/internal/scan", "maxLinked"},
	{"target of a symlink on the disk", "cmd/narseal/internal/scan", "maxTarget"},
	{"blobs of a SuperBlob", "macho", "maxBlobs"},
	{"recorded changes in an image", "filter", "maxRanges"},
	{"occurrences of an archive's own hash", "filter/address", "maxOwn"},
	{"images waiting to be verified", "filter", "maxQueued"},
	{"executables waiting", "macho/bundle", "maxWaiting"},
	{"executables waiting", "macho/bundle", "maxDepth"},
	{"memory for bundles of all paths", "macho/bundle", "DefaultPool"},
	{"memory for bundles of all paths", "macho/bundle", "freeMemory"},
	{"comparing the files", "macho/bundle", "costInAll"},
	{"comparing the files", "macho/bundle", "costPerFile"},
	{"comparing the files", "macho/bundle", "costPerByte"},
	{"files that the executables", "macho/bundle", "maxNamedBytes"},
	{"files that the executables", "macho/bundle", "maxNamedPath"},
	{"files that the executables", "macho/bundle/resources", "MaxProblems"},
	{"memory of their reports", "macho/bundle", "maxWaitingMemory"},
	{"values of a binary list", "macho/bundle/resources", "maxObjects"},
	{"values of a binary list", "macho/bundle/resources", "maxShared"},
	{"the signature of a bundle whose main executable", "macho/bundle", "maxDirectory"},
	{"the signature of a bundle whose main executable", "macho/bundle", "maxPages"},
	{"nesting depth", "filter/refs", "DefaultDepth"},
	{"size that a file expands to", "filter/refs", "DefaultSize"},
	{"expansion of a member", "filter/refs", "DefaultRatio"},
	{"expansion of a member", "filter/refs", "freeSize"},
	{"expansion beyond `--deep-ratio`", "filter/refs", "poolSize"},
	{"memory of all levels together", "filter/refs", "decoderMemory"},
	{"memory of one compressed stream", "nar/compression", "freeWindow"},
	{"zip archive, and its directory", "filter/refs", "maxZip"},
	{"zip archive, and its directory", "filter/refs", "maxZipDirectory"},
	{"regions of a zip archive", "filter/refs", "maxHoles"},
	{"decoder windows and archives", "filter/refs", "maxGarbage"},
	{"warnings per file", "filter/refs", "maxWarnings"},
	{"paths in all lists and reports", "cmd/narseal/internal/report", "DefaultBudget"},
	{"rules listed for all archives", "cmd/narseal/internal/report", "MaxRules"},
	{"store paths that `refs` lists", "cmd/narseal/internal/command", "maxStorePaths"},
	{"list of begun repairs", "cmd/narseal/internal/repairnote", "maxNote"},
	{"rows of a job summary", "cmd/narseal/internal/report", "maxSummaryRows"},
	{"runs of bad pages", "cmd/narseal/internal/htmlreport", "maxBad"},
	{"rows of the HTML report", "cmd/narseal/internal/htmlreport", "maxRows"},
	{"marks in all maps", "cmd/narseal/internal/htmlreport", "maxMarks"},
	{"errors in the HTML report", "cmd/narseal/internal/htmlreport", "maxErrors"},
	{"line in a rules file", "filter/rules", "maxRuleLine"},
}

// TestSecurityNumbers compares the numbers in SECURITY.md with the constants of the code.
func TestSecurityNumbers(t *testing.T) {
	text, err := os.ReadFile("../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	packages := map[string]map[string]int64{}
	for _, b := range bounds {
		values := packages[b.dir]
		if values == nil {
			values = constants(t, filepath.Join("..", b.dir))
			packages[b.dir] = values
		}
		n, ok := values[b.name]
		if !ok {
			t.Errorf("%s has no constant %s", b.dir, b.name)
			continue
		}
		found := false
		for _, l := range lines {
			if strings.HasPrefix(l, "| "+b.row) {
				found = true
				if forms := numberForms(n); !containsNumber(l, forms) {
					t.Errorf("%s: %s is %s: %s", b.dir, b.name, strings.Join(forms, " or "), l)
				}
			}
		}
		if !found {
			t.Errorf("SECURITY.md has no row that begins with %q", b.row)
		}
	}
}

// containsNumber reports whether one of these forms of a number is in a row of the table, and not as a part of another.
func containsNumber(row string, forms []string) bool {
	for _, f := range forms {
		for at := 0; ; {
			i := strings.Index(row[at:], f)
			if i < 0 {
				break
			}
			at += i + len(f)
			// A comma is a part of a number only between digits.
			before, after := strings.TrimRight(row[:at-len(f)], ","), strings.TrimLeft(row[at:], ",")
			if !isDigit(before[len(before)-1]) && (after == "" || !isDigit(after[0])) {
				return true
			}
		}
	}
	return false
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// numberForms returns how a number may be written: "1,048,576", "1 MiB".
func numberForms(n int64) (forms []string) {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	forms = append(forms, digits)
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if shift := 10 * (i + 1); n>>shift<<shift == n {
			forms = append(forms, strconv.FormatInt(n>>shift, 10)+" "+unit)
		}
	}
	return forms
}

// constants returns the constants of a package whose values are integers that do not depend on other packages.
func constants(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	all := map[string]int64{}
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v, %v", dir, names, err)
	}
	files := token.NewFileSet()
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range f.Decls {
			g, ok := decl.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, spec := range g.Specs {
				v := spec.(*ast.ValueSpec)
				for i, id := range v.Names {
					if i >= len(v.Values) {
						continue
					}
					tv, err := types.Eval(files, nil, token.NoPos, types.ExprString(v.Values[i]))
					if err != nil || tv.Value == nil {
						continue
					}
					if n, exact := constant.Int64Val(constant.ToInt(tv.Value)); exact {
						all[id.Name] = n
					}
				}
			}
		}
	}
	return all
}
