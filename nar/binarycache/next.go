package binarycache

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"narseal/nar/binarycache/narinfo"
)

// next returns the new narinfo of a path, without its new file and signatures.
func (r *run) next(n *narinfo.Info, content narinfo.Sum, res *Result) (*narinfo.Info, error) {
	next := n.Clone()
	dir := strings.TrimSuffix(n.StorePath, n.Base)
	next.Set("StorePath", dir+r.rename(n.Base), "")
	if len(n.References) > 0 {
		refs := make([]string, len(n.References))
		for i, ref := range n.References {
			refs[i] = r.rename(ref)
		}
		if !slices.Equal(refs, n.References) {
			slices.Sort(refs)
			next.Set("References", strings.Join(slices.Compact(refs), " "), "NarSize")
		}
	}
	if n.Deriver != "" {
		next.Set("Deriver", r.rename(n.Deriver), "References")
	}
	changed := res.NarHash != res.NewHash
	if changed {
		next.Set("NarHash", content.String(), "")
		next.Set("NarSize", strconv.FormatInt(content.Size, 10), "")
	}
	if err := next.Reparse(r.cache.StoreDir); err != nil {
		return nil, fmt.Errorf("%s after the rules: %w", n.StorePath, err)
	}
	if next.Fingerprint() != n.Fingerprint() && next.Drop("Sig") && len(r.SecretKeys) == 0 {
		res.Warnings = append(res.Warnings, "its signatures are no longer valid and are dropped, and no secret key signs it")
	}
	if (changed || next.StorePath != n.StorePath) && next.Drop("CA") {
		res.Warnings = append(res.Warnings, "no longer content-addressed: CA: "+n.CA+" is dropped")
	}
	return next, next.Reparse(r.cache.StoreDir)
}
