// Command sbom prints what a Go program is made of, as a CycloneDX bill of materials
// (https://cyclonedx.org/docs/1.5/json/). It reads what the linker noted in the program,
// so it lists the modules that are in it and no other.
//
//	go run ./scripts/sbom VERSION PROGRAM
package main

import (
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
)

type bom struct {
	Format      string      `json:"bomFormat"`
	SpecVersion string      `json:"specVersion"`
	Version     int         `json:"version"` // of this document
	Metadata    metadata    `json:"metadata"`
	Components  []component `json:"components"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type    string `json:"type"`
	Ref     string `json:"bom-ref"`
	Name    string `json:"name"`
	Version string `json:"version"`
	PURL    string `json:"purl"`
	Hashes  []hash `json:"hashes,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"` // in hexadecimal
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) != 2 {
		return fmt.Errorf("got %d arguments, want VERSION PROGRAM", len(args))
	}
	info, err := buildinfo.ReadFile(args[1])
	if err != nil {
		return err
	}
	b, err := billOf(info, args[0])
	if err != nil {
		return fmt.Errorf("%s: %w", args[1], err)
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(b)
}

// billOf takes the program's version from outside: the linker knows it only where the
// build saw a version control system.
func billOf(info *debug.BuildInfo, version string) (*bom, error) {
	program, err := componentOf("application", debug.Module{Path: info.Main.Path, Version: version})
	if err != nil {
		return nil, err
	}
	std, err := componentOf("library", debug.Module{Path: "std", Version: strings.TrimPrefix(info.GoVersion, "go")})
	if err != nil {
		return nil, err
	}
	b := &bom{
		Format:      "CycloneDX",
		SpecVersion: "1.5",
		Version:     1,
		Metadata:    metadata{program},
		Components:  []component{std},
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		c, err := componentOf("library", *m)
		if err != nil {
			return nil, err
		}
		b.Components = append(b.Components, c)
	}
	return b, nil
}

// componentOf describes a module. Its hash is that of go.sum, a SHA-256 over the names
// and hashes of the module's files (golang.org/x/mod/sumdb/dirhash, "h1:").
func componentOf(kind string, m debug.Module) (component, error) {
	purl := "pkg:golang/" + m.Path + "@" + m.Version
	c := component{Type: kind, Ref: purl, Name: m.Path, Version: m.Version, PURL: purl}
	if m.Sum == "" {
		return c, nil
	}
	sum, ok := strings.CutPrefix(m.Sum, "h1:")
	if !ok {
		return c, fmt.Errorf("module %s: sum %q, want an h1 sum", m.Path, m.Sum)
	}
	raw, err := base64.StdEncoding.DecodeString(sum)
	if err != nil {
		return c, fmt.Errorf("module %s: sum %q: %w", m.Path, m.Sum, err)
	}
	c.Hashes = []hash{{"SHA-256", hex.EncodeToString(raw)}}
	return c, nil
}
