package docs_test

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestLinks(t *testing.T) {
	t.Parallel()
	links := 0
	for _, d := range documents(t) {
		for _, problem := range d.badLinks(&links) {
			t.Error(problem)
		}
	}
	if links < 60 {
		t.Errorf("only %d links were looked at", links)
	}
}

// badLinks looks at the links to this repository; those to other places are nobody's promise.
func (d document) badLinks(count *int) []string {
	var problems []string
	for _, match := range link.FindAllStringSubmatch(span.ReplaceAllString(d.prose, "code"), -1) {
		if strings.Contains(match[1], "://") || strings.HasPrefix(match[1], "mailto:") {
			continue
		}
		*count++
		if err := d.follow(match[1]); err != nil {
			problems = append(problems, fmt.Sprintf("%s: link %s: %v", d.path, match[1], err))
		}
	}
	return problems
}

func (d document) follow(target string) error {
	name, anchor, _ := strings.Cut(target, "#")
	there := d
	if name != "" {
		there = document{path: path.Join(path.Dir(d.path), name)}
		file := filepath.Join(root, filepath.FromSlash(there.path))
		info, err := os.Stat(file)
		if err != nil || info.IsDir() {
			return err
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		there = parse(there.path, string(text))
	}
	if anchor != "" && !there.anchors()[anchor] {
		return fmt.Errorf("%s has no heading #%s", there.path, anchor)
	}
	return nil
}

func TestBadLinks(t *testing.T) {
	t.Parallel()
	for text, bad := range map[string]bool{
		"[a](../README.md), [b](aws.md#seven-steps) and [c](#here)\n\n# Here": false,
		"[a](../docs)":               false,
		"[a](https://example.com/x)": false,
		"`[a](nowhere.md)`":          false,
		"[a](nowhere.md)":            true,
		"[a](aws.md#eight-steps)":    true,
		"[c](#there)\n\n# Here":      true,
	} {
		looked := 0
		if problems := parse("docs/x.md", text).badLinks(&looked); bad != (len(problems) == 1) {
			t.Errorf("%q: %v", text, problems)
		}
	}
}
