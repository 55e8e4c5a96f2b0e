package visible

import (
	"strings"
	"testing"
)

func TestLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                        "",
		"arn:aws:… → ü":           "arn:aws:… → ü",
		"a\nrm -rf ~":             `a\nrm -rf ~`,
		"\x1b]0;x\a\x1b[2J":       `\x1b]0;x\a\x1b[2J`,
		"\u009b31m":               `\u009b31m`,
		"a\u202eb\u2028c":         `a\u202eb\u2028c`,
		"\xff, and no text \x00.": `\xff, and no text \x00.`,
		"\r\t\x7f":                `\r\t\x7f`,
	} {
		if got := Line(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add("a\nb\x1b")
	f.Fuzz(func(t *testing.T, text string) {
		line := Line(text)
		if strings.ContainsFunc(line, hidden) || Line(line) != line {
			t.Errorf("%q: %q", text, line)
		}
	})
}
