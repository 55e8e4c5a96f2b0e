package values

import (
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
)

var https = regexp.MustCompile(`^https://[^/@?#\s]+(/[^/@?#\s]+)*$`)

// Command is `kube-iam-assume values`.
func Command() *cobra.Command {
	var cluster, issuer string
	var output command.Output
	c := &cobra.Command{
		Use:   "values FILE|-...",
		Short: "Print the exporter's Helm values from stacks' outputs",
		Long: `values reads what stacks say when they are deployed (the file of cdk deploy --outputs-file, or what terraform output -json prints) and prints one cluster's
values for the exporter's chart. Several files, of several clouds, become one exporter that sends to each publisher.`,
		Example: `  kube-iam-assume values outputs.json --cluster prod-eu1 > prod-eu1.yaml
  terraform output -json | kube-iam-assume values - outputs.json --cluster prod-eu1 --issuer https://oidc.example.com/prod-eu1
  helm install kube-iam-assume deploy/helm/kube-iam-assume --namespace kube-iam-assume --create-namespace --values prod-eu1.yaml`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return command.Usage(c, errors.New("want at least one file, or -"))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if issuer != "" && !https.MatchString(issuer) {
				return command.Usage(c, fmt.Errorf("--issuer %q: want https://HOST/PATH without a slash at its end", issuer))
			}
			var all []Values
			for _, name := range args {
				found, err := readFile(name, c.InOrStdin())
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				all = append(all, found...)
			}
			v, err := Choose(all, cluster, issuer)
			if errors.Is(err, ErrChoice) {
				return command.Usage(c, err)
			}
			if err != nil {
				return err
			}
			return output.Print(c.OutOrStdout(), v, v.text)
		},
	}
	c.Flags().StringVar(&cluster, "cluster", "", "`ID` of the cluster, if the stacks have several")
	c.Flags().StringVar(&issuer, "issuer", "", "`URL` that the API servers have, where the stacks' own differ because one publisher mirrors the other")
	output.Flag(c)
	return c
}

func readFile(name string, stdin io.Reader) ([]Values, error) {
	data, err := command.Read(name, stdin, MaxBytes)
	if err != nil {
		return nil, err
	}
	return Find(data)
}

// text writes the values in the order in which people write them.
func (v Values) text(out io.Writer) error {
	encoder := yaml.NewEncoder(out)
	encoder.SetIndent(2)
	encoder.CompactSeqIndent()
	if err := encoder.Encode(v); err != nil {
		return err
	}
	return encoder.Close()
}
