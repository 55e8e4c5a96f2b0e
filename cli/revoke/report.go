package revoke

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/cli/publishers"
	look "github.com/kube-iam-assume/kube-iam-assume/cli/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

// ErrStillPublished means that a public URL still had the key when it was looked at last, or could not be read.
var ErrStillPublished = errors.New("not seen to be gone at every URL")

// Report is all that came of it.
type Report struct {
	Statement rotation.Statement `json:"statement"`
	KeyIDs    []string           `json:"keyIDs"` // those that were named, and those that came in on their word
	Plans     []publishers.Reply `json:"plans"`
	Sent      *time.Time         `json:"sent,omitempty"`
	Results   []publishers.Reply `json:"results,omitempty"`
	Effect    []Effect           `json:"effect,omitempty"`
	Holders   *Holders           `json:"cluster,omitempty"`
	Consumers []Consumer         `json:"consumers,omitempty"`
	Settings  string             `json:"settings,omitempty"` // what to write into the cluster's file
}

func (r *revocation) report() *Report {
	ids := revokedIDs(r.Statement.KeyIDs, r.Plans, r.Results)
	return &Report{
		Statement: r.Statement, KeyIDs: ids, Plans: r.Plans, Results: r.Results, Holders: r.holders,
		Consumers: consumersOf(r.Statement.Issuer, r.Statement.Cluster, time.Now()), Settings: `revokedKeys: ["` + strings.Join(ids, `", "`) + `"]`,
	}
}

// plansOnly is a report of what was not done: there is nothing to clean up after.
func (r *Report) plansOnly() *Report {
	r.Consumers, r.Settings = nil, ""
	return r
}

// revokedIDs are those that were named, and those that any publisher swept away with them.
func revokedIDs(named []string, replies ...[]publishers.Reply) []string {
	ids := slices.Clone(named)
	for _, reply := range slices.Concat(replies...) {
		if reply.Outcome == nil {
			continue
		}
		for _, change := range reply.Outcome.Changes {
			if change.Event == rotation.KeyRevoked && !slices.Contains(ids, change.KeyID) {
				ids = append(ids, change.KeyID)
			}
		}
	}
	return ids
}

// inEffect is ErrStillPublished, with the URLs, and with the publishers that say themselves that they still publish a key (of another cluster of the
// issuer, as a rule), or nil.
func (r *Report) inEffect() error {
	var left []string
	for _, reply := range r.Results {
		if reply.Outcome != nil && slices.ContainsFunc(reply.Outcome.Published, func(k publishers.Key) bool { return slices.Contains(r.KeyIDs, k.KeyID) }) {
			left = append(left, "publisher "+reply.Publisher)
		}
	}
	for _, e := range r.Effect {
		if !e.Gone {
			left = append(left, e.URL)
		}
	}
	if len(left) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrStillPublished, strings.Join(left, ", "))
}

// print says what the conversation has not said before.
func (r *Report) print(out io.Writer) error {
	r.printEffect(out)
	if r.Holders != nil {
		if err := r.Holders.print(out, r.KeyIDs); err != nil {
			return err
		}
	}
	if len(r.Consumers) == 0 {
		return nil
	}
	fmt.Fprintln(out, "\nWHAT CONSUMERS MAY KEEP, AND SESSIONS THAT GO ON: withdrawing the key ends neither.")
	for _, c := range r.Consumers {
		c.print(out)
	}
	fmt.Fprintf(out, "\nTO KEEP IT, in the file of cluster %s, which alone survives a lost log:\n%s\n", r.Statement.Cluster, r.Settings)
	if r.Holders == nil {
		fmt.Fprintln(out, "\nThe cluster was not looked at. With --kubeconfig this says whether API servers still sign with the key, and which pods may hold its tokens.")
	}
	return nil
}

