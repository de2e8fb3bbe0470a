package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/jsontext"
	"narseal/cmd/narseal/internal/report"
	"narseal/filter/refs"
	"narseal/filter/rules"
	"narseal/nar"
)

const (
	// maxStorePaths bounds the memory that an input can take by what it
	// mentions, to about half a gigabyte.
	maxStorePaths = 1 << 20
	// maxPlaces is how many entries are named that hold a denied hash.
	maxPlaces = 20
)

// refSet is what an input mentions.
type refSet struct {
	input  string
	label  string // what places are shown with: the archive's file
	dir    string // with the slash at its end
	only   map[string]bool
	hashes *rules.Set
	limit  int
	paths  map[refKey]*reference // at most limit
	denied map[int]*reference    // by rule

	// Places in the current archive of an export stream, whose store path follows it.
	unnamed []*place

	left    *report.Budget // for paths
	omitted int64          // places without a path, because the budget was used up
}

// refKey is a base name, in full sight or in what is packed.
type refKey struct {
	base   string
	hidden bool
}

func (a refKey) compare(b refKey) int {
	if n := strings.Compare(a.base, b.base); n != 0 || a.hidden == b.hidden {
		return n
	}
	if a.hidden {
		return 1
	}
	return -1
}

// reference is a store path or a denied hash, as JSON shows it.
type reference struct {
	Input     string   `json:"input"`
	StorePath string   `json:"storePath,omitempty"`
	Denied    string   `json:"denied,omitempty"` // a hash part
	Count     int64    `json:"count"`
	Encodings []string `json:"encodings"`
	// Hidden is of a store path where a rewrite cannot reach it.
	Hidden bool `json:"hidden,omitempty"`
	// Of a store path in full sight its first place, of others the first one
	// in each entry or member.
	Places []*place `json:"places"`
	// Allowed is absent without --allow-only.
	Allowed *bool `json:"allowed,omitempty"`

	encodings rules.Encodings
}

type place struct {
	Archive  string   // its store path, in an export stream
	Path     nar.Path // not of an export stream's references
	Member   string   // as in refs.Reference
	Packed   string   // likewise
	Part     refs.Part
	Offset   int64
	Encoding string
}

// MarshalJSON builds the path, which is not kept as text.
func (p *place) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := jsontext.NewEncoder(&b)
	err := enc.Encode(struct {
		Archive  string    `json:"archive,omitempty"`
		Path     string    `json:"path,omitempty"`
		Member   string    `json:"member,omitempty"`
		Packed   string    `json:"packed,omitempty"`
		Part     refs.Part `json:"part"`
		Offset   int64     `json:"offset"`
		Encoding string    `json:"encoding"`
	}{p.Archive, jsontext.String(p.Path.String()), jsontext.String(p.Member), p.Packed, p.Part, p.Offset, p.Encoding})
	return b.Bytes(), err
}

func newRefSet(input string, r *refsRun) *refSet {
	return &refSet{
		input: input, dir: strings.TrimSuffix(r.find.StoreDir, "/") + "/",
		only: r.only, hashes: r.find.Hashes, limit: maxStorePaths, left: r.left,
		paths: map[refKey]*reference{}, denied: map[int]*reference{},
	}
}

func (s *refSet) add(m *refs.Reference) error {
	ref, most := s.denied[m.Hash], maxPlaces
	if m.Base != nil {
		ref = s.paths[refKey{string(m.Base), m.Packed != ""}]
		if m.Packed == "" {
			most = 1
		}
	}
	if ref == nil {
		ref = &reference{Input: s.input}
		if m.Base == nil {
			ref.Denied = s.hashes.Rule(m.Hash).From
			s.denied[m.Hash] = ref
		} else if err := s.addPath(refKey{string(m.Base), m.Packed != ""}, ref); err != nil {
			return err
		}
	}
	ref.Count++
	ref.encodings |= m.Encoding
	if n := len(ref.Places); n == 0 || n < most && (!ref.Places[n-1].Path.Same(m.Path) || ref.Places[n-1].Member != m.Member) {
		p := &place{"", m.Path, m.Member, m.Packed, m.Part, m.Offset, m.Encoding.String()}
		if !s.left.Take(m.Path.Len() + len(m.Member)) {
			p.Path, p.Member = nar.Path{}, ""
			s.omitted++
		}
		ref.Places = append(ref.Places, p)
		s.unnamed = append(s.unnamed, p)
	}
	return nil
}

func (s *refSet) addPath(key refKey, ref *reference) error {
	if len(s.paths) == s.limit {
		return fmt.Errorf("more than %d different store paths are mentioned", s.limit)
	}
	ref.StorePath, ref.Hidden = s.dir+key.base, key.hidden
	if s.only != nil {
		allowed := s.only[key.base[:strings.IndexByte(key.base, '-')]]
		ref.Allowed = &allowed
	}
	s.paths[key] = ref
	return nil
}

