package report

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"narseal/macho"
	"narseal/nar/nartest"
)

// What is quoted, a shell takes as it was.
func TestQuote(t *testing.T) {
	sh := nartest.Tool(t, "sh")
	for _, s := range []string{"", "a", "a b", "it's", `$HOME "x" \n`, "*", "~", "a;b&c|d", "#x", "-x", "é"} {
		got, err := exec.Command(sh, "-c", "printf %s "+Quote(s)).Output()
		if err != nil || string(got) != s {
			t.Errorf("%q quoted is %s, which is %q (%v)", s, Quote(s), got, err)
		}
	}
}

// One command takes all operands, as far as there is room. A name that a terminal would act on is left out.
func TestMend(t *testing.T) {
	var sum, m Mend
	for i := range maxMendOperands + 2 {
		m.Add(macho.StatusStale, 1, Repair{"x", fmt.Sprint(i)})
		m.Add(macho.StatusStale, 1, Repair{"x", fmt.Sprint(i)})
	}
	m.Add(macho.StatusStale, 1, Repair{"x", "\x1b[31m"})
	m.Add(macho.StatusStale, 1, Repair{"y", ""})
	m.Add(macho.StatusCMS, 2, Repair{"x", "cms"})
	m.Add(macho.StatusMalformed, 3, Repair{"x", "malformed"})
	sum.sum(&m)
	commands := sum.Commands()
	if len(commands) != 2 || !strings.HasPrefix(commands[0], "x 0 1 2 ") || len(strings.Fields(commands[0])) != maxMendOperands+1 || commands[1] != "y" {
		t.Errorf("commands %q", commands)
	}
	if notes := strings.Join(m.Notes(), "\n"); !strings.Contains(notes, "the first 20") || !strings.Contains(notes, "2 signatures are made with a certificate") ||
		!strings.Contains(notes, "3 signatures cannot be repaired") {
		t.Errorf("notes %q", notes)
	}
}
