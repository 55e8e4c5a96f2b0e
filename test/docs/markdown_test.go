// Package docs_test holds the documentation to what there is: commands and flags, links, names of events and alerts, settings that parse,
// and, for the API servers' flags, what a real kube-apiserver makes of them. Every check has a case that turns it red.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

const root = "../.."

// A document is a Markdown file, taken apart.
type document struct {
	path   string // from the repository's root
	blocks []block
	prose  string // all that is in no block; a blank line where one was
}

// A block is code: fenced, or indented by four spaces or more after a blank line.
type block struct {
	line     int
	language string
	text     string
}

// documents are those that people read to install and operate.
func documents(t *testing.T) []document {
	t.Helper()
	var files []string
	for _, pattern := range []string{"*.md", "docs/*.md", "deploy/helm/*/README.md", "deploy/terraform/README.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 12 {
		t.Fatalf("%d documents: %v", len(files), files)
	}
	var all []document
	for _, file := range files {
		name, err := filepath.Rel(root, file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, read(t, filepath.ToSlash(name)))
	}
	return all
}

func read(t *testing.T, path string) document {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return parse(path, string(text))
}

var fence = regexp.MustCompile("^\\s*```\\s*([a-z]*)\\s*$")

func parse(path, text string) document {
	d := document{path: path}
	var prose strings.Builder
	var current *block
	fenced, blank := false, true
	for i, line := range strings.Split(text, "\n") {
		mark := fence.FindStringSubmatch(line)
		indented := !fenced && strings.HasPrefix(line, "    ") && (blank || current != nil)
		switch {
		case mark != nil && !fenced:
			d.blocks = append(d.blocks, block{line: i + 1, language: mark[1]})
			fenced, current = true, &d.blocks[len(d.blocks)-1]
		case mark != nil:
			fenced, current = false, nil
		case fenced || indented && current != nil:
			current.text += line + "\n"
		case indented && strings.TrimSpace(line) != "":
			d.blocks = append(d.blocks, block{line: i + 1, text: line + "\n"})
			current = &d.blocks[len(d.blocks)-1]
		default:
			current = nil
			prose.WriteString(line)
		}
		prose.WriteByte('\n') // keeps the number of lines
		blank = strings.TrimSpace(line) == ""
	}
	d.prose = prose.String()
	return d
}

var span = regexp.MustCompile("`([^`\n]+)`")

// spans are what the prose has in backticks.
func (d document) spans() []string {
	var all []string
	for _, match := range span.FindAllStringSubmatch(d.prose, -1) {
		all = append(all, match[1])
	}
	return all
}

// anchors are the names that GitHub gives to the headings.
func (d document) anchors() map[string]bool {
	seen := map[string]bool{}
	for line := range strings.SplitSeq(d.prose, "\n") {
		title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if !ok || !strings.HasPrefix(line, "#") {
			continue
		}
		name := slug(title)
		for n := 1; seen[name]; n++ {
			name = slug(title) + "-" + strconv.Itoa(n)
		}
		seen[name] = true
	}
	return seen
}

func slug(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		}
		return -1
	}, title)
}

func TestParse(t *testing.T) {
	t.Parallel()
	d := parse("x.md", "# A title, of `code`\n\ntext `one`\n\n    indented\n    more\n\n1. item\n\n       in a list\n   goes on\n\n```sh\nfenced\n\n    kept\n```\n## A title, of code\nend\n")
	want := []block{{5, "", "    indented\n    more\n"}, {10, "", "       in a list\n"}, {13, "sh", "fenced\n\n    kept\n"}}
	if len(d.blocks) != len(want) {
		t.Fatalf("blocks %+v", d.blocks)
	}
	for i, b := range d.blocks {
		if b != want[i] {
			t.Errorf("block %d: %+v, want %+v", i, b, want[i])
		}
	}
	if !d.anchors()["a-title-of-code"] || !d.anchors()["a-title-of-code-1"] || strings.Contains(d.prose, "fenced") || len(d.spans()) != 2 {
		t.Errorf("anchors %v, spans %q, prose %q", d.anchors(), d.spans(), d.prose)
	}
}
