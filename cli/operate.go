package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/keyfile"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/dir"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

type operateOptions struct {
	settings, data, keyFile string
	since                   string
	dryRun, yes             bool
	statement               rotation.Statement
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
		Short: "Make an operator's statement to the publisher on this machine",
		Long: `operate changes what a publisher believes and publishes. It shows the plan first and asks. It works on the directory of a standalone
publisher, so only who may write there can use it; the publisher may go on running. Every statement is kept in the publisher's log.`,
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
		f.StringVar(&o.statement.Issuer, "issuer", "", "issuer `URL`, as in the settings")
		f.StringVar(&o.statement.Reason, "reason", "", "why, for the log")
		f.BoolVar(&o.dryRun, "dry-run", false, "show the plan and change nothing")
		f.BoolVar(&o.yes, "yes", false, "do not ask")
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
	p, err := o.prepare()
	if err != nil {
		return err
	}
	plan, err := p.Plan(c.Context(), o.statement)
	if err != nil {
		return fmt.Errorf("%s: %w", o.statement.Action, err)
	}
	out := c.OutOrStdout()
	printPlan(out, plan)
	if o.dryRun || len(plan.Changes) == 0 {
		return nil
	}
	if !o.yes && !confirmed(out, c.InOrStdin()) {
		return errors.New("nothing was changed")
	}
	receipt, err := p.Operate(c.Context(), o.statement)
	if err != nil {
		return fmt.Errorf("%s: %w", o.statement.Action, err)
	}
	fmt.Fprintf(out, "Done (%s): publication %d is written and logged.\n", receipt.Status, receipt.Publication)
	o.printSettings(out)
	return nil
}

func (o *operateOptions) prepare() (*publish.Publisher, error) {
	settings, err := enrollment.Load(o.settings)
	if err != nil {
		return nil, err
	}
	if o.since != "" {
		if o.statement.Since, err = time.Parse(time.RFC3339, o.since); err != nil {
			return nil, fmt.Errorf("%w: --since: want a time such as 2026-11-20T00:00:00Z", errUsage)
		}
	}
	if o.keyFile != "" {
		if o.statement.Keys, err = keyfile.Read(o.keyFile); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(filepath.Join(o.data, "private")); err != nil {
		return nil, fmt.Errorf("--data: %s holds no publisher's data: %w", o.data, err)
	}
	documents, err := dir.Open(filepath.Join(o.data, "documents"))
	if err != nil {
		return nil, err
	}
	private, err := dir.Open(filepath.Join(o.data, "private"))
	if err != nil {
		return nil, err
	}
	return publish.New(publish.Config{Settings: settings, Documents: documents, Private: private, Logger: slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))})
}

func printPlan(out io.Writer, plan rotation.Decision) {
	if len(plan.Changes) == 0 {
		fmt.Fprintln(out, "It is so already: nothing to change.")
	} else {
		fmt.Fprintln(out, "This changes:")
	}
	for _, change := range plan.Changes {
		fmt.Fprintf(out, "  %-18s %s %s\n", change.Event, change.KeyID, change.Detail)
	}
	for _, finding := range plan.Findings {
		fmt.Fprintf(out, "  note: %s %s %s\n", finding.Event, finding.KeyID, finding.Detail)
	}
	fmt.Fprintln(out, "Published afterwards:")
	for _, c := range plan.State.Clusters {
		for _, key := range c.Keys {
			fmt.Fprintf(out, "  %-10s %s (%s, cluster %s)\n", key.Status, key.JWK.ID(), key.JWK.Algorithm(), c.ID)
		}
	}
}

func confirmed(out io.Writer, in io.Reader) bool {
	fmt.Fprint(out, "Go on? [y/N] ")
	line, _ := bufio.NewReader(in).ReadString('\n')
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
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
