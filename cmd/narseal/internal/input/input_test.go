package input

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"narseal/cmd/narseal/internal/cleanup"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/nar"
	"narseal/nar/compression"
	"narseal/nar/nartest"
)

func packed(t *testing.T, c compression.Type, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := compression.Compress(&b, c, compression.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A stream is the same from a file, from a file that is stdin, and from a pipe, compressed or not; and it can be read
// again where that costs nothing, or after Spool.
func TestStream(t *testing.T) {
	archive := nartest.Tree(nartest.File("data"))
	image := append([]byte{0xcf, 0xfa, 0xed, 0xfe, 12, 0, 0, 1}, make([]byte, 40)...)
	for name, test := range map[string]struct {
		data        []byte
		want        []byte
		format      nar.Format
		formatName  string
		compression compression.Type
		seekable    bool
	}{
		"nar":   {archive, archive, nar.FormatNAR, "nar", compression.None, true},
		"xz":    {packed(t, compression.Xz, archive), archive, nar.FormatNAR, "nar", compression.Xz, false},
		"zstd":  {packed(t, compression.Zstd, archive), archive, nar.FormatNAR, "nar", compression.Zstd, false},
		"image": {image, image, nar.FormatUnknown, "unknown", compression.None, false},
		"short": {[]byte("x"), []byte("x"), nar.FormatUnknown, "unknown", compression.None, false},
		"empty": {nil, nil, nar.FormatUnknown, "unknown", compression.None, false},
	} {
		file := filepath.Join(t.TempDir(), "in")
		if err := os.WriteFile(file, test.data, 0o666); err != nil {
			t.Fatal(err)
		}
		for how, open := range map[string]func() (*Input, error){
			"file": func() (*Input, error) { return Open(file, nil, nil) },
			"stdin, a file": func() (*Input, error) {
				f, err := os.Open(file)
				if err != nil {
					return nil, err
				}
				t.Cleanup(func() { f.Close() })
				return Open(Stdin, f, nil)
			},
			"stdin": func() (*Input, error) { return Open(Stdin, bytes.NewReader(test.data), nil) },
		} {
			in, err := open()
			if err != nil {
				t.Fatal(err)
			}
			s, err := in.Stream()
			if err != nil {
				t.Fatalf("%s, %s: %v", name, how, err)
			}
			if s.Format != test.format || s.Compression != test.compression || s.FormatName() != test.formatName {
				t.Errorf("%s, %s: %v (%s), %v", name, how, s.Format, s.FormatName(), s.Compression)
			}
			if seekable := test.seekable && how != "stdin"; (s.Seekable != nil) != seekable {
				t.Errorf("%s, %s: seekable %v, want %v", name, how, s.Seekable != nil, seekable)
			}
			if err := s.Spool(nil); err != nil || s.Seekable == nil {
				t.Fatalf("%s, %s: spool: %v", name, how, err)
			}
			for range 2 {
				got, err := io.ReadAll(io.NewSectionReader(s.Seekable, 0, s.Seekable.Size()))
				if err != nil || !bytes.Equal(got, test.want) {
					t.Errorf("%s, %s: %d bytes, %v", name, how, len(got), err)
				}
			}
			if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, test.want) {
				t.Errorf("%s, %s: %d bytes, %v", name, how, len(got), err)
			}
			if err := errors.Join(s.Close(), in.Close()); err != nil {
				t.Errorf("%s, %s: %v", name, how, err)
			}
		}
	}
}

// A stream begins where its file is read: what stands before was read by somebody else.
func TestStreamBeginsAtPosition(t *testing.T) {
	archive := nartest.Tree(nartest.File("data"))
	file := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(file, append([]byte("before"), archive...), 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.Seek(6, io.SeekStart)
	in, err := Open(Stdin, f, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := in.Stream()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, archive) || s.Seekable.Size() != int64(len(archive)) {
		t.Errorf("%d bytes, %v; seekable %d", len(got), err, s.Seekable.Size())
	}
	r, err := in.Rewind()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || len(got) != len(archive)+6 {
		t.Errorf("after Rewind %d bytes, %v", len(got), err)
	}
}

func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	for name, want := range map[string]string{
		dir:                          " is a directory, want a NAR",
		filepath.Join(dir, "absent"): "no such file or directory",
	} {
		if in, err := Open(name, nil, nil); err == nil || !strings.HasPrefix(err.Error(), "input: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v", name, in, err)
		}
	}
}

// Spool leaves nothing behind, and ends with the program.
func TestSpoolAfterTheEnd(t *testing.T) {
	var reg *cleanup.Registry
	cleanup.Run(t.Context(), func(_ context.Context, r *cleanup.Registry) error { reg = r; return nil })
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	in, err := Open(Stdin, strings.NewReader("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := in.Stream()
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Spool(reg)
	if list, err := os.ReadDir(tmp); err != nil || len(list) > 0 {
		t.Errorf("%q, %v", list, err)
	}
	s.Close()
}

// What is no archive is explained, and nothing else.
func TestExplain(t *testing.T) {
	for data, want := range map[string]bool{"x": true, string(nartest.Tree(nartest.File("x"))[:20]): false} {
		in, err := Open(Stdin, strings.NewReader(data), nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := in.Stream()
		if err != nil {
			t.Fatal(err)
		}
		_, err = nar.NewReader(s).Next()
		var hinted *terminal.HintedError
		if err = s.Explain(err); err == nil || errors.As(err, &hinted) != want {
			t.Errorf("%q: %v, with a hint %v", data, err, hinted != nil)
		}
	}
}
