// Package visible makes text of strangers fit to be shown: what an annotation, a publisher's answer or a server says stays on its line, and does not speak
// to the terminal.
package visible

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line is a text on one line. What does not print (line ends, escapes, marks that turn the direction of writing) is written as Go writes it, \n or \x1b, and a
// byte that is no text as \xff, so that no two texts look alike that are not.
func Line(text string) string {
	if strings.IndexFunc(text, hidden) < 0 && utf8.ValidString(text) {
		return text
	}
	var line strings.Builder
	for text != "" {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case hidden(r), r == utf8.RuneError && size == 1:
			quoted := strconv.Quote(text[:size])
			line.WriteString(quoted[1 : len(quoted)-1])
		default:
			line.WriteRune(r)
		}
		text = text[size:]
	}
	return line.String()
}

func hidden(r rune) bool { return !unicode.IsPrint(r) }
