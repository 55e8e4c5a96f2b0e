package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/keyfile"
	"github.com/kube-iam-assume/kube-iam-assume/cli/publishers"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

type operateOptions struct {
	settings, data, keyFile string
	publishers              string
	only                    []string
	since                   string
	dryRun, yes, reachable  bool
	statement               rotation.Statement
	output                  command.Output
}

var acts = []struct {
	action         rotation.Action
	short, example string
	needsKeyFile   bool
	needsKeyIDs    bool
	needsCluster   bool
}{
	{rotation.Announce, "Publish and trust keys before an API server uses them", "announce --cluster prod --key-file new.pub", true, false, true},
	{rotation.Revoke, "Withdraw keys now and keep them out", "revoke --cluster prod --key-id ID --with-word --since 2026-11-20T00:00:00Z", false, true, true},
	{rotation.Lift, "Let revoked keys in again", "lift --cluster prod --key-id ID", false, true, true},
	{rotation.Enroll, "Start the trust in a cluster anew, after a rotation that was not announced", "enroll --cluster prod --key-file keys.json", true, false, true},
	{rotation.Remove, "Retire a cluster: its keys leave after the retention", "remove --cluster prod", false, false, true},
	{rotation.Recover, "Rebuild a lost state from the log and the public keys", "recover", false, false, false},
}

func operateCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "operate",
		Short: "Make an operator's statement to the publisher on this machine, or to every one",
		Long: `operate changes what a publisher believes and publishes. It shows the plan first and asks. It works on the directory of a standalone
publisher, so only who may write there can use it; the publisher may go on running. With --publishers it goes to the door of every publisher that
the file names, as whoever is logged in to each cloud. Every statement is kept in the publishers' logs.

To revoke a key everywhere, and see that it is gone, there is kube-iam-assume revoke.`,
		Args: exactly(0, "one of the commands below"),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	for _, act := range acts {
		o := &operateOptions{statement: rotation.Statement{Action: act.action}}
		sub := &cobra.Command{
			Use: string(act.action), Short: act.short, Args: exactly(0, "no arguments"),
			Example: "  kube-iam-assume operate " + act.example + ` --issuer https://oidc.example.com/prod --reason "why"`,
			RunE:    func(c *cobra.Command, _ []string) error { return o.run(c) },
		}
		f := sub.Flags()
		f.StringVar(&o.settings, "settings", "publisher.yaml", "publisher's settings `file`")
		f.StringVar(&o.data, "data", "/var/lib/kube-iam-assume", "`directory` that the publisher has as --data")
		f.StringVar(&o.publishers, "publishers", "", "`file` that says how to reach every publisher, instead of --settings and --data")
		f.StringSliceVar(&o.only, "only", nil, "with --publishers: send it to the publisher of this `name` alone, as often as needed")
		f.BoolVar(&o.reachable, "reachable", false, "with --publishers: go on without publishers that can't be asked")
		f.StringVar(&o.statement.Issuer, "issuer", "", "issuer `URL`, as in the settings")
		f.StringVar(&o.statement.Reason, "reason", "", "why, for the log")
		f.BoolVar(&o.dryRun, "dry-run", false, "show the plan and change nothing")
		f.BoolVar(&o.yes, "yes", false, "do not ask")
		o.output.Flag(sub)
		required := []string{"issuer", "reason"}
		if act.needsCluster {
			f.StringVar(&o.statement.Cluster, "cluster", "", "cluster `ID`")
			required = append(required, "cluster")
		}
		if act.needsKeyFile {
			f.StringVar(&o.keyFile, "key-file", "", "`file` with public keys, as PEM or as a JWK Set")
			required = append(required, "key-file")
		}
		if act.needsKeyIDs {
			f.StringSliceVar(&o.statement.KeyIDs, "key-id", nil, "key `ID`, as often as needed")
			required = append(required, "key-id")
		}
		if act.action == rotation.Revoke {
			f.BoolVar(&o.statement.WithWord, "with-word", false, "revoke also every key that came in on these keys' word alone")
			f.StringVar(&o.since, "since", "", "with --with-word: only what came in at or after this `time` (RFC 3339)")
		}
		for _, name := range required {
			_ = sub.MarkFlagRequired(name) // it exists
		}
		c.AddCommand(sub)
	}
	return c
}

