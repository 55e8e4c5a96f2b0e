package doctor

import (
	"fmt"
	"io"
	"strings"
)

// Report is the whole chain.
type Report struct {
	Issuer  string         `json:"issuer"`
	Healthy bool           `json:"healthy"`         // nothing is broken, and nothing that was asked for is unknown
	First   string         `json:"first,omitempty"` // ID of the first broken check: repair this first
	Counts  map[Status]int `json:"counts"`
	Checks  []Result       `json:"checks"`
}

func newReport(issuer string, results []Result) Report {
	r := Report{Issuer: issuer, Healthy: true, Counts: map[Status]int{OK: 0, Warn: 0, Unknown: 0, Broken: 0, Skipped: 0}, Checks: results}
	for _, c := range results {
		r.Counts[c.Status]++
		if c.Status == Broken && r.First == "" {
			r.First = c.ID
		}
	}
	r.Healthy = r.Counts[Broken]+r.Counts[Unknown] == 0
	return r
}

// Check finds a result by its ID.
func (r Report) Check(id string) (Result, bool) {
	for _, c := range r.Checks {
		if c.ID == id {
			return c, true
		}
	}
	return Result{}, false
}

var colours = map[Status]string{OK: "\x1b[32m", Warn: "\x1b[33m", Unknown: "\x1b[35m", Broken: "\x1b[31m", Skipped: "\x1b[2m"}

// Print is for people: a link of the chain at a time, remedies below what needs one, and at the end what to repair first. all tells also
// what is well.
func (r Report) Print(out io.Writer, coloured, all bool) error {
	paint := func(s Status, text string) string {
		if !coloured {
			return text
		}
		return colours[s] + text + "\x1b[0m"
	}
	link := ""
	for _, c := range r.Checks {
		if c.Status == Skipped && !all {
			continue
		}
		if c.Link != link {
			link = c.Link
			fmt.Fprintf(out, "%s\n", link)
		}
		fmt.Fprintf(out, "  %s %-26s %s\n", paint(c.Status, fmt.Sprintf("%-7s", c.Status)), c.ID, printable(c.Detail))
		if c.Remedy != "" {
			fmt.Fprintf(out, "  %7s %-26s → %s\n", "", "", printable(c.Remedy))
		}
	}
	fmt.Fprintf(out, "\n%d ok, %d warnings, %d unknown, %d broken, %d skipped\n", r.Counts[OK], r.Counts[Warn], r.Counts[Unknown], r.Counts[Broken], r.Counts[Skipped])
	if first, found := r.Check(r.First); found {
		fmt.Fprintf(out, "\n%s %s: %s\n%s\n%s\n", paint(Broken, "First broken link:"), first.ID, first.Question, printable(first.Detail), printable(first.Remedy))
	}
	return nil
}

// printable keeps what a server sent from speaking to the terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, text)
}

// explain tells what a check does.
func explain(out io.Writer, id string) bool {
	for _, l := range chain() {
		for _, c := range l.checks {
			if c.id != id {
				continue
			}
			fmt.Fprintf(out, "%s (%s)\n%s\n\nHow:    %s\nRemedy: %s\n", c.id, l.name, c.question, c.how, c.remedy)
			if len(c.needs) > 0 {
				fmt.Fprintf(out, "Needs:  %s\n", strings.Join(c.needs, ", "))
			}
			return true
		}
	}
	return false
}
