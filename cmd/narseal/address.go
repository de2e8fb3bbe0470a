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
address is computed without the NAR's own hash; the new hash then replaces it, and
signatures are repaired. The new path, and what Nix needs to import it, are printed
as JSON.

--modulo selects how to hash a path that refers to itself: nix is the method of Nix up
to 2.16 and since 2.35, nix-2.17 that of Nix 2.17 to 2.34. Each version rejects the
other method; the report says which versions accept the result. Both methods ignore
UTF-16 and UTF-32 text. Nix rejects the result if a signature covers the hash.
signatures also leaves out the signatures' hashes and LC_UUID, and handles the hash in
every encoding; no Nix accepts it yet.

  narseal address --self /nix/store/HASH-NAME -o out.nar in.nar`,
		Flags: join([]cli.Flag{
			text(&names.self, "self", manual.StorePaths, "the current store path `PATH` of the NAR"),
			storeDirOption(&names.storeDir, "the directory of --self"),
			texts(&names.references, "references", manual.StorePaths, "the store paths `PATHS` that the NAR refers to, separated by commas or spaces; repeatable"),
			oneOf(&o.Config.Modulo, address.ModuloNix.String(), modulos, "modulo", manual.StorePaths, "how to hash a path that refers to itself"),
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

// addressNames holds the store paths that address needs, as given by the user.
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
