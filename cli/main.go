// Command kube-iam-assume is what a person runs: it enrolls clusters, explains what is published, checks tokens as a cloud would, and
// takes an operator's statements to a publisher on this machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/bucketname"
	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/demo"
	"github.com/kube-iam-assume/kube-iam-assume/cli/doctor"
	"github.com/kube-iam-assume/kube-iam-assume/cli/history"
	"github.com/kube-iam-assume/kube-iam-assume/cli/inject"
	"github.com/kube-iam-assume/kube-iam-assume/cli/migrate"
	"github.com/kube-iam-assume/kube-iam-assume/cli/publishers"
	"github.com/kube-iam-assume/kube-iam-assume/cli/revoke"
	"github.com/kube-iam-assume/kube-iam-assume/cli/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
	"github.com/kube-iam-assume/kube-iam-assume/cli/values"
)

// Exit codes.
const (
	exitFailed = 1 // a check failed, or something was refused
	exitUsage  = 2
)

// errUsage marks what a person typed wrong.
var errUsage = command.ErrUsage

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := rootCommand().ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kube-iam-assume:", err)
	}
	return exitCode(err)
}

func exitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		return exitUsage
	}
	return exitFailed
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "kube-iam-assume",
		Short: "Secretless cloud access for self-hosted Kubernetes",
		Long: `kube-iam-assume publishes a cluster's public signing keys where AWS, Google Cloud, Azure and Vault can read them, and keeps them right
through every rotation. Workloads then get cloud access without a stored secret.`,
		Version: version, SilenceErrors: true, SilenceUsage: true,
		Args: knownCommand, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRunE: func(c *cobra.Command, _ []string) error { return usage(c, c.ValidateRequiredFlags()) },
	}
	root.SetFlagErrorFunc(usage)
	root.AddCommand(doctor.Command(), history.Command(), rotation.Command(), trust.Command(), setup.Command(), inject.Command(), migrate.Command(), values.Command(), bucketname.Command())
	root.AddCommand(revoke.Command(), publishers.Command())
	root.AddCommand(enrollCommand(), inspectCommand(), verifyCommand(), operateCommand(), demoCommand(), versionCommand())
	return root
}

// usage marks an error, if there is one, as what a person typed wrong.
func usage(c *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w; see %s --help", errUsage, err, c.CommandPath())
}

func knownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usage(c, fmt.Errorf("unknown command %q", args[0]))
}

// exactly is cobra.ExactArgs in words that help.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return fmt.Errorf("%w: want %s; see %s --help", errUsage, what, c.CommandPath())
	}
}

func demoCommand() *cobra.Command {
	o := demo.Options{}
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole path on this machine",
		Long: `demo runs exporter and publisher on this machine with an embedded stand-in for an API server, verifies a workload's token, rotates the
key, and attacks. With KUBECONFIG set it uses your own cluster's present issuer and keys: it makes one namespace, after asking, and
removes it at the end; it does not rotate.`,
		Example: "  kube-iam-assume demo\n  KUBECONFIG=~/.kube/config kube-iam-assume demo",
		Args:    exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			executable, err := os.Executable()
			if err != nil {
				return err
			}
			o.Out, o.In, o.Binaries, o.Kubeconfig = c.OutOrStdout(), c.InOrStdin(), filepath.Dir(executable), os.Getenv("KUBECONFIG")
			return demo.Run(c.Context(), o)
		},
	}
	c.Flags().BoolVar(&o.Keep, "keep", false, "leave everything running until Ctrl-C, to look at it")
	c.Flags().BoolVar(&o.Yes, "yes", false, "do not ask before making a namespace in your cluster")
	return c
}
