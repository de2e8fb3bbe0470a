package command

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"

	"narseal/cmd/narseal/internal/input"
	"narseal/cmd/narseal/internal/jsontext"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter"
	"narseal/filter/address"
	"narseal/filter/spill"
	"narseal/macho"
	"narseal/nar"
)

// AddressOptions are the options of address.
type AddressOptions struct {
	Common
	Archive // the output is not compressed
	// Config sets the store path, the references and how the address is computed.
	Config address.Config
}

// addressReport is the JSON report that address prints.
type addressReport struct {
	Schema     string   `json:"schema"`
	Command    string   `json:"command"`
	Path       string   `json:"path"`
	CA         string   `json:"ca"`
	NarHash    string   `json:"narHash"` // SRI
	NarSize    int64    `json:"narSize"`
	References []string `json:"references"`
	Modulo     string   `json:"modulo"`
	AcceptedBy string   `json:"acceptedBy"`
}

// Address gives an archive the content-addressed store path that follows from its contents.
func Address(_ context.Context, e *Env, o *AddressOptions) (err error) {
	in, out, err := e.open(&o.Archive)
	if err != nil {
		return err
	}
	defer in.Close()
	defer out.Abort()
	e.archiveOnStop(o.Output)
	// The report goes to stderr unless the user names a file, since stdout is for the archive.
	file, err := e.OpenReport(cmp.Or(o.Report, Stream))
	if err != nil {
		return err
	}
	defer file.Abort()
	if err := e.restrictToArchive(&o.Common, &o.Archive); err != nil {
		return err
	}
	in.Memory = o.Memory()
	s, err := in.Stream()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if s.Format == nar.FormatExport {
		return terminal.Hint(errors.New("input: an export stream, want a NAR"), "nix-store --dump PATH | narseal address …")
	}
	if err := s.Spool(e.Cleanup); err != nil {
		return err
	}
	a, repaired, err := e.address(o, s, out, in.Memory)
	if err != nil {
		return err
	}
	if err := commit(out); err != nil {
		return err
	}
	if !a.Matches {
		e.Terminal.Warnf("Nix will refuse to import this as %s: the signature of %s covers pages that contain the path, so the address depends on itself",
			a.CA, terminal.Printable(repaired))
	}
	e.Terminal.Infof("%s", a.Path)
	if err := file.Write(newAddressReport(a, o.Config.Modulo).write); err != nil {
		return err
	}
	if a.Result.Invalid > 0 {
		return ErrInvalid
	}
	return nil
}

// address writes a stream with its new address. It returns the path of the first repaired image, too.
func (e *Env) address(o *AddressOptions, s *input.Stream, out io.Writer, memory spill.Budget) (_ *address.Address, repaired string, err error) {
	cfg := o.Config
	cfg.Spill = o.Spill(e, memory)
	cfg.Observer.Invalid = func(s filter.Signature) { e.WarnInvalid(s.Path.Short(), &s.Slice) }
	cfg.Observer.Signature = func(s filter.Signature) {
		if s.Status == macho.StatusRepaired && repaired == "" {
			repaired = s.Path.Short()
		}
	}
	p := e.Terminal.Progress()
	p.Begin(2 * s.Seekable.Size()) // the stream is read twice: to hash it and to rewrite it
	e.Cleanup.OutputComplete()
	a, err := cfg.Run(out, p.CountAt(s.Seekable), s.Seekable.Size())
	var signature *filter.SignatureError
	if errors.As(err, &signature) {
		// The usual hint names an option that address does not have.
		err = terminal.Hint(err, "only its owner can sign it again; narseal rewrite --on-cms adhoc makes the signature ad-hoc")
	}
	return a, repaired, s.Explain(err)
}

// acceptedBy names the versions of Nix that accept an address. The first two values of Modulo differ only for a path
// that refers to itself.
func acceptedBy(a *address.Address, m address.Modulo) string {
	switch {
	case m == address.ModuloSignatures:
		return "no version of Nix"
	case !slices.Contains(a.References, a.Path):
		return "every version of Nix"
	case m == address.ModuloNix217:
		return "Nix 2.17 to 2.34"
	}
	return "Nix up to 2.16, and 2.35 and later"
}

func newAddressReport(a *address.Address, m address.Modulo) *addressReport {
	return &addressReport{
		Schema: report.Schema, Command: "address",
		Path: a.Path, CA: a.CA.String(), NarHash: report.SRI(a.NarHash), NarSize: a.NarSize, References: a.References,
		Modulo: m.String(), AcceptedBy: acceptedBy(a, m),
	}
}

func (r *addressReport) write(w io.Writer) error {
	b, err := jsontext.MarshalIndent(r)
	if err == nil {
		_, err = w.Write(append(b, '\n'))
	}
	return err
}
