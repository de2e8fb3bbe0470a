package command

import (
	"os"
	"path"
	"path/filepath"
	"strings"

	"narseal/cmd/narseal/internal/input"
	"narseal/cmd/narseal/internal/report"
	"narseal/nar/storepath"
)

// The commands that repair what verify finds. They are printed to be copied, so each is complete.
const (
	repairStore   = "narseal store repair"
	repairInPlace = "narseal repair --in-place"
)

// mendFiles returns how to repair a file or a directory.
func mendFiles(name string) report.Repair {
	if p, ok := inStore(name); ok {
		return report.Repair{Command: repairStore, Operand: p}
	}
	return report.Repair{Command: repairInPlace, Operand: operand(name)}
}

// mendArchive returns how to repair an archive. One that came from a pipe is repaired in a pipe.
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

// mendExported returns how to repair a path of an export stream. If the stream is a pipe, it comes from a store.
func mendExported(name, storePath string) report.Repair {
	if name == input.Stdin {
		return report.Repair{Command: repairStore, Operand: storePath}
	}
	return mendArchive(name)
}

// operand returns a name that is no option.
func operand(name string) string {
	if strings.HasPrefix(name, "-") {
		return "./" + name
	}
	return name
}

// inStore returns the store path in which a file lies, if it lies in the store of this machine.
func inStore(name string) (storePath string, ok bool) {
	dir := os.Getenv("NIX_STORE_DIR")
	if dir == "" {
		dir = "/nix/store"
	}
	name, err := filepath.Abs(name)
	if err == nil {
		name, err = filepath.EvalSymlinks(name)
	}
	rest, under := strings.CutPrefix(name, dir+"/")
	if err != nil || !under {
		return "", false
	}
	base, _, _ := strings.Cut(rest, "/")
	return path.Join(dir, base), storepath.CheckBaseName(base) == nil
}
