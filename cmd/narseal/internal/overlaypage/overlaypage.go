// Package overlaypage writes index.html, which explains an overlay to its users, and a file with the public keys.
package overlaypage

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/narinfo"
	"narseal/nar/storepath"
)

// Names of the objects.
const (
	PageName = "index.html"
	KeysName = "public-keys.txt"
)

const (
	// maxRows is the maximum number of paths on the page.
	maxRows = 5000
	// maxKeys is the maximum size of a small object, such as the file with the keys, in bytes.
	maxKeys = 64 << 10
	// maxTries is the maximum number of attempts to write an object that other runs write at the same time.
	maxTries = 20
)

// A Page holds the information for the page that is not in the overlay.
type Page struct {
	Input   string   // the cache that the overlay extends
	Keys    []string // public keys, in the form of nix.conf
	Version string   // of narseal
	Now     time.Time
	Warn    func(string) // called for narinfos that cannot be listed, and for a file of keys that is kept; may be nil
}

// Write writes both objects into an overlay. If several runs do this at the same time, the last page lists the paths of
// all of them. If the store cannot be listed, the error wraps [errors.ErrUnsupported].
func Write(ctx context.Context, out binarycache.Store, p *Page) error {
	keys, err := p.writeKeys(ctx, out)
	if err != nil {
		return fmt.Errorf("%s: %w", KeysName, err)
	}
	for try := 1; ; try++ {
		err := p.write(ctx, out, keys)
		if try == maxTries || !errors.Is(err, binarycache.ErrChanged) && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
}

// writeKeys adds keys to the file, and returns all keys in it. A file with anything else is somebody else's, and is kept.
func (p *Page) writeKeys(ctx context.Context, out binarycache.Store) ([]string, error) {
	for try := 1; ; try++ {
		cond, text, err := read(ctx, out, KeysName)
		if err != nil {
			return nil, err
		}
		all := strings.Fields(text)
		missing := slices.DeleteFunc(slices.Clone(p.Keys), func(key string) bool { return slices.Contains(all, key) })
		switch {
		case !hasOnlyKeys(text):
			if len(missing) > 0 && p.Warn != nil {
				p.Warn(fmt.Sprintf("%s: %v; add %s to it", KeysName, ErrForeign, strings.Join(missing, " ")))
			}
			return p.Keys, nil
		case len(missing) == 0:
			return all, nil
		}
		all = append(all, missing...)
		_, err = put(ctx, out, KeysName, "text/plain; charset=utf-8", []byte(strings.Join(all, "\n")+"\n"), cond)
		if err == nil {
			return all, nil
		}
		if try == maxTries || !errors.Is(err, binarycache.ErrChanged) && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
}

// hasOnlyKeys reports whether each line of a text is a public key, as in the file that writeKeys writes.
func hasOnlyKeys(text string) bool {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if _, err := signature.ParsePublicKey(line); err != nil || strings.ContainsAny(line, " \t") {
			return false
		}
	}
	return true
}

// read returns a small object and the condition to replace it.
func read(ctx context.Context, s binarycache.Store, name string) (c binarycache.Condition, text string, err error) {
	f, o, err := s.Open(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return binarycache.Condition{New: true}, "", nil
	}
	if err != nil {
		return c, "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKeys+1))
	if err == nil && len(b) > maxKeys {
		err = fmt.Errorf("more than %d bytes", maxKeys)
	}
	return binarycache.Condition{Version: o.Version}, string(b), err
}

func put(ctx context.Context, s binarycache.Store, name, kind string, b []byte, c binarycache.Condition) (binarycache.Version, error) {
	o := binarycache.Object{Name: name, Size: int64(len(b)), Attributes: map[string]string{"Content-Type": kind, "Cache-Control": "max-age=300"}}
	return s.Put(ctx, o, bytes.NewReader(b), c)
}

// write lists the overlay and writes the page. It gets the condition before it lists, so that Put fails if another run
// writes the page in between.
func (p *Page) write(ctx context.Context, out binarycache.Store, keys []string) error {
	cond, err := p.mayWrite(ctx, out)
	if err != nil {
		return err
	}
	v := &view{Page: p, Keys: keys, Style: template.CSS(pageCSS), Script: template.JS(pageJS), Policy: policy}
	if err := v.list(ctx, out); err != nil {
		return err
	}
	var b bytes.Buffer
	if err := page().Execute(&b, v); err != nil {
		return err
	}
	_, err = put(ctx, out, PageName, "text/html; charset=utf-8", b.Bytes(), cond)
	return err
}

// mark is in every page of Write, which replaces no other pages.
const mark = `<meta name="generator" content="narseal">`

// markWithin is the number of bytes at the start of a page that contain the mark.
const markWithin = 4 << 10

// mayWrite returns the condition for writing the page. It returns ErrForeign if there is a page by somebody else.
func (p *Page) mayWrite(ctx context.Context, out binarycache.Store) (binarycache.Condition, error) {
	f, o, err := out.Open(ctx, PageName)
	if errors.Is(err, fs.ErrNotExist) {
		return binarycache.Condition{New: true}, nil
	}
	if err != nil {
		return binarycache.Condition{}, err
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, markWithin))
	if err == nil && !bytes.Contains(head, []byte(mark)) {
		err = fmt.Errorf("%s: %w", PageName, ErrForeign)
	}
	return binarycache.Condition{Version: o.Version}, err
}

// ErrForeign is the error of Write if the overlay has a page that Write did not write.
var ErrForeign = errors.New("narseal did not write it, so it is kept")

// view holds the values for the template.
type view struct {
	*Page
	Keys   []string
	Count  int // paths
	Rows   []row
	First  time.Time
	Last   time.Time
	Info   string // nix-cache-info
	Style  template.CSS
	Script template.JS
	Policy string
}

// A row is a repaired path.
type row struct {
	StorePath string
	At        time.Time
}

// Date returns the date of the row. The template calls it, like the methods of view.
func (r row) Date() string { return date(r.At) }

func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.DateOnly)
}

