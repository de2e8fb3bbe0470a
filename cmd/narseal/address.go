package main

import (
	"errors"
	"path"
	"strings"
	"unicode"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/report"
	"narseal/filter"
	"narseal/filter/address"
	"narseal/macho"
	"narseal/nar"
)

func addressCommand(t *terminal) *cli.Command {
	return &cli.Command{
		Name:      "address",
		Usage:     "content-address a NAR: give it the store path that its contents make",
		ArgsUsage: "[INPUT]",
		Description: `INPUT is a NAR; nothing, or -, is stdin, which is copied to a temporary file. Its
own hash is left out of the address, put in again as the new one, and signatures
are resealed. The new path and what Nix has to know of it are written as JSON.

--modulo nix gives what nix store make-content-addressed gives; nix-2.17 the
same for Nix 2.17 to 2.34. They leave wide encodings of the hash alone. Nix
refuses the result where a signature covers the hash. signatures leaves the
signatures' hashes and LC_UUID out too, and takes the hash in every encoding.

  narseal address --self /nix/store/HASH-NAME -o out.nar in.nar`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "self", Usage: "the store path `PATH` that the NAR has now"},
			storeDirFlag("the folder of --self"),
			&cli.StringSliceFlag{Name: "references", Usage: "the store paths `PATHS` that it refers to, separated by commas or blanks; repeatable"},
			choice("modulo", address.ModuloNix.String(), "nix|nix-2.17|signatures", "what the address leaves out"),
			outputFlag, jobsFlag,
		}, commonFlags()...),
		Action: func(c *cli.Context) error {
			t.configure(c)
			cfg, err := addressConfig(c)
			if err != nil {
				return err
			}
			return runAddress(c, t, cfg)
		},
	}
}

// addressConfig reads the options.
func addressConfig(c *cli.Context) (*address.Config, error) {
	self := c.String("self")
	if self == "" {
		return nil, badUsage("say --self PATH, the store path that the NAR has now", "no --self")
	}
	cfg := &address.Config{Self: path.Base(self), StoreDir: defaultStoreDir}
	selfDir := path.Dir(self)
	switch {
	case c.IsSet("store-dir"):
		cfg.StoreDir = path.Clean(c.String("store-dir"))
	case selfDir != ".":
		cfg.StoreDir = selfDir
	}
	for _, s := range c.StringSlice("references") {
		for _, ref := range strings.FieldsFunc(s, func(c rune) bool { return c == ',' || unicode.IsSpace(c) }) {
			if dir := path.Dir(ref); dir != "." && dir != cfg.StoreDir && dir != selfDir {
				return nil, badUsage("", "--references %q: not in the store %s", ref, cfg.StoreDir)
			}
			cfg.References = append(cfg.References, path.Base(ref))
		}
	}
	var err error
	if cfg.Modulo, err = address.ParseModulo(c.String("modulo")); err != nil {
		return nil, badUsage("", "--modulo %w", err)
	}
	if err := cfg.Check(); err != nil {
		return nil, badUsage("", "%w", err)
	}
	cfg.Spill.Open, cfg.Jobs = newScratch(exitsOf(c.Context)), c.Int("jobs")
	cfg.Spill.Memory, err = sizeOption(c, "hold-memory")
	return cfg, err
}

// addressReport is what address writes as JSON.
type addressReport struct {
	Schema     string   `json:"schema"`
	Command    string   `json:"command"`
	Path       string   `json:"path"`
	CA         string   `json:"ca"`
	NarHash    string   `json:"narHash"` // SRI
	NarSize    int64    `json:"narSize"`
	References []string `json:"references"`
}

func runAddress(c *cli.Context, t *terminal, cfg *address.Config) (err error) {
	name, err := inputArg(c)
	if err != nil {
		return err
	}
	in, err := openInput(name, c.App.Reader, t.progress)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := openArchive(c.Context, c.String("output"), c.App.Writer)
	if err != nil {
		return err
	}
	defer out.abort()
	if sameFile(in.info, out.info) {
		return badUsage("write to another file, and rename it after", "input and output are the same file")
	}
	s, err := openStream(in)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if s.format == nar.FormatExport {
		return &hintedError{errors.New("input: an export stream, want a NAR"), "nix-store --dump PATH | narseal address …"}
	}
	if err := s.spool(exitsOf(c.Context)); err != nil {
		return err
	}
	cfg.Observer.Invalid = func(s filter.Signature) { t.warnUnsealed(s.Path.Short(), &s.Slice) }
	var resealed string // the first
	cfg.Observer.Signature = func(s filter.Signature) {
		if s.Status == macho.StatusRepaired && resealed == "" {
			resealed = s.Path.Short()
		}
	}
	t.progress.begin(2 * s.at.Size()) // to be hashed, and to be rewritten
	exitsOf(c.Context).end()
	a, err := cfg.Run(out, t.progress.countAt(s.at), s.at.Size())
	if err != nil {
		return hintForAddress(s.explain(err))
	}
	if err := out.commit(); err != nil {
		return err
	}
	if !a.Matches {
		t.warn("Nix will refuse to import this as %s: the signature of %s holds hashes of pages that contain the path, and they are part of the address, so that it changes with the path",
			a.CA, printable(resealed))
	}
	t.inform("%s", a.Path)
	rep := &addressReport{
		Schema: report.Schema, Command: c.Command.Name,
		Path: a.Path, CA: a.CA.String(), NarHash: report.SRI(a.NarHash), NarSize: a.NarSize, References: a.References,
	}
	name = "-"
	if c.IsSet("report") {
		name = c.String("report")
	}
	if err := writeReport(c, name, asJSON(rep)); err != nil {
		return err
	}
	if a.Result.Invalid > 0 {
		return errUnsealed
	}
	return nil
}

// hintForAddress adds what can be done about an image that cannot be resealed:
// rewrite's hint names an option that address has not.
func hintForAddress(err error) error {
	var seal *filter.SignatureError
	if errors.As(err, &seal) {
		return &hintedError{err, "only whoever signed it can sign it again; narseal rewrite --on-cms adhoc makes such a signature an ad-hoc one"}
	}
	return err
}