func (o *operateOptions) run(c *cobra.Command) error {
	if err := o.read(); err != nil {
		return err
	}
	to, err := o.recipients(c)
	if err != nil {
		return err
	}
	talk := publishers.Conversation{
		Publishers: to, Statement: o.statement, Reachable: o.reachable, Out: c.OutOrStdout(), Progress: c.ErrOrStderr(), In: c.InOrStdin(),
	}
	if !o.output.ForPeople() {
		talk.Out = c.ErrOrStderr() // what is asked is not part of the report
	}
	failed := o.reason(&talk, talk.CarryOut(c.Context(), o.dryRun, o.yes))
	if err := o.output.Print(c.OutOrStdout(), talk.Report(), func(out io.Writer) error {
		if failed == nil && len(talk.Results) > 0 {
			o.printSettings(out)
		}
		return nil
	}); err != nil {
		return err
	}
	return failed
}

// reason is the publisher's own where there is only one.
func (o *operateOptions) reason(talk *publishers.Conversation, err error) error {
	if err == nil {
		return nil
	}
	for _, replies := range [][]publishers.Reply{talk.Results, talk.Plans} {
		if len(replies) == 1 && replies[0].Err() != nil {
			err = replies[0].Err()
			break
		}
	}
	return fmt.Errorf("%s: %w", o.statement.Action, err)
}

func (o *operateOptions) read() error {
	var err error
	if o.since != "" {
		if o.statement.Since, err = time.Parse(time.RFC3339, o.since); err != nil {
			return fmt.Errorf("%w: --since: want a time such as 2026-11-20T00:00:00Z", errUsage)
		}
	}
	if o.keyFile != "" {
		o.statement.Keys, err = keyfile.Read(o.keyFile)
	}
	return err
}

func (o *operateOptions) recipients(c *cobra.Command) ([]publishers.Publisher, error) {
	if o.publishers == "" {
		if len(o.only) > 0 || o.reachable {
			return nil, usage(c, errors.New("--only and --reachable are about several publishers: give --publishers"))
		}
		return []publishers.Publisher{{Name: "this machine", Directory: &publishers.Directory{Settings: o.settings, Data: o.data}}}, nil
	}
	if c.Flags().Changed("settings") || c.Flags().Changed("data") {
		return nil, usage(c, errors.New("--publishers names every publisher, --settings and --data one on this machine: give one or the other"))
	}
	all, err := publishers.Load(o.publishers)
	if err != nil {
		return nil, err
	}
	chosen, err := publishers.Choose(all, o.only)
	return chosen, usage(c, err)
}

// printSettings shows what to commit, so that the settings say what was done.
func (o *operateOptions) printSettings(out io.Writer) {
	lines := ""
	switch o.statement.Action {
	case rotation.Announce:
		lines = "announcedKeys: " + string(o.statement.Keys.Encode())
	case rotation.Revoke:
		lines = `revokedKeys: ["` + strings.Join(o.statement.KeyIDs, `", "`) + `"]`
	case rotation.Lift:
		lines = "# and take the key out of revokedKeys, if it is there"
	case rotation.Enroll:
		lines = "generation: # one more than now\nbootstrapKeys: " + string(o.statement.Keys.Encode())
	case rotation.Remove:
		lines = "removed: true"
	case rotation.Recover:
		return
	}
	fmt.Fprintf(out, "To keep it in the settings, in the file of cluster %s:\n%s\n", o.statement.Cluster, lines)
}
