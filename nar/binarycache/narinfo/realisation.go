package narinfo

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"
)

// SignRealisation returns the signatures of a realisation by each of the keys, in the form of its member "signatures".
// Nix signs the JSON of the other three members, without spaces and sorted. A realisation whose members have other
// types, as in other versions of Nix, is not signed.
func SignRealisation(members map[string]json.RawMessage, keys []signature.SecretKey) (json.RawMessage, error) {
	r := struct {
		Dependent map[string]string `json:"dependentRealisations"`
		ID        string            `json:"id"`
		OutPath   string            `json:"outPath"`
	}{Dependent: map[string]string{}}
	for name, to := range map[string]any{"dependentRealisations": &r.Dependent, "id": &r.ID, "outPath": &r.OutPath} {
		if value, ok := members[name]; ok && json.Unmarshal(value, to) != nil {
			return json.RawMessage("[]"), nil
		}
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return nil, err
	}
	sigs := []string{}
	for _, key := range keys {
		sig, err := key.Sign(nil, string(bytes.TrimSuffix(text.Bytes(), []byte("\n"))))
		if err != nil {
			return nil, fmt.Errorf("sign %s: %w", clip(r.ID), err)
		}
		sigs = append(sigs, sig.String())
	}
	return json.Marshal(sigs)
}
