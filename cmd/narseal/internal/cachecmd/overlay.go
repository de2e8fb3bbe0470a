package cachecmd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"narseal/cmd/narseal/internal/cachestore"
	"narseal/cmd/narseal/internal/ledger"
	"narseal/cmd/narseal/internal/overlaypage"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter"
	"narseal/macho"
)

// checkOverlay refuses options that make no sense with or without --overlay.
func (o *ChangeOptions) checkOverlay() error {
	switch {
	case o.Overlay && o.Output == "":
		return terminal.Usage("an overlay is a separate cache", "--overlay needs --output")
	case o.Priority != 0 && !o.Overlay:
		return terminal.Usage("", "--priority needs --overlay")
	case o.Priority < 0:
		return terminal.Usage("", "--priority %d: want at least 1", o.Priority)
	case o.Prune && o.Shard.Count > 1:
		return terminal.Usage("when all shards are done, run it once without --shard", "--prune: other shards may need what this one would delete")
	}
	return nil
}

// warnUnchecked warns that the secret keys sign whatever another cache sends. A directory is the user's own.
func (o *ChangeOptions) warnUnchecked(t *terminal.Terminal, from *cachestore.Cache) {
	if len(o.SecretKeys) > 0 && len(o.TrustedKeys) == 0 && o.Output != "" && from.Dir == "" && !o.DryRun {
		t.Warnf("--secret-key-file signs what changes, and the signatures of the input are not checked: --trusted-public-keys KEYS checks them")
	}
}

// publicKeys returns the public keys of the secret keys.
func (o *ChangeOptions) publicKeys() []string {
	var keys []string
	for _, k := range o.SecretKeys {
		keys = append(keys, k.ToPublicKey().String())
	}
	return keys
}

// writePage writes the overlay's index.html and its public keys.
func (o *ChangeOptions) writePage(ctx context.Context, r *run, from, to *cachestore.Cache) error {
	err := overlaypage.Write(ctx, to.Store, &overlaypage.Page{
		Input: from.Name, Keys: o.publicKeys(), Version: o.Version, Now: time.Now(),
		Warn: func(text string) { r.Terminal.Warnf("%s", text) },
	})
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, overlaypage.ErrForeign) {
		r.Terminal.Warnf("%s is not written: %v", overlaypage.PageName, err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// ledgerWork describes the work that a ledger records: everything that affects how a NAR is changed, and who signs it.
// It does not name the caches: a changed path is skipped only if the output has it.
func (o *ChangeOptions) ledgerWork(name string) ledger.Options {
	w := ledger.Options{Command: "cache " + name}
	if o.DryRun {
		w.Command += " --dry-run"
	}
	list := []string{
		"repair " + map[filter.RepairMode]string{filter.RepairTouched: "touched", filter.RepairAll: "all", filter.RepairNone: "none"}[o.Repair],
		"on-cms " + map[macho.CMSPolicy]string{macho.CMSFail: "fail", macho.CMSKeep: "keep", macho.CMSAdhoc: "adhoc"}[o.OnCMS],
	}
	if o.Rules != nil {
		h := sha256.New()
		for i := range o.Rules.Len() {
			r := o.Rules.Rule(i)
			fmt.Fprintf(h, "%s=%s\n", r.From, r.To)
		}
		if o.Rename {
			list = append(list, "rename")
		}
		list = append(list, "rules sha256:"+hex.EncodeToString(h.Sum(nil)), fmt.Sprintf("encodings %s", o.Encodings))
	}
	for _, key := range o.publicKeys() {
		list = append(list, "key "+key)
	}
	w.Options = strings.Join(list, "; ")
	return w
}
