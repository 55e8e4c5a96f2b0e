package firstinstall

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Step is one of the page's seven, as a reader finds it.
type Step struct {
	Title  string
	Claim  string // of attention, in the page's words
	Blocks []Block
	prose  string
}

// A Block is what the reader types or writes.
type Block struct {
	Kind Kind
	Text string // without the indent
}

// A Kind of block.
type Kind string

// The kinds: commands for a shell, flags of an API server, a file.
const (
	Shell Kind = "shell"
	Flags Kind = "flags"
	File  Kind = "file"
)

var (
	heading = regexp.MustCompile(`^### \d+\. (.+) \((.+)\)$`)
	inline  = regexp.MustCompile("`(make [a-z-]+)`")

	// carried is a value that an earlier step gave, and that the reader takes over by hand: the issuer, a shell variable, what the page leaves out.
	carried = regexp.MustCompile(`https://oidc-[^\s"]+|\$[A-Z][A-Z_]+|…`)
)

// Parse takes the steps out of a page: its headings of the third level with a number and a claim, up to the next of the second.
func Parse(page string) []Step {
	var steps []Step
	fenced, blank, open := false, true, false
	for line := range strings.SplitSeq(page, "\n") {
		title := heading.FindStringSubmatch(line)
		switch {
		case title != nil && !fenced:
			steps, open = append(steps, Step{Title: title[1], Claim: title[2]}), true
		case strings.HasPrefix(line, "## ") && !fenced:
			open = false
		case open:
			steps[len(steps)-1].add(line, &fenced, blank)
		}
		blank = strings.TrimSpace(line) == ""
	}
	return steps
}

// add takes one line into the step.
func (s *Step) add(line string, fenced *bool, blank bool) {
	code, indented := strings.CutPrefix(line, "    ")
	last := len(s.Blocks) - 1
	switch {
	case strings.HasPrefix(line, "```"):
		if *fenced = !*fenced; *fenced {
			s.Blocks = append(s.Blocks, Block{Kind: File})
		}
	case *fenced:
		s.Blocks[last].Text += line + "\n"
	case indented && blank:
		kind := Shell
		if strings.HasPrefix(code, "--") {
			kind = Flags
		}
		s.Blocks = append(s.Blocks, Block{kind, code + "\n"})
	case indented && last >= 0:
		s.Blocks[last].Text += code + "\n"
	default:
		s.prose += line + "\n"
	}
}

// Of are the texts of the step's blocks of one kind.
func (s *Step) Of(kind Kind) []string {
	var all []string
	for _, b := range s.Blocks {
		if b.Kind == kind {
			all = append(all, b.Text)
		}
	}
	return all
}

// Mentioned are commands that the step tells the reader to run in its prose.
func (s *Step) Mentioned() []string {
	var all []string
	for _, match := range inline.FindAllStringSubmatch(s.prose, -1) {
		all = append(all, match[1])
	}
	return all
}

// Commands counts what the reader runs: lines, and what && joins.
func (s *Step) Commands() int {
	n := len(s.Mentioned())
	for _, text := range s.Of(Shell) {
		for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
			if strings.TrimSpace(line) != "" {
				n += 1 + strings.Count(line, "&&")
			}
		}
	}
	return n
}

// Files counts what the reader writes or changes: every file, and the flags of an API server.
func (s *Step) Files() int { return len(s.Of(File)) + len(s.Of(Flags)) }

// Copies are the values that the reader carries over from an earlier step by hand.
func (s *Step) Copies() []string {
	var all []string
	for _, b := range s.Blocks {
		all = append(all, carried.FindAllString(b.Text, -1)...)
	}
	return all
}

var claim = regexp.MustCompile(`^(\d+) (minute|second)s?\b( per server)?`)

// Attention is the claim as a time: of the reader, once, or for each API server.
func (s *Step) Attention() (once, perServer time.Duration, err error) {
	parts := claim.FindStringSubmatch(s.Claim)
	if parts == nil {
		return 0, 0, fmt.Errorf("step %q claims %q: want a number of minutes or seconds", s.Title, s.Claim)
	}
	n, err := strconv.Atoi(parts[1])
	if err != nil {
		return 0, 0, fmt.Errorf("step %q claims %q: %w", s.Title, s.Claim, err)
	}
	d := time.Duration(n) * map[string]time.Duration{"minute": time.Minute, "second": time.Second}[parts[2]]
	if parts[3] != "" {
		return 0, d, nil
	}
	return d, 0, nil
}

// A Substitution is a text of the page that can't be followed literally here.
type Substitution struct {
	Page, Bench, Why string
}

// Substitute puts in the substitutions, and remembers which were needed.
type Substitute struct {
	Table []Substitution
	used  []int
}

// In is a text as the bench follows it.
func (s *Substitute) In(text string) string {
	for i, one := range s.Table {
		if strings.Contains(text, one.Page) {
			text = strings.ReplaceAll(text, one.Page, one.Bench)
			s.used = append(s.used, i)
		}
	}
	return text
}

// Unused are the substitutions that no text needed: the page says something else now.
func (s *Substitute) Unused() []Substitution {
	var all []Substitution
	for i, one := range s.Table {
		if !slices.Contains(s.used, i) {
			all = append(all, one)
		}
	}
	return all
}
