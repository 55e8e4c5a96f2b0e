package rotation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/keyfile"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

// Announcement is a statement, and how it gets through each kind of publisher's door.
type Announcement struct {
	Statement rotation.Statement `json:"statement"`
	DryRun    bool               `json:"dryRun,omitempty"`
}

var errNoReason = errors.New("say why with --reason: it is kept in every publisher's log")

func announceCommand() *cobra.Command {
	var a Announcement
	var keyFile string
	var output command.Output
	c := &cobra.Command{
		Use:   "announce",
		Short: "Print the statement that announces a key, and how to bring it to every publisher",
		Long: `announce makes the operator's statement by which publishers publish and trust a key before an API server uses it, and says how to bring it
to each of them. It sends nothing: a publisher's door opens to those whom its cloud lets in. On the publisher's own machine
"kube-iam-assume operate announce" carries it out at once.`,
		Example: `  kube-iam-assume rotation announce --issuer https://oidc.example.com/prod --cluster prod --key-file sa-new.pub --reason rotation
  kube-iam-assume rotation announce --issuer https://oidc.example.com/prod --cluster prod --key-file sa-new.pub --reason rotation -o json > statement.json`,
		Args: command.Exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if a.Statement.Reason == "" {
				return command.Usage(c, errNoReason)
			}
			keys, err := keyfile.Read(keyFile)
			if err != nil {
				return err
			}
			a.Statement.Action, a.Statement.Keys = rotation.Announce, keys
			return output.Print(c.OutOrStdout(), a, func(out io.Writer) error { return a.print(out, keyFile) })
		},
	}
	f := c.Flags()
	f.StringVar(&a.Statement.Issuer, "issuer", "", "issuer `URL`, as in the publisher's settings")
	f.StringVar(&a.Statement.Cluster, "cluster", "", "cluster `ID`")
	f.StringVar(&keyFile, "key-file", "", "`file` with public keys, as PEM or as a JWK Set")
	f.StringVar(&a.Statement.Reason, "reason", "", "why, for the log")
	f.BoolVar(&a.DryRun, "dry-run", false, "make a statement that publishers only plan")
	output.Flag(c)
	for _, name := range []string{"issuer", "cluster", "key-file", "reason"} {
		_ = c.MarkFlagRequired(name) // it exists
	}
	return c
}

func (a Announcement) print(out io.Writer, keyFile string) error {
	statement, err := json.Marshal(a)
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

To keep it in the settings, in the file of cluster %s:
announcedKeys: %s

Then: kube-iam-assume rotation wait --until published --key-file %s --url %s
`, statement, a.Statement.Issuer, a.Statement.Cluster, keyFile, a.Statement.Reason, dryRun, a.Statement.Cluster, a.Statement.Keys.Encode(), keyFile, a.Statement.Issuer)
	return nil
}
