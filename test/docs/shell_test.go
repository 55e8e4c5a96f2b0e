package docs_test

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const program = "kube-iam-assume"

// A command is a call of the program that a reader would copy.
type command struct {
	arguments []string
	where     string
	whole     bool // from a block; what the prose mentions may be a part
}

// commands are the calls in a document's blocks of shell, and those its prose has in backticks.
func (d document) commands() []command {
	var all []command
	for _, b := range d.blocks {
		if !slices.Contains([]string{"", "sh", "bash", "shell", "console"}, b.language) {
			continue
		}
		for _, words := range simpleCommands(b.text) {
			if arguments, ok := ours(words); ok {
				all = append(all, command{arguments, d.path, true})
			}
		}
	}
	for _, s := range d.spans() {
		for _, words := range simpleCommands(s) {
			if arguments, ok := ours(words); ok {
				all = append(all, command{arguments, d.path, false})
			}
		}
	}
	return all
}

var assignment = regexp.MustCompile(`^[A-Z_]+=`)

// ours strips variables and sudo, and tells the program by its place: helm has a release of the same name.
func ours(words []string) ([]string, bool) {
	for len(words) > 0 && (assignment.MatchString(words[0]) || words[0] == "sudo") {
		words = words[1:]
	}
	if len(words) == 0 || path.Base(words[0]) != program {
		return nil, false
	}
	return words[1:], true
}

// simpleCommands cuts shell into commands and those into words, without comments and redirections.
func simpleCommands(text string) [][]string {
	text = strings.ReplaceAll(text, "\\\n", " ")
	var all [][]string
	for line := range strings.SplitSeq(text, "\n") {
		all = append(all, ofLine(line)...)
	}
	return all
}

var lexeme = regexp.MustCompile(`\s+|\$\(|&&|\|\||[|;&()]|[0-9]?>>?|<|(?:[^\s'"|;&()<>$]|\$[^(]|\$$|'[^']*'|"[^"]*")+|.`)

func ofLine(line string) [][]string {
	all := [][]string{{}}
	redirected := false
	for _, word := range lexeme.FindAllString(line, -1) {
		last := len(all) - 1
		switch {
		case strings.HasPrefix(word, "#"):
			return all
		case strings.TrimSpace(word) == "":
		case strings.TrimLeft(word, "0123456789") == ">" || strings.TrimLeft(word, "0123456789") == ">>" || word == "<":
			redirected = true
		case slices.Contains([]string{"$(", "&&", "||", "|", ";", "&", "(", ")"}, word):
			all, redirected = append(all, nil), false
		case redirected:
			redirected = false
		default:
			all[last] = append(all[last], strings.NewReplacer(`"`, "", "'", "").Replace(word))
		}
	}
	return all
}

func TestCommandsOfADocument(t *testing.T) {
	t.Parallel()
	d := parse("x.md", "run `kube-iam-assume inspect URL`, not `helm install kube-iam-assume .`\n\n"+
		"    A=b bin/kube-iam-assume enroll prod --context \"my prod\" > prod.yaml   # kube-iam-assume no\n"+
		"    kubectl create token x | kube-iam-assume verify - \\\n      --issuer https://h/p && kube-iam-assume version\n"+
		"    helm install kube-iam-assume chart\n\n```yaml\nkube-iam-assume: x\n```\n")
	want := [][]string{
		{"enroll", "prod", "--context", "my prod"}, {"verify", "-", "--issuer", "https://h/p"}, {"version"}, {"inspect", "URL"},
	}
	got := d.commands()
	if len(got) != len(want) {
		t.Fatalf("commands %v", got)
	}
	for i, c := range got {
		if !slices.Equal(c.arguments, want[i]) || c.whole != (i < 3) {
			t.Errorf("command %d: %v, want %v", i, c, want[i])
		}
	}
}
