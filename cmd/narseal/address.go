package main

import (
	"path"
	"strings"
	"unicode"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/manual"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter/address"
)

func addressCommand(p *process) *cli.Command {
	var (
		o      command.AddressOptions
		common commonOptions
		names  addressNames
	)
	return &cli.Command{
		Name:      "address",
		Usage:     "content-address a NAR: give it the store path that its contents make",
		ArgsUsage: "[INPUT]",
		Description: `INPUT is a NAR; nothing, or -, is stdin, which is copied to a temporary file. The
address leaves the NAR's own hash out; the new hash then takes its place, and
signatures are repaired. The new path and what Nix must know about it are
printed as JSON.

--modulo says how a path is hashed that refers to itself: nix as Nix up to 2.16 does,
and 2.35 and later, nix-2.17 as Nix 2.17 to 2.34. Each refuses the other's; the report
says who accepts it. They leave wide encodings of the hash alone. Nix refuses the result
where a signature covers the hash. signatures leaves the signatures' hashes and LC_UUID
out too, and takes the hash in every encoding; no Nix accepts that yet.

  narseal address --self /nix/store/HASH-NAME -o out.nar in.nar`,
		Flags: join([]cli.Flag{
			text(&names.self, "self", manual.StorePaths, "the store path `PATH` that the NAR has now"),
			storeDirOption(&names.storeDir, "the directory of --self"),
			texts(&names.references, "references", manual.StorePaths, "the store paths `PATHS` that it refers to, separated by commas or blanks; repeatable"),
			oneOf(&o.Config.Modulo, address.ModuloNix.String(), modulos, "modulo", manual.StorePaths, "what the address leaves out"),
			outputOption(&o.Output),
			jobsOption(&o.Config.Jobs, "hash on `N` processors"),
		}, common.flags()),
		Action: func(c *cli.Context) (err error) {
			env := common.env(p)
			o.Common = common.Common
			if err := names.fill(&o.Config); err != nil {
				return err
			}
			if o.Input, err = inputArg(c); err != nil {
				return err
			}
			return command.Address(c.Context, env, &o)
		},
	}
}

var modulos = []value[address.Modulo]{
	{address.ModuloNix.String(), address.ModuloNix},
	{address.ModuloNix217.String(), address.ModuloNix217},
	{address.ModuloSignatures.String(), address.ModuloSignatures},
}

// addressNames are the store paths that address needs, as the user gives them.
type addressNames struct {
	self, storeDir string
	references     []string
}

// fill sets the names of cfg.
func (n *addressNames) fill(cfg *address.Config) error {
	if n.self == "" {
		return terminal.Usage("say --self PATH, the store path that the NAR has now", "no --self")
	}
	cfg.Self, cfg.StoreDir = path.Base(n.self), defaultStoreDir
	selfDir := path.Dir(n.self)
	switch {
	case n.storeDir != "":
		cfg.StoreDir = path.Clean(n.storeDir)
	case selfDir != ".":
		cfg.StoreDir = selfDir
	}
	for _, s := range n.references {
		for _, ref := range strings.FieldsFunc(s, func(c rune) bool { return c == ',' || unicode.IsSpace(c) }) {
			if dir := path.Dir(ref); dir != "." && dir != cfg.StoreDir && dir != selfDir {
				return terminal.Usage("", "--references %q: not in the store %s", ref, cfg.StoreDir)
			}
			cfg.References = append(cfg.References, path.Base(ref))
		}
	}
	if err := cfg.Check(); err != nil {
		return terminal.Usage("", "%w", err)
	}
	return nil
}
