package agent

import (
	"errors"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"

	"github.com/kube-iam-assume/kube-iam-assume/cli/migrate/inventory"
)

const base = "arn:aws:iam::111122223333:role/"

// Each case is what an agent with these settings says of a role in a namespace.
func TestRules(t *testing.T) {
	t.Parallel()
	kube2iam, kiam := Defaults(Kube2IAM), Defaults(Kiam)
	kube2iam.BaseARN, kube2iam.Restricted, kiam.BaseARN = base, true, base
	expressions := kube2iam
	expressions.Format = "regexp"
	open, loose := kube2iam, kiam
	open.Restricted, loose.Format = false, "regexp"
	for name, test := range map[string]struct {
		settings         Settings
		annotation, role string
		allowed          bool
		wrong            string
	}{
		"name":                             {kube2iam, `["payments"]`, base + "payments", true, ""},
		"another name":                     {kube2iam, `["payments"]`, base + "payments2", false, ""},
		"path":                             {kube2iam, `["k8s/payments"]`, base + "k8s/payments", true, ""},
		"glob":                             {kube2iam, `["other", "pay*"]`, base + "payments", true, ""},
		"glob over slashes":                {kube2iam, `["k8s*s"]`, base + "k8s/a/payments", true, ""},
		"glob within":                      {kube2iam, `["p*m*s"]`, base + "payments", true, ""},
		"glob that needs more":             {kube2iam, `["pay*ayments"]`, base + "payments", false, ""},
		"all of them":                      {kube2iam, `["*"]`, base + "payments", true, ""},
		"all of an account":                {kube2iam, `["arn:aws:iam::444455556666:role/*"]`, base + "payments", false, ""},
		"question marks mean nothing":      {kube2iam, `["payment?"]`, base + "payments", false, ""},
		"nothing said":                     {kube2iam, ``, base + "payments", false, ""},
		"empty list":                       {kube2iam, `[]`, base + "payments", false, ""},
		"no list":                          {kube2iam, `payments`, base + "payments", false, "want a list in JSON"},
		"numbers":                          {kube2iam, `["payments", 1]`, base + "payments", false, "want a list in JSON"},
		"not restricted":                   {open, `["other"]`, base + "payments", true, ""},
		"not restricted, and unreadable":   {open, `other`, base + "payments", true, ""},
		"expression":                       {expressions, `["pay.*"]`, base + "payments", true, ""},
		"expression of a part":             {expressions, `["pay"]`, base + "payments", true, ""},
		"expression of no ARN":             {expressions, `["^pay"]`, base + "payments", false, ""},
		"one wrong expression of two":      {expressions, `["(", "pay"]`, base + "payments", true, "no regular expression"},
		"kiam":                             {kiam, base + "pay.*", base + "payments", true, ""},
		"kiam by name":                     {kiam, "pay.*", base + "payments", false, ""},
		"kiam, any":                        {kiam, ".*", base + "payments", true, ""},
		"kiam, a part":                     {kiam, "payments", base + "payments", false, ""},
		"kiam, a part, not strict":         {loose, "payments", base + "payments", true, ""},
		"kiam, the first of two is open":   {kiam, base + "pay|x", base + "payments", true, ""},
		"kiam, nothing said":               {kiam, "", base + "payments", false, ""},
		"kiam, no expression":              {kiam, "(", base + "payments", false, "no regular expression"},
		"longer than the API server takes": {kiam, strings.Repeat("a", maxRules+1), base + "payments", false, "more than"},
	} {
		rules, err := test.settings.Rules(map[string]string{test.settings.NamespaceKey: test.annotation})
		if (err != nil) != (test.wrong != "") || err != nil && (!errors.Is(err, ErrRules) || !strings.Contains(err.Error(), test.wrong)) {
			t.Errorf("%s: %v, want %q", name, err, test.wrong)
		}
		if got := rules.Allow(test.role); got != test.allowed {
			t.Errorf("%s: %v, want %v", name, got, test.allowed)
		}
	}
}