func (r *Report) printEffect(out io.Writer) {
	if len(r.Effect) == 0 {
		return
	}
	fmt.Fprintln(out, "\nIN EFFECT")
	for _, e := range r.Effect {
		switch {
		case e.Gone:
			fmt.Fprintf(out, "  %s: gone after %.1f s\n", e.URL, e.Seconds)
		case e.Problem != "":
			fmt.Fprintf(out, "  %s: NOT KNOWN after %.1f s: %s\n", e.URL, e.Seconds, e.Problem)
		default:
			fmt.Fprintf(out, "  %s: STILL THERE after %.1f s: %s\n", e.URL, e.Seconds, strings.Join(e.Still, ", "))
		}
	}
}

func (c Consumer) print(out io.Writer) {
	fmt.Fprintf(out, "\n%s\n  keeps the key: %s\n", c.Name, c.Keeps)
	if c.Forget != "" {
		fmt.Fprintf(out, "  forgets: %s\n", c.Forget)
	}
	for _, command := range c.Commands {
		fmt.Fprintf(out, "    %s\n", command)
	}
	fmt.Fprintf(out, "  sessions: %s\n", strings.ReplaceAll(c.Sessions, "\n", "\n    "))
	for _, command := range c.End {
		fmt.Fprintf(out, "    %s\n", command)
	}
}

// print says who may hold tokens of the keys, and what nobody can know.
func (h *Holders) print(out io.Writer, keyIDs []string) error {
	fmt.Fprintln(out, "\nWHO MAY HOLD TOKENS OF THE KEY")
	if h.Problem != "" {
		fmt.Fprintf(out, "  The cluster was not looked at: %s\n", h.Problem)
		return nil
	}
	for _, s := range h.Servers {
		switch {
		case s.Problem != "":
			fmt.Fprintf(out, "  API server %s: not known what it signs with: %s\n", s.Address, s.Problem)
		case slices.Contains(keyIDs, s.Signs):
			fmt.Fprintf(out, "  API server %s STILL SIGNS WITH IT: change its key, or nobody can log in\n", s.Address)
		default:
			fmt.Fprintf(out, "  API server %s signs with %s\n", s.Address, s.Signs)
		}
	}
	fmt.Fprintf(out, "  Reckoned from %s as the last moment at which the key signed (--stopped-signing, if it was earlier):\n", h.StoppedSigning.Format(time.RFC3339))
	if err := h.printPods(out); err != nil {
		return err
	}
	fmt.Fprintf(out, "  %d pods have the default token as well, which is for API servers and may live a year: restart them before the old public key leaves those.\n", h.DefaultTokens)
	fmt.Fprintln(out, "  Restart a pod and it has a token of the new key. Not known: tokens that somebody asked for himself (TokenRequest, kubectl create token), copies of tokens, pods that are gone.")
	look.PrintSecrets(out, h.Secrets, h.SecretsProblem)
	return nil
}

// printPods has one line for all pods of a service account with the same kind of token: that is what one restarts.
func (h *Holders) printPods(out io.Writer) error {
	if h.PodsProblem != "" {
		fmt.Fprintf(out, "  %s\n", h.PodsProblem)
	}
	if len(h.Pods) == 0 {
		fmt.Fprintln(out, "  No pod has a token for somebody outside from before then.")
		return nil
	}
	type group struct{ account, audience, life string }
	pods := map[group]int{}
	for _, p := range h.Pods {
		pods[group{p.ServiceAccount, p.Audience, p.Life}]++
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  SERVICE ACCOUNT\tPODS\tAUDIENCE\tLIFE\tREPLACED BY\tDEAD BY")
	for _, p := range h.Pods {
		g := group{p.ServiceAccount, p.Audience, p.Life}
		if pods[g] > 0 {
			fmt.Fprintf(w, "  %s\t%d\t%s\t%s\t%s\t%s\n", g.account, pods[g], g.audience, g.life, p.Replaced.Format(time.RFC3339), p.Expires.Format(time.RFC3339))
		}
		pods[g] = 0
	}
	return w.Flush()
}
