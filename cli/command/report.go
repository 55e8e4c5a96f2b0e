package command

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Check is one line of a report. A warning is a check that failed and does not matter everywhere.
type Check struct {
	Name   string `json:"name"`
	Result string `json:"result"` // ok, warning or failed; empty for what only tells
	Detail string `json:"detail"`
}

// Report is a list of checks in the order in which they were made.
type Report struct {
	Checks []Check `json:"checks"`
}

// Tell records what is neither right nor wrong.
func (r *Report) Tell(name, format string, args ...any) {
	r.Checks = append(r.Checks, Check{name, "", fmt.Sprintf(format, args...)})
}

// Hold records a check, and returns whether it held.
func (r *Report) Hold(name string, held bool, format string, args ...any) bool {
	result := "ok"
	if !held {
		result = "failed"
	}
	r.Checks = append(r.Checks, Check{name, result, fmt.Sprintf(format, args...)})
	return held
}

// Warn records what is wrong for some, if it is.
func (r *Report) Warn(name string, wrong bool, format string, args ...any) {
	if wrong {
		r.Checks = append(r.Checks, Check{name, "warning", fmt.Sprintf(format, args...)})
	}
}

// Failed reports whether a check did not hold.
func (r *Report) Failed() bool {
	for _, c := range r.Checks {
		if c.Result == "failed" {
			return true
		}
	}
	return false
}

// Print writes the report in the form that was asked for.
func (r *Report) Print(out io.Writer, output Output) error {
	return output.Print(out, r, func(out io.Writer) error {
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, c := range r.Checks {
			fmt.Fprintf(w, "%s\t%s\t%s\n", c.Result, c.Name, c.Detail)
		}
		return w.Flush()
	})
}