func TestARN(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ agent, base, written, want string }{
		{Kube2IAM, base, "payments", base + "payments"},
		{Kube2IAM, strings.TrimSuffix(base, "/"), "payments", base + "payments"},
		{Kube2IAM, base + "k8s/", "payments", base + "k8s/payments"},
		{Kube2IAM, base, "/payments", base + "/payments"}, // and so it does not work
		{Kube2IAM, base, "ARN:aws:iam::1:role/x", "ARN:aws:iam::1:role/x"},
		{Kube2IAM, "", "payments", ""},
		{Kiam, base, "/payments", base + "payments"},
		{Kiam, base, "arn:aws:iam::1:role/x", "arn:aws:iam::1:role/x"},
		{Controller, base, "team/payments", base + "team/payments"},
	} {
		s := Settings{Agent: test.agent, BaseARN: test.base}
		got, err := s.ARN(test.written)
		if got != test.want || (err != nil) != (test.want == "") || err != nil && !errors.Is(err, ErrRole) {
			t.Errorf("%+v: %q, %v", test, got, err)
		}
	}
}

// Each case is an agent's container, and the settings that it comes to.
func TestDetect(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		agent     string
		container core.Container
		want      func(*Settings)
	}{
		"kube2iam": {Kube2IAM, core.Container{Image: "registry.example.com:5000/kube2iam@sha256:0", Args: []string{
			"--base-role-arn", base, "--namespace-restrictions=true", "--namespace-restriction-format=RegExp", "--default-role=none",
			"--iam-role-key=a", "--iam-external-id=b", "--namespace-key=c", "--iptables", "--verbose",
		}}, func(s *Settings) {
			*s = Settings{Kube2IAM, base, "a", "b", "", "c", "none", false, true, "regexp", false, ""}
		}},
		"a flag that takes none": {Kube2IAM, core.Container{Image: "kube2iam", Args: []string{"--namespace-restrictions", "--base-role-arn=" + base}}, func(s *Settings) { s.Restricted, s.BaseARN = true, base }},
		"a flag that says no":    {Kube2IAM, core.Container{Image: "kube2iam", Args: []string{"--namespace-restrictions=false"}}, func(*Settings) {}},
		"the node's role":        {Kube2IAM, core.Container{Image: "kube2iam", Args: []string{"--auto-discover-default-role"}}, func(s *Settings) { s.NodeDefault = true }},
		"a variable":             {Kube2IAM, core.Container{Image: "kube2iam", Args: []string{"--base-role-arn=$(BASE)"}}, func(*Settings) {}},
		"kiam 3": {
			Kiam,
			core.Container{Image: "kiam:v3.6", Command: []string{"/kiam", "server"}, Args: []string{"--role-base-arn=" + base, "--disable-strict-namespace-regexp"}},
			func(s *Settings) { s.BaseARN, s.Format, s.OnNames = base, "regexp", true },
		},
		"kiam of another image": {
			Kiam,
			core.Container{Image: "own/thing:v3", Command: []string{"/kiam", "server"}, Args: []string{"--assume-role-arn=" + base + "k"}},
			func(s *Settings) { s.AssumeRole, s.OnNames = base+"k", true },
		},
		"kiam 4":      {Kiam, core.Container{Image: "kiam:v4.2"}, func(*Settings) {}},
		"controller":  {Controller, core.Container{Image: "kube-aws-iam-controller:v0.3", Args: []string{"--base-role-arn=" + base}}, func(s *Settings) { s.BaseARN = base }},
		"not at home": {Kiam, core.Container{Image: "kiam-dashboard:v1"}, nil},
	} {
		w := &inventory.Workload{}
		w.Template.Spec.Containers = []core.Container{test.container}
		got, found := Detect(&inventory.Cluster{Workloads: []*inventory.Workload{w}}, test.agent, "")
		want := Defaults(test.agent)
		if test.want != nil {
			test.want(&want)
		}
		if got != want || (len(found) == 1) != (test.want != nil) {
			t.Errorf("%s: %+v, %d found\nwanted %+v", name, got, len(found), want)
		}
	}
}

