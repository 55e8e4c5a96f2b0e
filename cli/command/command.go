// Package command is what the commands have in common, so that all of them answer alike: how a wrong call is told, the forms of a
// report, and when it has colour.
package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// ErrUsage marks what a person typed wrong; such a command exits with 2, not 1.
var ErrUsage = errors.New("usage")

// Usage marks an error, if there is one, as what a person typed wrong.
func Usage(c *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w; see %s --help", ErrUsage, err, c.CommandPath())
}

// Exactly is cobra.ExactArgs in words that help.
func Exactly(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return Usage(c, fmt.Errorf("want %s", what))
	}
}

// Output is the form of a report: table (for people), json or yaml.
type Output string

// Flag adds -o to a command.
func (o *Output) Flag(c *cobra.Command) {
	*o = "table"
	c.Flags().VarP(o, "output", "o", "`format`: table, json or yaml")
}

// String, Set and Type make it a flag's value.
func (o *Output) String() string { return string(*o) }

// Set refuses what there is no such form of, before the command has done anything.
func (o *Output) Set(value string) error {
	switch value {
	case "table", "json", "yaml":
		*o = Output(value)
		return nil
	}
	return errors.New("want table, json or yaml")
}

// Type is what help calls it.
func (o *Output) Type() string { return "format" }

// ForPeople reports whether nothing is to parse the report.
func (o *Output) ForPeople() bool { return *o == "table" || *o == "" }

// Print writes a report: by its JSON members, or with table.
func (o *Output) Print(out io.Writer, report any, table func(io.Writer) error) error {
	switch *o {
	case "json":
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(report)
	case "yaml":
		data, err := yaml.Marshal(report)
		if err == nil {
			_, err = out.Write(data)
		}
		return err
	}
	return table(out)
}

// Colours reports whether a person at a terminal reads the output and has not asked for none (https://no-color.org).
func Colours(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
