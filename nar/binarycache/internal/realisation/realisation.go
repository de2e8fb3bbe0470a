// Package realisation reads and signs realisations: objects of a cache that say which store path an output of a
// content-addressed derivation is.
package realisation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"narseal/nar/storepath"
)

// suffix ends the names of realisations. Before it is the ID.
const suffix = ".doi"

// maxSigs is how many signatures a realisation may have that is checked. Each takes 50 µs.
const maxSigs = 64

// OutPath returns the store path that the realisation with this name says, as a directory, if there is one, and a base
// name. A realisation whose ID is not in its name is an error: Nix would find it by the one and believe the other.
func OutPath(name string, members map[string]json.RawMessage) (dir, base string, err error) {
	var id, out string
	if err := json.Unmarshal(members["id"], &id); err != nil {
		return "", "", fmt.Errorf("id: %w", err)
	}
	if want := strings.TrimSuffix(path.Base(name), suffix); id != want {
		return "", "", fmt.Errorf("id: got %.200q, want %q as in its name", id, want)
	}
	if err := json.Unmarshal(members["outPath"], &out); err != nil {
		return "", "", fmt.Errorf("outPath: %w", err)
	}
	dir, base = path.Split(out) // later versions of Nix might write the whole path
	if err := storepath.CheckBaseName(base); err != nil {
		return "", "", fmt.Errorf("outPath %q: %w", out, err)
	}
	return dir, base, nil
}

// text returns what Nix signs: the JSON of the members without the signatures, without spaces and sorted. It is "" if they
// have other types, as in other versions of Nix.
func text(members map[string]json.RawMessage) (string, error) {
	r := struct {
		Dependent map[string]string `json:"dependentRealisations"`
		ID        string            `json:"id"`
		OutPath   string            `json:"outPath"`
	}{Dependent: map[string]string{}}
	for name, to := range map[string]any{"dependentRealisations": &r.Dependent, "id": &r.ID, "outPath": &r.OutPath} {
		if value, ok := members[name]; ok && json.Unmarshal(value, to) != nil {
			return "", nil
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return "", err
	}
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

// Sign returns the signatures of a realisation by each of the keys, in the form of its member "signatures". One whose
// members have other types, as in other versions of Nix, is not signed.
func Sign(members map[string]json.RawMessage, keys []signature.SecretKey) (json.RawMessage, error) {
	signed, err := text(members)
	if err != nil {
		return nil, err
	}
	sigs := []string{}
	if signed == "" {
		keys = nil
	}
	for _, key := range keys {
		sig, err := key.Sign(nil, signed)
		if err != nil {
			return nil, fmt.Errorf("sign: %w", err)
		}
		sigs = append(sigs, sig.String())
	}
	return json.Marshal(sigs)
}

// CheckTrust returns an error if there are keys and none of them has signed the realisation.
func CheckTrust(members map[string]json.RawMessage, keys []signature.PublicKey) error {
	if len(keys) == 0 {
		return nil
	}
	signed, err := text(members)
	if err != nil {
		return err
	}
	var sigs []string
	if err := json.Unmarshal(members["signatures"], &sigs); err != nil || len(sigs) > maxSigs {
		return fmt.Errorf("signatures: want at most %d, in a list", maxSigs)
	}
	for _, s := range sigs {
		sig, err := signature.ParseSignature(s)
		for _, key := range keys {
			if err == nil && signed != "" && key.Verify(signed, sig) {
				return nil
			}
		}
	}
	return errors.New("not signed by a trusted key")
}
