package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
)

var version = "dev" // set by the linker

func versionCommand() *cobra.Command {
	var output command.Output
	c := &cobra.Command{
		Use: "version", Short: "Print the version", Args: exactly(0, "no arguments"),
		Example: "  kube-iam-assume version -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			report := struct {
				Version  string `json:"version"`
				Go       string `json:"go"`
				Platform string `json:"platform"`
			}{version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			return output.Print(c.OutOrStdout(), report, func(out io.Writer) error {
				_, err := fmt.Fprintln(out, version)
				return err
			})
		},
	}
	output.Flag(c)
	return c
}
