package report

import (
	"fmt"
	"slices"
	"strings"

	"narseal/cmd/narseal/internal/terminal"
	"narseal/macho"
	"narseal/macho/bundle"
)

// A Mend collects the commands that repair the invalid signatures of a run, and counts signatures that no command
// repairs.
type Mend struct {
	calls []mendCall
	cms   int64 // slices that are signed by a certificate
	never int64 // slices that no command repairs
	none  int64 // slices that lack a signature
}

// A Repair is a command that repairs a signature, and its last operand, if any.
type Repair struct {
	Command string // for a shell, such as "narseal repair --in-place"
	Operand string // not quoted
}

// mendCall is one call of a command with several operands.
type mendCall struct {
	command  string
	operands []string // quoted
	more     bool     // operands were left out
}

const (
	// maxMendOperands is the maximum number of operands of a command, and maxMendCommands that of commands.
	maxMendOperands = 20
	maxMendCommands = 20
)

// MendStatus returns the status of an invalid slice for Add. An invalid seal of a bundle is repaired like a stale
// signature.
func MendStatus(s *macho.Slice) macho.Status {
	switch {
	case s.Status == macho.StatusBundle && s.Signature == "cms":
		return macho.StatusCMS
	case bundle.CanReseal(s):
		return macho.StatusStale
	}
	return s.Status
}

// Add counts n invalid slices with a status. r is the command that repairs them, if the status can be repaired.
func (m *Mend) Add(status macho.Status, n int64, r Repair) {
	switch status {
	case macho.StatusStale:
		if r.Operand == "" {
			m.add(r.Command, "")
		} else if terminal.IsHarmless(r.Command + r.Operand) {
			m.add(r.Command, Quote(r.Operand))
		}
	case macho.StatusCMS:
		m.cms += n
	case macho.StatusUnsigned:
		m.none += n
	default:
		m.never += n
	}
}

// add adds an operand, quoted, to a command.
func (m *Mend) add(command, operand string) {
	i := slices.IndexFunc(m.calls, func(c mendCall) bool { return c.command == command })
	if i < 0 {
		if len(m.calls) == maxMendCommands {
			return
		}
		i = len(m.calls)
		m.calls = append(m.calls, mendCall{command: command})
	}
	c := &m.calls[i]
	switch {
	case operand == "", slices.Contains(c.operands, operand):
	case len(c.operands) == maxMendOperands:
		c.more = true
	default:
		c.operands = append(c.operands, strings.Clone(operand))
	}
}

// sum adds the contents of another Mend.
func (m *Mend) sum(o *Mend) {
	m.cms += o.cms
	m.never += o.never
	m.none += o.none
	for _, c := range o.calls {
		m.add(c.command, "")
		for _, operand := range c.operands {
			m.add(c.command, operand)
		}
	}
}

// Commands returns the commands, quoted for a shell.
func (m *Mend) Commands() []string {
	var all []string
	for _, c := range m.calls {
		all = append(all, strings.Join(append([]string{c.command}, c.operands...), " "))
	}
	return all
}

// Notes describes the signatures that the commands do not repair.
func (m *Mend) Notes() []string {
	var notes []string
	if slices.ContainsFunc(m.calls, func(c mendCall) bool { return c.more }) {
		notes = append(notes, fmt.Sprintf("The command lists the first %d paths. Run verify again afterwards.", maxMendOperands))
	}
	if m.cms > 0 {
		notes = append(notes, Plural(m.cms, "signature is", "signatures are")+
			" made with a certificate, which only its owner can renew. --on-cms adhoc makes such signatures ad-hoc.")
	}
	if m.none > 0 {
		notes = append(notes, "narseal makes no new signatures: build the program again, or run codesign --sign - on a Mac.")
	}
	if m.never > 0 {
		notes = append(notes, Plural(m.never, "signature", "signatures")+
			" cannot be repaired: build the program again, or sign it again.")
	}
	return notes
}

// Quote returns s as a word of a POSIX shell.
func Quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@%+=:,./_-", r)
	}
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
