package command

import (
	"os"
	"path"
	"path/filepath"
	"strings"

	"narseal/cmd/narseal/internal/input"
	"narseal/cmd/narseal/internal/report"
	"narseal/nar"
	"narseal/nar/storepath"
)

// The commands that repair what verify finds. They are printed in full, for copying.
const (
	repairStore   = "narseal store repair"
	repairInPlace = "narseal repair --in-place"
)

// mendFiles returns how to repair a file or a directory.
func mendFiles(name string) report.Repair {
	if p, ok := inStore(name); ok {
		return report.Repair{Command: repairStore, Operand: p}
	}
	if isStoreDir(name) {
		return report.Repair{Command: repairStore}
	}
	return report.Repair{Command: repairInPlace, Operand: operand(name)}
}

// mendArchive returns how to repair an archive. For stdin, the command reads from a pipe, too.
func mendArchive(name string) report.Repair {
	if name == input.Stdin {
		return report.Repair{Command: "narseal repair -o repaired.nar"}
	}
	dir, base := filepath.Split(name)
	stem, ext, ok := strings.Cut(base, ".")
	if ok {
		ext = "." + ext
	}
	return report.Repair{Command: "narseal repair -o " + report.Quote(operand(dir+stem+"-repaired"+ext)), Operand: operand(name)}
}

// mendExported returns how to repair a path of an export stream. A stream on stdin is assumed to come from the store of
// this machine.
func mendExported(name, storePath string) report.Repair {
	if name == input.Stdin {
		return report.Repair{Command: repairStore, Operand: storePath}
	}
	return mendArchive(name)
}

// operand returns a form of name that cannot be read as an option.
func operand(name string) string {
	if strings.HasPrefix(name, "-") {
		return "./" + name
	}
	return name
}

// storeDir is the store directory of this machine.
func storeDir() string {
	if dir := os.Getenv("NIX_STORE_DIR"); dir != "" {
		return dir
	}
	return "/nix/store"
}

// realName returns the absolute name of a file, with no symlinks in it.
func realName(name string) (string, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(name)
}

// isStoreDir reports whether name is the store directory of this machine.
func isStoreDir(name string) bool {
	name, err := realName(name)
	return err == nil && name == filepath.Clean(storeDir())
}

// inStore returns the store path that contains a file, if the file is in the store of this machine.
func inStore(name string) (storePath string, ok bool) {
	name, err := realName(name)
	if err != nil {
		return "", false
	}
	return storePathOf(name)
}

// storePathOf returns the store path that an absolute name begins with.
func storePathOf(name string) (storePath string, ok bool) {
	rest, under := strings.CutPrefix(name, storeDir()+"/")
	if !under {
		return "", false
	}
	base, _, _ := strings.Cut(rest, "/")
	return path.Join(storeDir(), base), storepath.CheckBaseName(base) == nil
}

// maxStored is the maximum length of a file name whose store path is looked up: PATH_MAX of Linux.
const maxStored = 4096

// inStoreOf returns a function that returns the store path of a file in the directory name, or of name itself. It
// returns "" if there is none.
func inStoreOf(name string) func(nar.Path) string {
	if p, ok := inStore(name); ok {
		return func(nar.Path) string { return p }
	}
	if !isStoreDir(name) {
		return func(nar.Path) string { return "" }
	}
	return func(file nar.Path) string {
		if file.Len() > maxStored {
			return ""
		}
		rest := strings.TrimPrefix(file.String(), name)
		p, ok := storePathOf(storeDir() + "/" + strings.TrimLeft(rest, "/"))
		if !ok {
			return ""
		}
		return p
	}
}
