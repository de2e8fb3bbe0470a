package scan

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Lists of resources with many names are parsed only as often as their size allows; copies always are.
func TestRelinked(t *testing.T) {
	const names, size = 20, 8 << 20
	list := []byte("<plist><dict></dict></plist>" + strings.Repeat(" ", size-28))
	for _, linked := range []bool{false, true} {
		dir := t.TempDir()
		first := filepath.Join(dir, "CodeResources")
		write(t, first, list)
		for i := range names {
			name := filepath.Join(dir, fmt.Sprintf("%02d.app/Contents/_CodeSignature/CodeResources", i))
			if !linked {
				write(t, name, list)
				continue
			}
			if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.Link(first, name); err != nil {
				t.Fatal(err)
			}
		}
		_, failed, _ := scanned(t, dir)
		want := 0
		if linked {
			want = names + 1 - maxRelinked/size
		}
		if len(failed) != want {
			t.Errorf("linked %t: %d files failed, want %d: %v", linked, len(failed), want, failed)
		}
		for _, err := range failed {
			if !strings.Contains(fmt.Sprint(err), "21 names") {
				t.Error(err)
			}
		}
	}
}
