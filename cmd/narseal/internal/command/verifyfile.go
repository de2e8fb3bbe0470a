package command

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"narseal/cmd/narseal/internal/input"
	"narseal/cmd/narseal/internal/scan"
	"narseal/filter"
	"narseal/filter/spill"
	"narseal/macho"
	"narseal/nar"
	"narseal/nar/storepath"
)

// unknown verifies an input that is neither a NAR nor an export stream. It verifies a Mach-O image that is compressed
// or comes from a stream, and counts other regular files as files without a signature. Other streams, and files that
// begin like a truncated archive, are read as a NAR, so that the error describes the problem.
func (v *verifyRun) unknown(ctx context.Context, in *input.Input, s *input.Stream, r io.Reader) error {
	head := make([]byte, max(scan.MachOPrefix, tarBlock))
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	r = input.Prefixed(head[:n], r)
	if macho.IsMachO(head[:n]) {
		return v.image(ctx, r)
	}
	if v.name == input.Stdin || in.Info == nil || !in.Info.Mode().IsRegular() || isCutArchive(head[:n]) {
		return s.Explain(v.archive(r))
	}
	if isTarOrZip(head[:n]) {
		v.packed++
	}
	v.tally.AddFile(0, in.Info.Size(), nil)
	return ctx.Err()
}

// tarBlock is the size of a tar header.
const tarBlock = 512

// isTarOrZip reports whether a file that begins with head is a tar or zip archive, which verify does not unpack.
func isTarOrZip(head []byte) bool {
	return len(head) >= tarBlock && string(head[257:262]) == "ustar" || bytes.HasPrefix(head, []byte("PK\x03\x04"))
}

// isCutArchive reports whether head, the whole of a short file, is the beginning of an archive or an export stream.
func isCutArchive(head []byte) bool {
	const magic = "\x0d\x00\x00\x00\x00\x00\x00\x00nix-archive-1"
	const export = "\x01\x00\x00\x00\x00\x00\x00\x00" + magic
	return len(head) > 0 && (strings.HasPrefix(magic, string(head)) || strings.HasPrefix(export, string(head)))
}

// image verifies an image from a stream. It copies the image to a temporary file.
func (v *verifyRun) image(ctx context.Context, r io.Reader) error {
	f, err := v.cfg.Spill.Open()
	if err != nil {
		return fmt.Errorf("temporary file: %w", err)
	}
	defer f.Close()
	size, err := io.Copy(io.NewOffsetWriter(f, 0), r)
	if err != nil {
		return err
	}
	image := imageAt{f, size}
	found, err := macho.Config{Jobs: v.cfg.Signatures.Jobs}.Verify(image)
	if err == nil && v.cfg.Signatures.Locate {
		err = found.Locate(image)
	}
	if err != nil {
		return err
	}
	v.tally.Entries.Regular++
	v.tally.AddImage(found)
	for _, s := range found.Slices {
		v.add(filter.Signature{Path: nar.NewPath(v.name), Slice: s}, true)
	}
	return ctx.Err()
}

// imageAt is an image in a temporary file.
type imageAt struct {
	spill.File
	size int64
}

func (i imageAt) Size() int64 { return i.size }

// isStorePathSymlink reports whether name is a store path that is a symlink, in the store of this machine or in another
// directory that is called store. Its target need not exist on this machine.
func isStorePathSymlink(name string) bool {
	info, err := os.Lstat(name)
	if err != nil || info.Mode()&os.ModeSymlink == 0 || storepath.CheckBaseName(filepath.Base(name)) != nil {
		return false
	}
	dir, err := realName(filepath.Dir(name))
	return err == nil && (filepath.Base(dir) == "store" || isStoreDir(dir))
}
