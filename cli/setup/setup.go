// Package setup is the command that registers clusters' issuers where their workloads want to get in.
package setup

import (
	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/aws"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/azure"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/cluster"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/gcp"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/vault"
)

// Command is `kube-iam-assume setup`.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use:   "setup",
		Short: "Register clusters' issuers at AWS, Google Cloud, Azure or Vault, or show the API servers' flags",
		Long: `setup registers a cluster's issuer where its workloads want to get in, and lets service accounts in. It finds what is there, shows what differs, asks, and
changes only that: a second run changes nothing. trust prints the policies alone.`,
		Args: command.Exactly(0, "one of the commands below"),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(aws.Command(), azure.Command(nil), gcp.Command(), vault.Command(), cluster.Command())
	return c
}
