package rotation

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
)

// Status is where a rotation stands.
type Status struct {
	Stage   string   `json:"stage"` // what this looks like, and what comes next
	Round   Round    `json:"now"`
	Seen    []Seen   `json:"seen"` // what --watch saw, or a Last-Modified tells
	Outside string   `json:"outside"`
	Secrets []string `json:"legacySecrets,omitempty"`
	Problem string   `json:"legacySecretsProblem,omitempty"`
}

// Seen says since when a key is visible at a URL without a break, as far as is known.
type Seen struct {
	URL   string    `json:"url"`
	KeyID string    `json:"keyID"`
	Since time.Time `json:"since"`
	How   string    `json:"how"` // "watched", or "Last-Modified": at the latest since then
}

func statusCommand() *cobra.Command {
	var f flags
	var watch, poll time.Duration
	c := &cobra.Command{
		Use:   "status",
		Short: "Show which API server lists and signs with which key, and which keys are visible where",
		Long: `status asks every API server which keys it lists and which it signs with, and every public URL which keys it has. Since when a key is
visible it knows from Last-Modified, or from looking for a while (--watch). It changes nothing.`,
		Example: `  kube-iam-assume rotation status
  kube-iam-assume rotation status --url https://oidc.example.com/prod --url https://mirror.example.com/prod --watch 5m -o json`,
		Args: command.Exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if watch < 0 || poll <= 0 {
				return command.Usage(c, fmt.Errorf("--watch %s, --poll %s: want times", watch, poll))
			}
			s, err := f.sources(c.Context(), false)
			if err != nil {
				return err
			}
			status := look(c.Context(), s, watch, poll)
			if s.cluster != nil {
				status.Secrets, status.Problem = LegacySecrets(c.Context(), f.config)
			}
			return f.output.Print(c.OutOrStdout(), status, status.print)
		},
	}
	f.add(c)
	c.Flags().DurationVar(&watch, "watch", 0, "go on looking for this `time`")
	c.Flags().DurationVar(&poll, "poll", 10*time.Second, "`time` between two looks")
	return c
}

func look(ctx context.Context, s *sources, watch, poll time.Duration) Status {
	end := s.now().Add(watch)
	var seen []Seen
	for {
		r := s.look(ctx)
		seen = see(seen, r)
		if !s.now().Before(end) || pause(ctx, poll) != nil {
			return Status{Stage: stage(r), Round: r, Seen: seen, Outside: outside}
		}
	}
}

// see keeps what is still there, and adds what is new.
func see(before []Seen, r Round) []Seen {
	now := []Seen{}
	for _, u := range r.URLs {
		for _, id := range u.Keys {
			i := slices.IndexFunc(before, func(s Seen) bool { return s.URL == u.URL && s.KeyID == id })
			switch {
			case i >= 0:
				now = append(now, before[i])
			case u.Modified != nil:
				now = append(now, Seen{u.URL, id, *u.Modified, "Last-Modified"})
			default:
				now = append(now, Seen{u.URL, id, r.Ended, "watched"})
			}
		}
	}
	return now
}

// stage says in a sentence where a rotation stands.
func stage(r Round) string {
	signs, lists, published := map[string]bool{}, map[string]int{}, map[string]int{}
	for _, s := range r.Servers {
		if s.Problem != "" {
			return "Not every API server can be read: " + s.Address + ": " + s.Problem
		}
		signs[s.Signs] = true
		count(lists, s.Keys)
	}
	for _, u := range r.URLs {
		count(published, u.Keys)
	}
	for id := range signs {
		switch {
		case published[id] < len(r.URLs):
			return "TROUBLE: an API server signs with " + id + ", which not every URL has: its tokens are refused. Announce it now."
		case lists[id] < len(r.Servers):
			return "TROUBLE: an API server signs with " + id + ", which not every API server lists: they refuse each other's tokens."
		}
	}
	switch {
	case len(r.Servers) == 0:
		return "No API server was asked."
	case len(signs) > 1:
		return "In the middle of the switch: API servers sign with different keys. Go on with the next one; then `rotation wait --until unused`."
	}
	return calm(signs, lists, published, len(r.Servers))
}

// calm is the stage when all sign with one key, and everybody can verify it.
func calm(signs map[string]bool, lists, published map[string]int, servers int) string {
	for id, n := range lists {
		switch {
		case signs[id]:
		case n < servers:
			return "In the middle of adding " + id + ": not every API server lists it."
		default:
			return "Two keys are listed, one signs: before the switch (`rotation wait --until published`) or after it (`rotation wait --until unused`)."
		}
	}
	for id := range published {
		if !signs[id] {
			return "One key signs; others are published: announced, retiring, or another cluster's."
		}
	}
	return "At rest: one key signs, and it is published."
}

func count(counts map[string]int, ids []string) {
	for _, id := range ids {
		counts[id]++
	}
}

func (s Status) print(out io.Writer) error {
	fmt.Fprintln(out, s.Stage)
	printServers(out, s.Round.Servers)
	printURLs(out, s.Round.URLs)
	if len(s.Seen) > 0 {
		fmt.Fprintln(out, "\nVISIBLE SINCE")
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, seen := range s.Seen {
			fmt.Fprintf(w, "%s\t%s\t%s\t(%s)\n", seen.URL, seen.KeyID, seen.Since.UTC().Format(time.RFC3339), seen.How)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "\n%s\n", s.Outside)
	PrintSecrets(out, s.Secrets, s.Problem)
	return nil
}

func printServers(out io.Writer, servers []Server) {
	if len(servers) == 0 {
		return
	}
	fmt.Fprintln(out, "\nAPI SERVERS")
	for _, s := range servers {
		if s.Problem != "" {
			fmt.Fprintf(out, "  %s: %s\n", s.Address, s.Problem)
			continue
		}
		fmt.Fprintf(out, "  %s signs with %s; lists %s\n", s.Address, s.Signs, strings.Join(s.Keys, ", "))
	}
}

func printURLs(out io.Writer, urls []URL) {
	if len(urls) == 0 {
		return
	}
	fmt.Fprintln(out, "\nPUBLIC URLS")
	for _, u := range urls {
		if u.Problem != "" {
			fmt.Fprintf(out, "  %s: %s\n", u.URL, u.Problem)
			continue
		}
		fmt.Fprintf(out, "  %s has %s\n", u.URL, strings.Join(u.Keys, ", "))
	}
}