func TestParseRoles(t *testing.T) {
	t.Parallel()
	const policy = `{"Version":"2012-10-17","Statement":[]}`
	roles, err := ParseRoles([]byte(`{"Roles":[{"Arn":"` + base + `team/a","AssumeRolePolicyDocument":` + policy + `}]} {"Roles":[{"Arn":"` + base + `b","AssumeRolePolicyDocument":"%7B%22a%22%3A%22%2B+%22%7D"}]}`))
	if err != nil || string(roles[base+"team/a"].Trust) != policy || string(roles[base+"b"].Trust) != `{"a":"++"}` {
		t.Fatal(roles, err)
	}
	for arn, want := range map[string]string{
		base + "team/a":                        "",
		base + "a":                             "the role of this name is " + base + "team/a",
		base + "B":                             "the role of this name is " + base + "b",
		base + "c":                             "is not in the list",
		"arn:aws:iam::444455556666:role/other": "", // the list says nothing of that account
	} {
		_, err := roles.Find(arn)
		if (err != nil) != (want != "") || err != nil && (!errors.Is(err, ErrRole) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", arn, err, want)
		}
	}
	if _, err := Roles(nil).Find(base + "c"); err != nil {
		t.Error("nobody said which roles there are:", err)
	}
	for _, wrong := range []string{`{}`, `[]`, `{"Roles":[{"Arn":"x"}]}`, `{"Roles":[{"Arn":"` + base + `a","AssumeRolePolicyDocument":"%zz"}]}`, `{"Roles":[{"Arn":"` + base + `a","AssumeRolePolicyDocument":[]}]}`, `{"Roles":`} {
		if _, err := ParseRoles([]byte(wrong)); !errors.Is(err, ErrRoles) {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

func FuzzParseAllowedRoles(f *testing.F) {
	for _, seed := range []string{`["a", "b*"]`, `[]`, `null`, `"a"`, `[1]`, `["(", ".*"]`, `["*****"]`} {
		f.Add(seed, base+"payments")
	}
	f.Fuzz(func(t *testing.T, annotation, arn string) {
		s := Defaults(Kube2IAM)
		s.BaseARN, s.Restricted = base, true
		for _, format := range []string{"glob", "regexp"} {
			s.Format = format
			rules, err := s.Rules(map[string]string{s.NamespaceKey: annotation})
			if err != nil && !errors.Is(err, ErrRules) {
				t.Fatal(err)
			}
			if rules.Allow(arn) && len(rules.Patterns()) == 0 {
				t.Fatal("allowed by nothing")
			}
		}
		k := Defaults(Kiam)
		if _, err := k.Rules(map[string]string{k.NamespaceKey: annotation}); err != nil && !errors.Is(err, ErrRules) {
			t.Fatal(err)
		}
	})
}

// A pattern of a text with asterisks in place of parts of it matches the text.
func FuzzGlob(f *testing.F) {
	f.Add("arn:aws:iam::111122223333:role/payments", uint8(3), uint8(9))
	f.Fuzz(func(t *testing.T, text string, from, to uint8) {
		if strings.Contains(text, "*") || int(from) > int(to) || int(to) > len(text) {
			return
		}
		for _, pattern := range []string{text, "*", text[:from] + "*", "*" + text[to:], text[:from] + "*" + text[to:], "*" + text[from:to] + "*"} {
			if !glob(pattern, text) {
				t.Errorf("%q does not match %q", pattern, text)
			}
		}
		if glob(text, text+"x") || glob(text+"*x", text) {
			t.Errorf("%q matches too much", text)
		}
	})
}

func FuzzParseRoles(f *testing.F) {
	f.Add([]byte(`{"Roles":[{"Arn":"arn:aws:iam::111122223333:role/a","AssumeRolePolicyDocument":{"Statement":[]}}]}`))
	f.Add([]byte(`{"Roles":[{"Arn":"arn:aws:iam::111122223333:role/a","AssumeRolePolicyDocument":"%7B%7D"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		roles, err := ParseRoles(data)
		if err != nil && !errors.Is(err, ErrRoles) {
			t.Fatal(err)
		}
		for arn := range roles {
			if _, err := roles.Find(arn); err != nil {
				t.Fatal(err)
			}
		}
	})
}
