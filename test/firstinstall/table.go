package firstinstall

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Goal is what a first install should ask of a person, after the tools are there.
const Goal = 5 * time.Minute

// A Row is a step that was followed.
type Row struct {
	Step
	Answers int           // to what its commands asked
	Took    time.Duration // the machine's
}

// WriteTable prints what was counted and measured, with sums, and the goal beside what the page claims.
func WriteTable(w io.Writer, rows []Row) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var sum struct {
		commands, answers, files, copies int
		took, once, perServer            time.Duration
	}
	fmt.Fprintln(table, "step\tcommands\tanswers\tfiles\tcopies\tmachine\tattention, as the page claims")
	for i, r := range rows {
		once, perServer, err := r.Attention()
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "%d. %s\t%d\t%d\t%d\t%d\t%.1f s\t%s\n", i+1, r.Title, r.Commands(), r.Answers, r.Files(), len(r.Copies()), r.Took.Seconds(), r.Claim)
		sum.commands += r.Commands()
		sum.answers += r.Answers
		sum.files += r.Files()
		sum.copies += len(r.Copies())
		sum.took, sum.once, sum.perServer = sum.took+r.Took, sum.once+once, sum.perServer+perServer
	}
	fmt.Fprintf(table, "all\t%d\t%d\t%d\t%d\t%.1f s\t%s, and %s per API server\n", sum.commands, sum.answers, sum.files, sum.copies, sum.took.Seconds(), sum.once, sum.perServer)
	verdict := "kept, but for the API servers"
	if over := sum.once - Goal; over > 0 {
		verdict = fmt.Sprintf("missed by %s, and the API servers", over)
	}
	fmt.Fprintf(table, "goal\t\t\t\t\t\t%s: %s\n", Goal, verdict)
	return table.Flush()
}

// WriteSubstitutions prints what was not followed literally, and why.
func WriteSubstitutions(w io.Writer, all []Substitution) error {
	for _, s := range all {
		if _, err := fmt.Fprintf(w, "not as it is written: %s (%s)\n", strings.TrimSpace(s.Page), s.Why); err != nil {
			return err
		}
	}
	return nil
}
