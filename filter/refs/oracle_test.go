package refs

import (
	"testing"

	"narseal/filter/rules"
	"narseal/filter/rules/rulestest"
)

// codec is a rulestest.Codec.
type codec struct {
	name   string
	enc    rules.Encodings
	encode func(s string) []byte
}

var codecs = func() (all []codec) {
	for _, c := range rulestest.Codecs {
		all = append(all, codec{c.Name, rules.Encodings(c.Width), c.Encode})
	}
	return all
}()

const (
	dir   = "/nix/store"
	hashA = rulestest.HashA
	hashB = rulestest.HashB
)

var expand = rulestest.Expand

func compile(t testing.TB, list []rules.Rule, enc rules.Encodings) *rules.Set {
	t.Helper()
	set, err := rules.Compile(list, enc)
	if err != nil {
		t.Fatal(err)
	}
	return set
}
