package command

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"narseal/cmd/narseal/internal/jsontext"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter/refs"
	"narseal/filter/rules"
	"narseal/nar"
)

const (
	// maxStorePaths limits the number of different store paths of an input. Each takes about 300 bytes.
	maxStorePaths = 1 << 20
	// maxPlaces is the number of entries with a denied hash that are named.
	maxPlaces = 20
	// placeMemory is the size of a place in memory without its strings, in bytes.
	placeMemory = 200
)

// refSet holds the references of an input.
type refSet struct {
	input  string
	label  string // printed before places: the name of the archive's file
	dir    string // the store directory, with a trailing slash
	only   map[string]bool
	hashes *rules.Set
	limit  int
	budget *report.Budget
	taken  int
	paths  map[refKey]*reference // at most limit
	denied map[int]*reference    // by rule

	// Places in the current archive of an export stream. Its store path comes after the archive.
	unnamed []*place
}

// refKey is a base name. Plain references and references in packed files have different keys.
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

// reference is a store path or a denied hash.
type reference struct {
	set       *refSet
	name      string // the base name, or the denied hash
	isDenied  bool
	hidden    bool // a store path in a packed file, which a rewrite cannot change
	allowed   bool
	encodings rules.Encodings
	count     int64
	// places holds the first place of a plain store path. For denied hashes and hidden references, it holds the first
	// place in each entry or member.
	places  []*place
	omitted int64 // places that did not fit into the budget
}

// fields writes a reference as JSON.
func (r *reference) fields(o *report.Object) {
	o.Field("input", jsontext.String(r.set.input))
	if r.isDenied {
		o.Field("denied", r.name)
	} else {
		o.Field("storePath", r.storePath())
	}
	o.Field("count", r.count)
	o.Field("encodings", r.encodingNames())
	if r.hidden {
		o.Field("hidden", true)
	}
	report.Values(o, "places", r.places, func(p **place) any { return (*p).fields() })
	if r.omitted > 0 {
		o.Field("omitted", r.omitted)
	}
	if !r.isDenied && r.set.only != nil {
		o.Field("allowed", r.allowed)
	}
}

func (r *reference) storePath() string { return r.set.dir + r.name }

func (r *reference) encodingNames() []string { return strings.Split(r.encodings.String(), ",") }

// place is the location of a reference.
type place struct {
	archive string   // the store path of the archive, in an export stream
	path    nar.Path // empty for the references of an export stream
	// As in refs.Reference:
	Member, Packed string
	Part           refs.Part
	Offset         int64
	Encoding       rules.Encodings
}

func newPlace(r *refs.Reference) *place {
	return &place{path: r.Path, Member: r.Member, Packed: r.Packed, Part: r.Part, Offset: r.Offset, Encoding: r.Encoding}
}

// placeFields is a place in JSON.
type placeFields struct {
	Archive  string    `json:"archive,omitempty"`
	Path     string    `json:"path,omitempty"`
	Member   string    `json:"member,omitempty"`
	Packed   string    `json:"packed,omitempty"`
	Part     refs.Part `json:"part"`
	Offset   int64     `json:"offset"`
	Encoding string    `json:"encoding"`
	long     jsontext.Text
}

// LongText implements [jsontext.HasText].
func (p placeFields) LongText() jsontext.Text { return p.long }

func (p *place) fields() placeFields {
	path, long := report.PathText(p.path)
	return placeFields{jsontext.String(p.archive), path, jsontext.String(p.Member),
		p.Packed, p.Part, p.Offset, p.Encoding.String(), long}
}

func newRefSet(input string, s *refs.Scanner, only map[string]bool, b *report.Budget) *refSet {
	return &refSet{
		input: input, dir: strings.TrimSuffix(s.StoreDir, "/") + "/", only: only, hashes: s.Hashes, limit: maxStorePaths,
		budget: b, paths: map[refKey]*reference{}, denied: map[int]*reference{},
	}
}

