package publishers

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
)

// Command is `kube-iam-assume publishers`.
func Command() *cobra.Command {
	var missing Missing
	c := &cobra.Command{
		Use:   "publishers FILE|-...",
		Short: "Print publishers.yaml, by which every publisher is reached, from stacks' outputs",
		Long: `publishers reads what stacks say when they are deployed (the file of cdk deploy --outputs-file, or what terraform output -json prints) and prints
the file by which revoke, operate and rotation announce reach the operator's door of every publisher. Several files, of several clouds, become
one. It holds no secret. Write it now, and keep it where you find it at night.

A standalone publisher has no outputs: add it by hand, as directory: {settings: publisher.yaml, data: /var/lib/kube-iam-assume}.`,
		Example: `  kube-iam-assume publishers outputs.json > publishers.yaml
  terraform output -json | kube-iam-assume publishers - outputs.json --audience api://kube-iam-assume-operators > publishers.yaml`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return command.Usage(c, errors.New("want at least one file, or -"))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return write(c.OutOrStdout(), c.InOrStdin(), args, missing)
		},
	}
	c.Flags().StringVar(&missing.Audience, "audience", "", "Azure: application ID `URI` of the operator's door, unless an output operator_audience says it")
	c.Flags().StringVar(&missing.TenantID, "tenant-id", "", "Azure: `ID` of the tenant to log in to, if it is not the login's own, unless an output operator_tenant_id says it")
	return c
}

func write(out io.Writer, stdin io.Reader, files []string, missing Missing) error {
	var all []Publisher
	for _, name := range files {
		outputs, err := command.Read(name, stdin, maxOutputs)
		if err != nil {
			return err
		}
		found, err := Find(outputs, missing)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, found...)
	}
	merged, err := merge(all)
	if err != nil {
		return err
	}
	text, err := Encode(merged)
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}
