package command

import (
	"context"

	"narseal/filter"
	"narseal/filter/rules"
	"narseal/macho"
)

// RewriteOptions are the options of rewrite.
type RewriteOptions struct {
	Common
	Archive
	Rules  *rules.Set
	Repair filter.RepairMode
	OnCMS  macho.CMSPolicy
	// Unpack, if not nil, makes Rewrite search packed files for references that rules cannot replace there.
	Unpack *Unpack
}

// Rewrite applies rules to an archive, and repairs the signatures that this breaks.
func Rewrite(_ context.Context, e *Env, o *RewriteOptions) error {
	memory := o.Memory()
	cfg := &filter.Config{Rules: o.Rules, Spill: o.Spill(e, memory)}
	cfg.Signatures = filter.SignatureOptions{Repair: o.Repair, OnCMS: o.OnCMS}
	if o.Unpack != nil {
		cfg.Unpack = o.Unpack.unpack(e, cfg.Spill)
		memory.TryAcquire(cfg.Spill.Limit() / 2) // which searching packed files may use
		hidden := newHiddenList(e, cfg.Rules)
		defer hidden.end()
		cfg.Observer.Hidden = hidden.add
	}
	return e.filter("rewrite", &o.Common, &o.Archive, cfg)
}

// RepairOptions are the options of repair for an archive.
type RepairOptions struct {
	Common
	Archive
	OnCMS macho.CMSPolicy
	Jobs  int
}

// Repair repairs the invalid signatures in an archive.
func Repair(_ context.Context, e *Env, o *RepairOptions) error {
	cfg := &filter.Config{Spill: o.Spill(e, o.Memory())}
	cfg.Signatures = filter.SignatureOptions{Repair: filter.RepairAll, OnCMS: o.OnCMS, Unsigned: true, Jobs: o.Jobs}
	return e.filter("repair", &o.Common, &o.Archive, cfg)
}