// endArchive ends an archive of an export stream.
func (s *refSet) endArchive(storePath string) {
	for _, p := range s.unnamed {
		p.Archive = storePath
	}
	s.unnamed = s.unnamed[:0]
}

// list returns the denied hashes in the order in which they were given, and
// the store paths in that of their names.
func (s *refSet) list() (denied, paths []*reference) {
	for _, rule := range slices.Sorted(maps.Keys(s.denied)) {
		denied = append(denied, s.denied[rule])
	}
	for _, key := range slices.SortedFunc(maps.Keys(s.paths), refKey.compare) {
		paths = append(paths, s.paths[key])
	}
	for _, ref := range slices.Concat(denied, paths) {
		ref.Encodings = strings.Split(ref.encodings.String(), ",")
	}
	return denied, paths
}

// refsReport is what --report writes.
type refsReport struct {
	Schema     string       `json:"schema"`
	Command    string       `json:"command"`
	Error      string       `json:"error,omitempty"`
	References []*reference `json:"references"` // the objects of --format json
}

// write writes one reference after the other.
func (r *refsReport) write(w io.Writer) error {
	return report.Write(w, func(o *report.Object) {
		o.Field("schema", r.Schema)
		o.Field("command", r.Command)
		o.Text("error", r.Error)
		report.Values(o, "references", r.References, func(ref **reference) any { return *ref })
	})
}

func (r *refsReport) add(s *refSet) {
	if r != nil {
		denied, paths := s.list()
		r.References = append(append(r.References, denied...), paths...)
	}
}

// complain says which of the mentions may not be, and where they are, and
// returns whether there are any.
func (s *refSet) complain(t *terminal) bool {
	denied, paths := s.list()
	bad := len(denied) > 0
	for _, ref := range denied {
		for _, p := range ref.Places {
			t.say("error", "%s: denied hash %s, %s", s.where(p), ref.Denied, p.Encoding)
		}
		if len(ref.Places) == maxPlaces {
			t.say("error", "%s: denied hash %s: %s in all", printable(s.input), ref.Denied, count(ref.Count, "mention", "mentions"))
		}
	}
	for _, ref := range paths {
		if ref.Allowed != nil && !*ref.Allowed {
			bad = true
			p := ref.Places[0]
			t.say("error", "%s: %s is not allowed, %s, %s", s.where(p), ref.StorePath, p.Encoding,
				count(ref.Count, "mention", "mentions"))
		}
	}
	return bad
}

// where is a place of the input, for people.
func (s *refSet) where(p *place) string {
	if s.label == "" {
		return p.String()
	}
	return printable(s.label) + ": " + p.String()
}

func (p *place) String() string {
	s := printable(p.Path.Short() + p.Member)
	if p.Packed != "" {
		s += " (" + p.Packed + ")"
	}
	if p.Archive != "" {
		s = strings.TrimSuffix(p.Archive+": "+s, ": ")
	}
	if p.Part != refs.InContents {
		return fmt.Sprintf("%s: %s", s, p.Part)
	}
	return fmt.Sprintf("%s: offset %d", s, p.Offset)
}

// refsOutput is how refs writes to stdout.
type refsOutput interface {
	write(*refSet) error
}

func newRefsOutput(c *cli.Context, t *terminal) (refsOutput, error) {
	out, err := openOutput(c.Context, "-", c.App.Writer)
	if err != nil {
		return nil, err
	}
	beside := t.beside(out)
	if c.String("format") == "json" {
		w := bufio.NewWriter(beside)
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return &refsJSON{w, enc}, nil
	}
	return &refsText{w: tabwriter.NewWriter(beside, 0, 8, 2, ' ', 0)}, nil
}

// refsJSON writes an object a line.
type refsJSON struct {
	w   *bufio.Writer
	enc *json.Encoder
}

func (o *refsJSON) write(s *refSet) error {
	denied, paths := s.list()
	for _, ref := range slices.Concat(denied, paths) {
		if err := o.enc.Encode(ref); err != nil {
			return err
		}
	}
	return o.w.Flush()
}

// refsText writes a table of the store paths.
type refsText struct {
	w      *tabwriter.Writer
	headed bool
}

func (o *refsText) write(s *refSet) error {
	_, paths := s.list()
	for _, ref := range paths {
		if !o.headed {
			fmt.Fprintln(o.w, "STORE PATH\tCOUNT\tENCODINGS\tFIRST")
			o.headed = true
		}
		fmt.Fprintf(o.w, "%s\t%d\t%s\t%s\n", ref.StorePath, ref.Count, strings.Join(ref.Encodings, ","),
			s.where(ref.Places[0]))
		for _, p := range ref.Places[1:] {
			fmt.Fprintf(o.w, "\t\t\t%s\n", s.where(p))
		}
	}
	return o.w.Flush()
}
