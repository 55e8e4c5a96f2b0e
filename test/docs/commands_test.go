package docs_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// Every command that a reader is told to run is one that the program has, with every flag.
func TestCommands(t *testing.T) {
	t.Parallel()
	p := build(t)
	commands := 0
	for _, d := range documents(t) {
		for _, c := range d.commands() {
			commands++
			if err := p.check(t.Context(), c); err != nil {
				t.Errorf("%s: %s %s: %v", c.where, program, strings.Join(c.arguments, " "), err)
			}
		}
	}
	if commands < 30 {
		t.Errorf("only %d commands were looked at", commands)
	}
}

func TestBadCommands(t *testing.T) {
	t.Parallel()
	p := build(t)
	for text, want := range map[string]string{
		"kube-iam-assume operate revoke --issuer=https://h/p --cluster p --key-id K --with-word --reason why": "",
		"kube-iam-assume doctor --for aws -o json":                                                            "",
		"kube-iam-assume --version":                                                                           "",
		"kube-iam-assume opperate revoke":                                                                     "no command opperate",
		"kube-iam-assume operate":                                                                             "",
		"kube-iam-assume operate revok --cluster p":                                                           "no command revok",
		"kube-iam-assume operate revoke --keyid K":                                                            "no flag --keyid",
		"kube-iam-assume enroll":                                                                              "0 arguments, want 1",
		"kube-iam-assume inspect a b":                                                                         "2 arguments, want 1",
		"kube-iam-assume values - outputs.json":                                                               "",
		"kube-iam-assume values --cluster p":                                                                  "0 arguments, want 1",
		"kube-iam-assume verify - -x":                                                                         "no flag -x",
		"kube-iam-assume doctor --issuer":                                                                     "--issuer needs a value",
		"kubectl get x | bin/kube-iam-assume verify - --isuer https://h/p":                                    "no flag --isuer",
	} {
		commands := parse("x.md", "```sh\n"+text+"\n```\n").commands()
		if len(commands) != 1 {
			t.Fatalf("%q has %d commands", text, len(commands))
		}
		err := p.check(t.Context(), commands[0])
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// built is the program, and what it says of itself.
type built struct {
	file  string
	mu    sync.Mutex
	helps map[string]help
}

// help is what --help says of one command.
type help struct {
	commands  map[string]bool
	flags     map[string]bool // with hyphens → takes a value
	arguments int
	more      bool // than that
}

var (
	once  sync.Once
	whole *built
	errIn error
)

// build makes the program once for the package; the folder is that of the test binary's run, so that nothing stays.
func build(t *testing.T) *built {
	t.Helper()
	once.Do(func() {
		whole = &built{file: filepath.Join(temporary, program), helps: map[string]help{}}
		out, err := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", whole.file, root+"/cli").CombinedOutput()
		if err != nil {
			errIn = fmt.Errorf("build the program: %w\n%s", err, out)
		}
	})
	if errIn != nil {
		t.Fatal(errIn)
	}
	return whole
}

func (p *built) check(ctx context.Context, c command) error {
	path, rest := []string{}, c.arguments
	h, err := p.help(ctx, path)
	for err == nil && len(rest) > 0 && h.commands[rest[0]] {
		path, rest = append(path, rest[0]), rest[1:]
		h, err = p.help(ctx, path)
	}
	if err != nil {
		return err
	}
	var arguments []string
	for len(rest) > 0 {
		word := rest[0]
		rest = rest[1:]
		if !strings.HasPrefix(word, "-") || word == "-" {
			switch {
			case len(h.commands) > 0 && !c.whole && word == strings.ToUpper(word):
				return nil // the prose speaks of any command
			case len(h.commands) > 0:
				return fmt.Errorf("no command %s", word)
			}
			arguments = append(arguments, word)
			continue
		}
		name, _, given := strings.Cut(word, "=")
		value, known := h.flags[name]
		switch {
		case !known:
			return fmt.Errorf("no flag %s", name)
		case value && !given && len(rest) == 0:
			return fmt.Errorf("%s needs a value", name)
		case value && !given:
			rest = rest[1:]
		}
	}
	if n := len(arguments); len(h.commands) == 0 && (n < h.arguments && c.whole || n > h.arguments && !h.more) {
		return fmt.Errorf("%d arguments, want %d", len(arguments), h.arguments)
	}
	return nil
}

var (
	usage   = regexp.MustCompile(`(?m)^Usage:\n  (.*)$`)
	section = regexp.MustCompile(`(?m)^[A-Z][A-Za-z ]*:\n((?:  .*\n?)+)`)
	flag    = regexp.MustCompile(`^\s+(?:(-[a-zA-Z]), )?(--[a-z][a-z0-9-]*)(?: (\S+))?(?:\s{2,}|$)`)
)

func (p *built) help(ctx context.Context, path []string) (help, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	name := strings.Join(append([]string{program}, path...), " ")
	if h, ok := p.helps[name]; ok {
		return h, nil
	}
	text, err := exec.CommandContext(ctx, p.file, append(path[:len(path):len(path)], "--help")...).Output()
	if err != nil {
		return help{}, fmt.Errorf("%s --help: %w", name, err)
	}
	line := usage.FindStringSubmatch(string(text))
	if line == nil || !strings.HasPrefix(line[1]+" ", name+" ") {
		return help{}, fmt.Errorf("%s --help is about something else: %q", name, line)
	}
	h := help{commands: map[string]bool{}, flags: map[string]bool{}}
	for word := range strings.FieldsSeq(strings.TrimPrefix(line[1], name)) {
		if !strings.HasPrefix(word, "[") {
			h.arguments++
			h.more = h.more || strings.HasSuffix(word, "...")
		}
	}
	h.learn(string(text))
	p.helps[name] = h
	return h, nil
}

func (h help) learn(text string) {
	for _, match := range section.FindAllStringSubmatch(text, -1) {
		title, _, _ := strings.Cut(match[0], "\n")
		for line := range strings.Lines(match[1]) {
			parts := flag.FindStringSubmatch(line)
			switch {
			case title == "Available Commands:":
				h.commands[strings.Fields(line)[0]] = true
			case strings.HasSuffix(title, "Flags:") && parts != nil:
				h.flags[parts[2]] = parts[3] != ""
				h.flags[parts[1]] = parts[3] != ""
			}
		}
	}
	delete(h.flags, "")
}
