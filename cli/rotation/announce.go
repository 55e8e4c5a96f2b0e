package rotation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/keyfile"
	"github.com/kube-iam-assume/kube-iam-assume/cli/publishers"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

// announcement is a statement, and how it gets through each kind of publisher's door.
type announcement struct {
	publishers.Order

	keyFile, file  string
	only           []string
	yes, reachable bool
	output         command.Output
}

var errNoReason = errors.New("say why with --reason: it is kept in every publisher's log")

func announceCommand() *cobra.Command {
	var a announcement
	c := &cobra.Command{
		Use:   "announce",
		Short: "Announce a key to every publisher, or print the statement that does",
		Long: `announce makes the operator's statement by which publishers publish and trust a key before an API server uses it.

With --publishers it brings it to each of them, as whoever is logged in to its cloud: it shows what would change, asks, and shows one result each.
The same command again changes nothing more. Without, it sends nothing, and says how to bring the statement to each of them.`,
		Example: `  kube-iam-assume rotation announce --issuer https://oidc.example.com/prod --cluster prod --key-file sa-new.pub --reason rotation --publishers publishers.yaml
  kube-iam-assume rotation announce --issuer https://oidc.example.com/prod --cluster prod --key-file sa-new.pub --reason rotation -o json > statement.json`,
		Args: command.Exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error { return a.run(c) },
	}
	f := c.Flags()
	f.StringVar(&a.Statement.Issuer, "issuer", "", "issuer `URL`, as in the publisher's settings")
	f.StringVar(&a.Statement.Cluster, "cluster", "", "cluster `ID`")
	f.StringVar(&a.keyFile, "key-file", "", "`file` with public keys, as PEM or as a JWK Set")
	f.StringVar(&a.Statement.Reason, "reason", "", "why, for the log")
	f.BoolVar(&a.DryRun, "dry-run", false, "with --publishers: show the plans and change nothing; without: make a statement that publishers only plan")
	f.StringVar(&a.file, "publishers", "", "`file` that says how to reach every publisher: send it")
	f.StringSliceVar(&a.only, "only", nil, "with --publishers: send it to the publisher of this `name` alone, as often as needed")
	f.BoolVar(&a.yes, "yes", false, "with --publishers: do not ask")
	f.BoolVar(&a.reachable, "reachable", false, "with --publishers: go on without publishers that can't be asked")
	a.output.Flag(c)
	for _, name := range []string{"issuer", "cluster", "key-file", "reason"} {
		_ = c.MarkFlagRequired(name) // it exists
	}
	return c
}

func (a *announcement) run(c *cobra.Command) error {
	if a.Statement.Reason == "" {
		return command.Usage(c, errNoReason)
	}
	keys, err := keyfile.Read(a.keyFile)
	if err != nil {
		return err
	}
	a.Statement.Action, a.Statement.Keys = rotation.Announce, keys
	if a.file != "" {
		return a.send(c)
	}
	if a.yes || a.reachable || len(a.only) > 0 {
		return command.Usage(c, errors.New("--only, --yes and --reachable are about sending it: give --publishers"))
	}
	return a.output.Print(c.OutOrStdout(), a.Order, a.print)
}

func (a *announcement) send(c *cobra.Command) error {
	all, err := publishers.Load(a.file)
	if err != nil {
		return err
	}
	chosen, err := publishers.Choose(all, a.only)
	if err != nil {
		return command.Usage(c, fmt.Errorf("--only: %w", err))
	}
	talk := publishers.Conversation{
		Publishers: chosen, Statement: a.Statement, Reachable: a.reachable,
		Out: c.OutOrStdout(), Progress: c.ErrOrStderr(), In: c.InOrStdin(),
	}
	if !a.output.ForPeople() {
		talk.Out = c.ErrOrStderr() // what is asked is not part of the report
	}
	failed := talk.CarryOut(c.Context(), a.DryRun, a.yes)
	if err := a.output.Print(c.OutOrStdout(), talk.Report(), func(out io.Writer) error {
		if len(talk.Results) > 0 {
			a.printNext(out, chosen)
		}
		return nil
	}); err != nil {
		return err
	}
	return failed
}

func (a *announcement) print(out io.Writer) error {
	statement, err := json.Marshal(a.Order)
	if err != nil {
		return err
	}
	dryRun := ""
	if a.DryRun {
		dryRun = " --dry-run"
	}
	fmt.Fprintf(out, `statement.json (-o json prints it alone):
%s

Bring it to EVERY publisher of the issuer:
  on its own machine  kube-iam-assume operate announce --issuer %s --cluster %s --key-file %s --reason %q%s
  AWS                 aws lambda invoke --function-name $FUNCTION --cli-binary-format raw-in-base64-out --payload file://statement.json /dev/stdout
  Google Cloud        curl --fail-with-body -H "Authorization: Bearer $(gcloud auth print-identity-token)" --json @statement.json "$OPERATE_URL"
  Azure               curl --fail-with-body -H "Authorization: Bearer $TOKEN" --json @statement.json "$OPERATE_URL"
  all of them         this command with --publishers publishers.yaml, which kube-iam-assume publishers makes
`, statement, a.Statement.Issuer, a.Statement.Cluster, a.keyFile, a.Statement.Reason, dryRun)
	a.printNext(out, nil)
	return nil
}

// printNext says what to do with the key now, at every place where the publishers have the documents.
func (a *announcement) printNext(out io.Writer, to []publishers.Publisher) {
	places := []string{a.Statement.Issuer}
	for _, p := range to {
		if place := p.Place(a.Statement.Issuer); !slices.Contains(places, place) {
			places = append(places, place)
		}
	}
	fmt.Fprintf(out, `
To keep it in the settings, in the file of cluster %s:
announcedKeys: %s

Then: kube-iam-assume rotation wait --until published --key-file %s --url %s
`, a.Statement.Cluster, a.Statement.Keys.Encode(), a.keyFile, strings.Join(places, " --url "))
}