func (s *refSet) add(r *refs.Reference) error {
	ref, most := s.denied[r.Hash], maxPlaces
	if r.Base != nil {
		ref = s.paths[refKey{string(r.Base), r.Packed != ""}]
		if r.Packed == "" {
			most = 1
		}
	}
	if ref == nil {
		ref = &reference{set: s}
		if r.Base == nil {
			ref.name, ref.isDenied = s.hashes.Rule(r.Hash).From, true
			s.denied[r.Hash] = ref
		} else if err := s.addPath(refKey{string(r.Base), r.Packed != ""}, ref); err != nil {
			return err
		}
	}
	ref.count++
	ref.encodings |= r.Encoding
	n := len(ref.places)
	if n+int(ref.omitted) >= most || n > 0 && ref.places[n-1].path.Same(r.Path) && ref.places[n-1].Member == r.Member {
		return nil
	}
	if cost := placeMemory + len(r.Member) + len(r.Packed); s.budget.TakePath(r.Path) && s.budget.Take(cost) {
		s.taken += cost + r.Path.Len()
	} else {
		ref.omitted++
		return nil
	}
	p := newPlace(r)
	ref.places = append(ref.places, p)
	s.unnamed = append(s.unnamed, p)
	return nil
}

func (s *refSet) addPath(key refKey, ref *reference) error {
	if len(s.paths) == s.limit {
		return fmt.Errorf("more than %d different store paths", s.limit)
	}
	ref.name, ref.hidden = key.base, key.hidden
	ref.allowed = s.only == nil || s.only[key.base[:strings.IndexByte(key.base, '-')]]
	s.paths[key] = ref
	return nil
}

// endArchive ends an archive of an export stream.
func (s *refSet) endArchive(storePath string) {
	for _, p := range s.unnamed {
		p.archive = storePath
	}
	s.unnamed = s.unnamed[:0]
}

// release returns the memory of the places to the budget.
func (s *refSet) release() {
	s.budget.Give(s.taken)
	s.taken = 0
}

// list returns the denied hashes in the order of the options, and the store paths in the order of their names.
func (s *refSet) list() (denied, paths []*reference) {
	for _, rule := range slices.Sorted(maps.Keys(s.denied)) {
		denied = append(denied, s.denied[rule])
	}
	for _, key := range slices.SortedFunc(maps.Keys(s.paths), refKey.compare) {
		paths = append(paths, s.paths[key])
	}
	return denied, paths
}

// report prints the references that are not allowed, with their places, and returns whether there are any.
func (s *refSet) report(t *terminal.Terminal, denied, paths []*reference) bool {
	bad := len(denied) > 0
	for _, ref := range denied {
		for _, p := range ref.places {
			t.Errorf("%s: denied hash %s, %s", s.where(p), ref.name, p.Encoding)
		}
		if len(ref.places) == maxPlaces || ref.omitted > 0 {
			t.Errorf("%s: denied hash %s: %s in all", terminal.Printable(s.input), ref.name, report.Plural(ref.count, "reference", "references"))
		}
	}
	for _, ref := range paths {
		if !ref.allowed {
			bad = true
			t.Errorf("%s: %s is not allowed, %s, %s", s.first(ref), ref.storePath(), ref.firstEncoding(),
				report.Plural(ref.count, "reference", "references"))
		}
	}
	return bad
}

// first describes the first place of a reference to the user.
func (s *refSet) first(r *reference) string {
	if len(r.places) == 0 {
		return terminal.Printable(s.input) + ": …"
	}
	return s.where(r.places[0])
}

func (r *reference) firstEncoding() string {
	if len(r.places) == 0 {
		return r.encodings.String()
	}
	return r.places[0].Encoding.String()
}

// where describes a place to the user.
func (s *refSet) where(p *place) string {
	if s.label == "" {
		return p.String()
	}
	return terminal.Printable(s.label) + ": " + p.String()
}

func (p *place) String() string {
	s := terminal.Printable(p.archive + p.path.Short() + p.Member)
	if p.Packed != "" {
		s += " (" + p.Packed + ")"
	}
	if p.Part != refs.InContents {
		return fmt.Sprintf("%s: %s", s, p.Part)
	}
	return fmt.Sprintf("%s: offset %d", s, p.Offset)
}
