package terminal

import (
	"io"
	"os"
	"strings"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"
)

// A Style describes how text looks on a stream: whether it has color, and the width of lines. The zero Style is for
// files: no color, and lines of any length.
type Style struct {
	color bool
	width int // 0: unlimited
}

// StyleOf returns the style of a stream of the program. A terminal gets color, unless NO_COLOR is set, CLICOLOR is 0 or
// TERM is dumb. CLICOLOR_FORCE asks for color on every stream. See no-color.org and bixense.com/clicolors. A writer
// that wraps the stream needs a method Unwrap.
func StyleOf(stream any) Style {
	if w, ok := stream.(interface{ Unwrap() io.Writer }); ok {
		return StyleOf(w.Unwrap())
	}
	var s Style
	if f, ok := stream.(*os.File); ok && IsTerminal(stream) {
		s.width = fallbackWidth
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			s.width = w
		}
		s.color = os.Getenv("TERM") != "dumb" && os.Getenv("CLICOLOR") != "0"
	}
	if force := os.Getenv("CLICOLOR_FORCE"); force != "" && force != "0" {
		s.color = true
	}
	if os.Getenv("NO_COLOR") != "" {
		s.color = false
	}
	return s
}

// Select Graphic Rendition, ECMA-48 8.3.117.
const (
	sgrRed    = "31"
	sgrGreen  = "32"
	sgrYellow = "33"
	sgrCyan   = "36"
	sgrBold   = "1"
	sgrFaint  = "2"
)

func (s Style) paint(sgr, text string) string {
	if !s.color || text == "" {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}

// Verdict colors the text of a good or bad result.
func (s Style) Verdict(text string, good bool) string {
	if good {
		return s.paint(sgrGreen, text)
	}
	return s.paint(sgrBold+";"+sgrRed, text)
}

// Faint makes less important text faint.
func (s Style) Faint(text string) string { return s.paint(sgrFaint, text) }

// Command colors a command for a shell.
func (s Style) Command(text string) string { return s.paint(sgrCyan, text) }

// Heading makes the heading of a list bold.
func (s Style) Heading(text string) string { return s.paint(sgrBold, text) }

// kind colors the kind of a message: error, warning, hint.
func (s Style) kind(kind string) string {
	switch kind {
	case "error":
		return s.paint(sgrBold+";"+sgrRed, kind)
	case "warning":
		return s.paint(sgrYellow, kind)
	}
	return s.paint(sgrCyan, kind)
}

// Width returns the number of columns of a line, or 0 if it is unlimited.
func (s Style) Width() int { return s.width }

// Fits reports whether text without color fits into a line.
func (s Style) Fits(text string) bool { return s.width == 0 || runewidth.StringWidth(text) <= s.width }

// Wrap breaks text between words, so that each line fits after an indent. A word that is too long gets a line of its
// own.
func (s Style) Wrap(text string, indent int) []string {
	if s.Fits(strings.Repeat(" ", indent) + text) {
		return []string{text}
	}
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case indent+runewidth.StringWidth(line+" "+word) <= s.width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}
