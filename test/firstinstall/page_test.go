package firstinstall

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

const page = `# Title

    not --a step

### 1. Make it (1 minute)

Build it (` + "`make build`, then look at `make`" + `):

    mkdir -p a && cd a       # once
    tool --issuer https://oidc-1.example.com/x \
      --log $LOG_GROUP

Write ` + "`b.yaml`" + `:

` + "```yaml" + `
### 9. no heading (1 minute)

    role: arn/…
` + "```" + `

    second

### 2. Point (5 minutes per server)

    --issuer=https://oidc-1.example.com/x
    --issuer=https://old

### 3. Wait (10 seconds, and more of waiting)

## Afterwards

    not a command
`

func TestParse(t *testing.T) {
	t.Parallel()
	steps := Parse(page)
	if len(steps) != 3 {
		t.Fatalf("steps %+v", steps)
	}
	for i, want := range []struct {
		title           string
		commands, files int
		copies          []string
		once, perServer time.Duration
		kinds           []Kind
		shell           string
	}{
		{
			"Make it", 5, 1,
			[]string{"https://oidc-1.example.com/x", "$LOG_GROUP", "…"},
			time.Minute, 0,
			[]Kind{Shell, File, Shell},
			"mkdir -p a && cd a       # once\ntool --issuer https://oidc-1.example.com/x \\\n  --log $LOG_GROUP\n|second\n",
		},
		{"Point", 0, 1, []string{"https://oidc-1.example.com/x"}, 0, 5 * time.Minute, []Kind{Flags}, ""},
		{"Wait", 0, 0, nil, 10 * time.Second, 0, nil, ""},
	} {
		s := steps[i]
		once, perServer, err := s.Attention()
		if s.Title != want.title || s.Commands() != want.commands || s.Files() != want.files || err != nil || once != want.once || perServer != want.perServer {
			t.Errorf("%s: %d commands, %d files, %s and %s, %v; want %+v", s.Title, s.Commands(), s.Files(), once, perServer, err, want)
		}
		var kinds []Kind
		for _, b := range s.Blocks {
			kinds = append(kinds, b.Kind)
		}
		if shell := strings.Join(s.Of(Shell), "|"); !slices.Equal(s.Copies(), want.copies) || !slices.Equal(kinds, want.kinds) || shell != want.shell {
			t.Errorf("%s: copies %q, blocks %q, shell %q; want %+v", s.Title, s.Copies(), kinds, shell, want)
		}
	}
	if file := steps[0].Of(File)[0]; file != "### 9. no heading (1 minute)\n\n    role: arn/…\n" {
		t.Errorf("the file is %q", file)
	}
}

func TestSubstitute(t *testing.T) {
	t.Parallel()
	s := &Substitute{Table: []Substitution{{"1111", "0000", "another account"}, {"gone", "", "the page changed"}}}
	if got := s.In("a 1111 b 1111"); got != "a 0000 b 0000" {
		t.Errorf("%q", got)
	}
	if unused := s.Unused(); len(unused) != 1 || unused[0].Page != "gone" {
		t.Errorf("unused: %v", unused)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var rows []Row
	for _, s := range Parse(page) {
		rows = append(rows, Row{s, 1, 1500 * time.Millisecond})
	}
	var out bytes.Buffer
	if err := WriteTable(&out, rows); err != nil {
		t.Fatal(err)
	}
	var sum string
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "all") {
			sum = strings.Join(strings.Fields(line), " ")
		}
	}
	if !strings.Contains(out.String(), "5m0s: kept, but") {
		t.Errorf("the goal is not kept in\n%s", out.String())
	}
	if sum != "all 5 3 2 4 4.5 s 1m10s, and 5m0s per API server" {
		t.Errorf("%q in\n%s", sum, out.String())
	}
	out.Reset()
	if err := WriteTable(&out, []Row{{Step: Step{Title: "t", Claim: "7 minutes"}}}); err != nil || !strings.Contains(out.String(), "missed by 2m0s") {
		t.Errorf("%v: %s", err, out.String())
	}
	if err := WriteTable(&out, []Row{{Step: Step{Title: "t", Claim: "a while"}}}); err == nil {
		t.Error("a claim without a number is taken")
	}
}
