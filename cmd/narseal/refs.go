package main

import (
	"path"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/manual"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter/rules"
	"narseal/nar/storepath"
)

func refsCommand(p *process) *cli.Command {
	var (
		o      command.RefsOptions
		common commonOptions
		names  refsNames
		unpack command.Unpack
		deep   bool
	)
	return &cli.Command{
		Name:      "refs",
		Usage:     "list the store paths that archives and files refer to",
		ArgsUsage: "[INPUT...]",
		Description: `INPUT is a NAR, an export stream, a directory, a file, or a binary cache, including
a file:// or s3:// URL; no INPUT, or -, is stdin. A reference is a complete path, such as
/nix/store/HASH-NAME, in contents, symlink targets or entry names. --deny also finds the
bare hash, as Nix does for disallowedReferences. --deep also searches packed files, which
a rewrite cannot change; references there are listed separately. With --deny or
--allow-only, a packed file that cannot be searched completely is an error. refs lists at
most 1,048,576 different store paths per input; more are an error.

  narseal refs --deny /nix/store/HASH-NAME ./result`,
		Flags: join([]cli.Flag{
			texts(&names.deny, "deny", manual.StorePaths, "exit with status 3 if there is a reference to `HASH|PATH`, and report where; repeatable"),
			inputFile{text(&names.allowOnly, "allow-only", manual.StorePaths, "exit with status 3 if there is a reference to a path that is not in `FILE`: one hash or path per line; # starts a comment")},
			storeDirOption(&names.storeDir, defaultStoreDir),
			encodingsOption(&names.encodings, "look for paths in these `ENCODINGS`; UTF-16 and UTF-32 in both byte orders"),
			oneOf(&o.JSON, "text", []value[bool]{{"text", false}, {"json", true}}, "format", manual.Reports, "text for people; json: one object per line"),
			boolean(&deep, "deep", manual.Packed, "search packed files, too: gzip, xz, zstd, bzip2, zip, and tar"),
		}, unpackOptions(&unpack), []cli.Flag{netrcOption(&o.Netrc)}, common.flags()),
		Action: func(c *cli.Context) (err error) {
			env := common.env(p)
			o.Common, o.Inputs, o.Version = common.Common, inputArgs(c), versionString()
			if o.Unpack, err = limits(c, &unpack, "deep", deep); err != nil {
				return err
			}
			if err := names.fill(&o); err != nil {
				return err
			}
			return command.Refs(c.Context, env, &o)
		},
	}
}

// defaultStoreDir is the store directory of almost every store.
const defaultStoreDir = "/nix/store"

// refsNames holds what refs looks for, as given by the user.
type refsNames struct {
	deny                           []string
	allowOnly, storeDir, encodings string
}

func (n *refsNames) fill(o *command.RefsOptions) (err error) {
	if o.Encodings, err = rules.ParseEncodings(n.encodings); err != nil {
		return terminal.Usage("", "--encodings: %w", err)
	}
	o.StoreDir = defaultStoreDir
	if n.storeDir != "" {
		o.StoreDir = path.Clean(n.storeDir)
	}
	if err := storepath.CheckDir(o.StoreDir); err != nil {
		return terminal.Usage("", "--store-dir: %w", err)
	}
	for _, s := range n.deny {
		hash, err := rules.HashPart(s)
		if err != nil {
			return terminal.Usage("want a store path, such as /nix/store/HASH-NAME, or its hash", "--deny %q: %w", s, err)
		}
		o.Deny = append(o.Deny, hash)
	}
	if n.allowOnly != "" {
		o.Allowed, err = readAllowed(n.allowOnly)
	}
	return err
}
