package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// check is one line of a report. A warning is a check that failed and does not matter everywhere.
type check struct {
	Name   string `json:"name"`
	Result string `json:"result"` // ok, warning or failed; empty for what only tells
	Detail string `json:"detail"`
}

type report struct {
	Checks []check `json:"checks"`
}

func (r *report) tell(name, format string, args ...any) {
	r.Checks = append(r.Checks, check{name, "", fmt.Sprintf(format, args...)})
}

// hold records a check, and returns whether it held.
func (r *report) hold(name string, held bool, format string, args ...any) bool {
	result := "ok"
	if !held {
		result = "failed"
	}
	r.Checks = append(r.Checks, check{name, result, fmt.Sprintf(format, args...)})
	return held
}

func (r *report) warn(name string, wrong bool, format string, args ...any) {
	if wrong {
		r.Checks = append(r.Checks, check{name, "warning", fmt.Sprintf(format, args...)})
	}
}

func (r *report) failed() bool {
	for _, c := range r.Checks {
		if c.Result == "failed" {
			return true
		}
	}
	return false
}

func outputFlag(c *cobra.Command, format *string) {
	c.Flags().StringVarP(format, "output", "o", "table", "`format`: table, json or yaml")
}

func (r *report) print(out io.Writer, format string) error {
	switch format {
	case "json":
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	case "yaml":
		data, err := yaml.Marshal(r)
		if err == nil {
			_, err = out.Write(data)
		}
		return err
	case "table":
	default:
		return fmt.Errorf("%w: --output %q: want table, json or yaml", errUsage, format)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, c := range r.Checks {
		fmt.Fprintf(w, "%s\t%s\t%s\n", c.Result, c.Name, c.Detail)
	}
	return w.Flush()
}
