package command

import (
	"strings"

	"narseal/filter"
	"narseal/filter/rules"
	"narseal/macho"
	"narseal/macho/bundle"
)

// leftInvalid records which kinds of invalid signatures a run leaves, for a hint on how to repair them.
type leftInvalid struct{ stale, cms, bundle bool }

func (l *leftInvalid) add(s *macho.Slice) {
	switch s.Status {
	case macho.StatusStale:
		l.stale = true
	case macho.StatusCMS:
		l.cms = true
	case macho.StatusBundle:
		l.bundle = l.bundle || bundle.CanReseal(s)
		l.cms = l.cms || s.Signature == "cms"
	}
}

// hint prints which options would repair the signatures that a run with this mode left invalid.
func (l *leftInvalid) hint(e *Env, mode filter.RepairMode) {
	switch {
	case mode == filter.RepairNone:
		if l.stale || l.cms || l.bundle {
			e.Terminal.Hintf("--repair none leaves signatures as they are; narseal repair repairs them later")
		}
		return
	case (l.stale || l.bundle) && mode == filter.RepairTouched:
		e.Terminal.Hintf("--repair all also repairs what the rules did not touch")
	}
	if l.cms {
		e.Terminal.Hintf("only its owner can renew a signature by a certificate; --on-cms adhoc makes it an ad-hoc one")
	}
}

// maxUnused is the number of rules without a match that are named.
const maxUnused = 3

// hashPart returns the hash part of a rule's side, which is a hash or a base name.
func hashPart(s string) string {
	hash, _, _ := strings.Cut(s, "-")
	return hash
}

// WarnUnused warns about rules that matched nothing, and names the first ones. A rule counts as used if another rule
// with the same old hash matched.
func (e *Env) WarnUnused(set *rules.Set, counts []int64) {
	if set == nil || e.Terminal.IsQuiet() {
		return
	}
	used := map[string]bool{}
	for i, n := range counts {
		if n > 0 {
			used[hashPart(set.Rule(i).From)] = true
		}
	}
	unused := 0
	for i := range counts {
		from := set.Rule(i).From
		if used[hashPart(from)] {
			continue
		}
		if unused++; unused <= maxUnused {
			e.Terminal.Warnf("%s: the rule matched nothing", from)
		}
	}
	if unused > maxUnused {
		e.Terminal.Warnf("%d of %d rules matched nothing", unused, len(counts))
	}
}
