//go:build e2e_aws

package cloudformation_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation/cdkcli"
)

// The CLI that people run takes a stack through its life, and prints why it failed.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	d, k := start(t)
	folder := t.TempDir()
	cli, err := cdkcli.New(folder, d.Env())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, template string
		command        []string
		fails          bool
		prints         string
		calls          []string
	}{
		{"create", stackOf(thing("1", retain), thing("1", after)), deployNow, false, "s.Arn = arn-A/s", []string{"create A 1", "create B 1"}},
		{"again", stackOf(thing("1", retain), thing("1", after)), deployNow, false, "no changes", nil},
		{"update", stackOf(thing("1", retain), thing("2", after)), deployNow, false, "s.Arn = arn-A/s", []string{"update B 2 was 1"}},
		{"fail", stackOf(thing("1", retain), thing("bad", after)), deployNow, true, "the thing broke", []string{"update B bad was 2", "update B 2 was bad"}},
		{"destroy", stackOf(thing("1", retain), thing("2", after)), []string{"destroy", "--force"}, false, "destroyed", []string{"delete id-B B 2"}},
		{"fail at once", stackOf(thing("1"), thing("bad", after)), deployNow, true, "the thing broke", []string{"create A 1", "create B bad", "delete id-B B bad", "delete id-A A 1"}},
		{"after that", stackOf(thing("1"), ""), deployNow, false, "s.Arn = arn-A/s", []string{"create A 1"}},
	} {
		if err := cdkcli.WriteAssembly(folder, "s", account, region, c.template); err != nil {
			t.Fatal(err)
		}
		k.taken()
		printed, err := cli.Run(t.Context(), append(c.command, "--app", folder)...)
		if (err != nil) != c.fails || !strings.Contains(printed, c.prints) {
			t.Errorf("%s: %v, want %q:\n%s", c.name, err, c.prints, printed)
		}
		if diff := cmp.Diff(c.calls, k.taken()); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

var deployNow = []string{"deploy", "--require-approval=never"}

// A deploy to another region than the stand-in's finds nothing there.
func TestWrongRegion(t *testing.T) {
	t.Parallel()
	d, k := start(t)
	folder := t.TempDir()
	if err := cdkcli.WriteAssembly(folder, "s", account, "eu-west-1", stackOf(thing("1"), "")); err != nil {
		t.Fatal(err)
	}
	cli, err := cdkcli.New(folder, d.Env())
	if err != nil {
		t.Fatal(err)
	}
	printed, err := cli.Run(t.Context(), append(deployNow, "--app", folder)...)
	if err == nil || !strings.Contains(printed, "eu-west-1") || len(k.taken()) > 0 {
		t.Errorf("%v\n%s", err, printed)
	}
}
