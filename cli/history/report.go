package history

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

// Report is every log of a folder.
type Report struct {
	Logs []Log `json:"logs"`
}

// Log is one issuer's.
type Log struct {
	Issuer   string    `json:"issuer"`
	Records  []Record  `json:"records"`
	Keys     []Life    `json:"keys"`
	Problems []Problem `json:"problems,omitempty"`
	Notes    []string  `json:"notes,omitempty"`
}

// Record is one change of what was trusted or published.
type Record struct {
	Number   int64             `json:"number"`
	Received time.Time         `json:"received"`
	Kind     string            `json:"kind"`  // "snapshot", "operator: ACTION" or "settings or time"
	Trust    string            `json:"trust"` // why it was believed
	Reason   string            `json:"reason,omitempty"`
	Changes  []rotation.Change `json:"changes"`
	Digest   string            `json:"digest"` // what the next record names
}

// Life is one key's.
type Life struct {
	ID        string     `json:"id"`
	Cluster   string     `json:"cluster"`
	Algorithm string     `json:"algorithm"`
	Added     time.Time  `json:"added"`
	Record    int64      `json:"record"`
	Word      []string   `json:"word"` // IDs of the keys that vouched, or "enrollment" or "operator"
	Status    string     `json:"status"`
	Left      *time.Time `json:"left,omitempty"`
}

// Problem is a place where the log is not what a publisher wrote.
type Problem struct {
	Record int64  `json:"record"`
	What   string `json:"what"`
}

func (r Report) problems() int {
	n := 0
	for _, log := range r.Logs {
		n += len(log.Problems)
	}
	return n
}

// life follows the keys through a record.
func (w *walk) life(entry rotation.Entry) {
	for _, c := range entry.After {
		for _, key := range c.Keys {
			i := slices.IndexFunc(w.log.Keys, func(l Life) bool { return l.ID == key.JWK.ID() && l.Cluster == c.ID && l.Left == nil })
			if i < 0 {
				w.log.Keys = append(w.log.Keys, Life{
					ID: key.JWK.ID(), Cluster: c.ID, Algorithm: key.JWK.Algorithm(), Added: key.Added, Record: entry.Number, Word: key.VouchedBy,
				})
				i = len(w.log.Keys) - 1
			}
			w.log.Keys[i].Status = string(key.Status)
		}
	}
	for i := range w.log.Keys {
		l := &w.log.Keys[i]
		c, _ := clusterOf(entry.After, l.Cluster)
		there := slices.ContainsFunc(c.Keys, func(k rotation.Key) bool { return k.JWK.ID() == l.ID })
		if l.Left != nil || there {
			continue
		}
		left := entry.Received
		l.Status, l.Left = "gone", &left
		if slices.ContainsFunc(c.Revoked, func(r rotation.Revocation) bool { return r.ID == l.ID }) {
			l.Status = "revoked"
		}
	}
}

func (r Report) print(out io.Writer) error {
	for i, log := range r.Logs {
		if i > 0 {
			fmt.Fprintln(out)
		}
		if err := log.print(out); err != nil {
			return err
		}
	}
	return nil
}

func (l Log) print(out io.Writer) error {
	fmt.Fprintf(out, "ISSUER %s\n", l.Issuer)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, r := range l.Records {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", r.Number, r.Received.UTC().Format(time.RFC3339), r.Kind, r.word())
		for _, change := range r.Changes {
			fmt.Fprintf(w, "\t\t  %s\t%s\n", change.Event, strings.TrimSpace(change.Cluster+" "+change.KeyID))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nKEYS")
	for _, key := range l.Keys {
		left := ""
		if key.Left != nil {
			left = " " + key.Left.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\tcame %s on the word of %s (record %d)\t%s%s\n", key.ID, key.Cluster, key.Algorithm,
			key.Added.UTC().Format(time.RFC3339), strings.Join(key.Word, ", "), key.Record, key.Status, left)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	for _, problem := range l.Problems {
		fmt.Fprintf(out, "BROKEN  %s\n", problem.What)
	}
	for _, note := range l.Notes {
		fmt.Fprintf(out, "note    %s\n", note)
	}
	if len(l.Problems) == 0 {
		fmt.Fprintf(out, "The log holds: %d records, each naming the one before; every snapshot verified again.\n", len(l.Records))
	}
	return nil
}

func (r Record) word() string {
	switch {
	case r.Reason != "":
		return r.Reason
	case strings.HasPrefix(r.Kind, "settings"):
		return ""
	}
	return r.Trust
}