// More returns the number of paths that have no row.
func (v *view) More() int { return v.Count - len(v.Rows) }

// Since returns the date of the oldest path.
func (v *view) Since() string { return date(v.First) }

// Updated returns the time of the page.
func (v *view) Updated() string { return v.Now.UTC().Format("2006-01-02 15:04 UTC") }

// Hash returns the hash part of Example.
func (v *view) Hash() string {
	if len(v.Rows) == 0 {
		return "HASH"
	}
	base := v.Rows[0].StorePath[strings.LastIndexByte(v.Rows[0].StorePath, '/')+1:]
	return base[:storepath.HashLen]
}

// Example returns a store path for use in examples.
func (v *view) Example() string {
	if len(v.Rows) == 0 {
		return "/nix/store/HASH-NAME"
	}
	return v.Rows[0].StorePath
}

// list lists the paths in the overlay.
func (v *view) list(ctx context.Context, out binarycache.Store) error {
	_, text, err := read(ctx, out, narinfo.CacheInfoName)
	if err != nil {
		return fmt.Errorf("%s: %w", narinfo.CacheInfoName, err)
	}
	v.Info = text
	info, err := narinfo.ParseCacheInfo([]byte(text))
	if err != nil {
		return err
	}
	for o, err := range out.List(ctx, "") {
		if err != nil {
			return err
		}
		if !narinfo.IsName(o.Name) {
			continue
		}
		v.Count++
		if !o.ModTime.IsZero() && (v.First.IsZero() || o.ModTime.Before(v.First)) {
			v.First = o.ModTime
		}
		if o.ModTime.After(v.Last) {
			v.Last = o.ModTime
		}
		if len(v.Rows) == maxRows {
			continue
		}
		n, err := binarycache.Info(ctx, out, o.Name, info.StoreDir)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			v.Count--
			if v.Warn != nil {
				v.Warn(fmt.Sprintf("%s does not list %s: %v", PageName, o.Name, err))
			}
			continue
		}
		v.Rows = append(v.Rows, row{n.StorePath, o.ModTime})
	}
	name := func(r row) string {
		return r.StorePath[min(len(r.StorePath), len(info.StoreDir)+1+storepath.HashLen):]
	}
	slices.SortFunc(v.Rows, func(a, b row) int {
		return cmp.Or(strings.Compare(name(a), name(b)), strings.Compare(a.StorePath, b.StorePath))
	})
	return nil
}

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageJS string

// page is parsed on first use, since most commands do not write a page.
var page = sync.OnceValue(func() *template.Template { return template.Must(template.New("page").Parse(pageHTML)) })

// policy lets a browser use only the script and style of the page, and load nothing.
var policy = fmt.Sprintf("default-src 'none'; script-src 'sha256-%s'; style-src 'sha256-%s'; base-uri 'none'; form-action 'none'", hash(pageJS), hash(pageCSS))

func hash(s string) string {
	h := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(h[:])
}
