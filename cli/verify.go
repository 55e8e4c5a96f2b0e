package main

import (
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/stranger"
	"github.com/kube-iam-assume/kube-iam-assume/cli/token"
)

var errNotAccepted = errors.New("a cloud would refuse this token; the report above says why")

func verifyCommand() *cobra.Command {
	var issuer, audience, caBundle string
	var output command.Output
	c := &cobra.Command{
		Use:   "verify FILE|-",
		Short: "Check a token against the published documents, as a cloud would",
		Long: `verify reads a service account token from a file or standard input, fetches the issuer's documents as a stranger, and names every check
that a cloud makes. The token is never printed.`,
		Example: "  kubectl create token payments -n prod --audience sts.amazonaws.com | kube-iam-assume verify - --issuer https://oidc.example.com/prod --audience sts.amazonaws.com",
		Args:    exactly(1, "a file with a token, or - for standard input"),
		RunE: func(c *cobra.Command, args []string) error {
			data, err := readInput(args[0], c.InOrStdin())
			if err != nil {
				return err
			}
			s, err := stranger.New(caBundle, nil)
			if err != nil {
				return err
			}
			r := token.Verify(c.Context(), s, strings.TrimSpace(string(data)), issuer, audience, time.Now())
			if err := r.Print(c.OutOrStdout(), output); err != nil {
				return err
			}
			if r.Failed() {
				return errNotAccepted
			}
			return nil
		},
	}
	c.Flags().StringVar(&issuer, "issuer", "", "issuer `URL` that the cloud has registered")
	c.Flags().StringVar(&audience, "audience", "", "the `audience` that the cloud wants, such as sts.amazonaws.com")
	c.Flags().StringVar(&caBundle, "ca-bundle", "", "PEM `file` with the authority of the issuer's host, if it is not a public one")
	output.Flag(c)
	for _, name := range []string{"issuer", "audience"} {
		_ = c.MarkFlagRequired(name) // it exists
	}
	return c
}
