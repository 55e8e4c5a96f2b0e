// Package revoke withdraws a signing key everywhere at once: at every publisher of its issuer, with one result each. Then it watches every public
// URL until the key is gone there, and says what is not in its hands: what consumers keep, what pods still hold, and sessions that are open.
//
// It needs no cluster, and waits for none: a look at one only adds to what it can say, except that it finds out whether API servers still sign
// with the key, and then wants to be told that this is meant.
package revoke

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/publishers"
	"github.com/kube-iam-assume/kube-iam-assume/cli/stranger"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

// ErrStillSigns means that an API server signs with the key, and nobody said that revoking it now is meant. Nothing was sent.
var ErrStillSigns = errors.New("the key still signs")

type options struct {
	statement rotation.Statement
	since     string

	publishers             string
	only                   []string
	dryRun, yes, reachable bool

	urls     []string
	caBundle string
	wait     time.Duration

	cluster    clusterFlags
	stillSigns bool
	output     command.Output
}

// Command is `kube-iam-assume revoke`.
func Command() *cobra.Command {
	o := &options{statement: rotation.Statement{Action: rotation.Revoke}}
	c := &cobra.Command{
		Use:   "revoke",
		Short: "Withdraw a signing key at every publisher now, and see that it is gone",
		Long: `revoke withdraws keys at every publisher of an issuer at once, and keeps them out. It asks each publisher what would change, shows it, and asks
you; then each has one result. It watches the public URLs until the key is gone there, and says how long that took. In the end it says what it
can't do: what each consumer may still keep, which pods may hold tokens of the key, and how to end the sessions that were opened with them.

A publisher that can't be asked stops it, before anything is sent. In an emergency don't wait for a cloud that is down: --reachable. The same
command again is safe at any time, and finishes what was not done.

With --kubeconfig or --context it also looks at the cluster: whether API servers still sign with the key, and who may hold its tokens.

Exit code 0: withdrawn at every publisher, and gone at every URL; 1: not everywhere, or nothing was sent; 2: wrong call.`,
		Example: `  kube-iam-assume revoke --issuer https://oidc.example.com/prod --cluster prod --key-id ID --reason "node 3 leaked" --dry-run
  kube-iam-assume revoke --issuer https://oidc.example.com/prod --cluster prod --key-id ID --with-word --since 2026-11-20T00:00:00Z --reason "node 3 leaked"`,
		Args: command.Exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return command.Usage(c, err)
			}
			return o.run(c)
		},
	}
	o.flags(c)
	return c
}

func (o *options) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.statement.Issuer, "issuer", "", "issuer `URL`, as in the publishers' settings")
	f.StringVar(&o.statement.Cluster, "cluster", "", "cluster `ID`")
	f.StringSliceVar(&o.statement.KeyIDs, "key-id", nil, "key `ID`, as often as needed")
	f.StringVar(&o.statement.Reason, "reason", "", "why, for every publisher's log")
	f.BoolVar(&o.statement.WithWord, "with-word", false, "revoke also every key that came in on these keys' word alone")
	f.StringVar(&o.since, "since", "", "with --with-word: only what came in at or after this `time` (RFC 3339)")
	f.StringVar(&o.publishers, "publishers", "publishers.yaml", "`file` that says how to reach every publisher")
	f.StringSliceVar(&o.only, "only", nil, "send it to the publisher of this `name` alone, as often as needed")
	f.BoolVar(&o.dryRun, "dry-run", false, "show the plans and change nothing")
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	f.BoolVar(&o.reachable, "reachable", false, "go on without publishers that can't be asked")
	f.BoolVar(&o.stillSigns, "yes-it-still-signs", false, "revoke a key that API servers sign with, and so shut all workloads out")
	f.StringArrayVar(&o.urls, "url", nil, "`URL` of a mirror to watch besides the issuer, as often as needed")
	f.StringVar(&o.caBundle, "ca-bundle", "", "PEM `file` with the authority of the URLs' hosts, if it is not a public one")
	f.DurationVar(&o.wait, "wait", -1, "watch the URLs for this `time` at most; 0: not at all; default: their cache time and half a minute")
	f.Lookup("wait").DefValue = "0s" // not shown: the default is no time of its own
	o.cluster.add(f)
	o.output.Flag(c)
	for _, name := range []string{"issuer", "cluster", "key-id", "reason"} {
		_ = c.MarkFlagRequired(name) // it exists
	}
}

func (o *options) check() error {
	for _, text := range append([]string{o.statement.Issuer}, o.urls...) {
		if u, err := url.Parse(text); err != nil || u.Scheme != "https" || u.Host == "" || strings.HasSuffix(text, "/") || u.RawQuery != "" || u.User != nil {
			return fmt.Errorf("%q: want https://HOST/PATH without a slash at its end", text)
		}
	}
	if strings.TrimSpace(o.statement.Reason) == "" {
		return errors.New("say why with --reason: it is kept in every publisher's log")
	}
	if len(o.statement.KeyIDs) == 0 || slices.Contains(o.statement.KeyIDs, "") {
		return errors.New("--key-id: want the ID of a key: kube-iam-assume inspect shows those that are published")
	}
	if o.since == "" {
		return o.cluster.check()
	}
	if !o.statement.WithWord {
		return errors.New("--since is about what came in on the keys' word: give --with-word as well")
	}
	var err error
	if o.statement.Since, err = time.Parse(time.RFC3339, o.since); err != nil {
		return errors.New("--since: want a time such as 2026-11-20T00:00:00Z")
	}
	return o.cluster.check()
}

func (o *options) run(c *cobra.Command) error {
	ctx, out := c.Context(), c.OutOrStdout()
	all, err := publishers.Load(o.publishers)
	if err != nil {
		return err
	}
	chosen, err := publishers.Choose(all, o.only)
	if err != nil {
		return command.Usage(c, fmt.Errorf("--only: %w", err))
	}
	watcher, err := stranger.New(o.caBundle, nil)
	if err != nil {
		return err
	}
	r := &revocation{
		options: o, stranger: watcher, places: o.places(all), known: all,
		Conversation: publishers.Conversation{Publishers: chosen, Statement: o.statement, Reachable: o.reachable, Out: out, Progress: c.ErrOrStderr(), In: c.InOrStdin()},
	}
	if !o.output.ForPeople() {
		r.Out = c.ErrOrStderr() // what is asked is not part of the report
	}
	report, failed := r.carryOut(ctx)
	if report == nil {
		return failed
	}
	if err := o.output.Print(out, report, report.print); err != nil {
		return err
	}
	return failed
}

// revocation is one that goes on.
type revocation struct {
	publishers.Conversation

	options  *options
	stranger stranger.Client
	places   []string // base URLs that are to lose the key
	known    []publishers.Publisher
	holders  *Holders
}

// carryOut returns a report as soon as there is something to report, whatever failed. What is to be done afterwards is in it only if a publisher has
// done it.
func (r *revocation) carryOut(ctx context.Context) (*Report, error) {
	looking := make(chan *Holders, 1)
	go func() { looking <- r.options.cluster.look(ctx, r.Statement) }()
	unasked := r.Plan(ctx)
	r.holders = <-looking
	report := r.report()
	if unasked != nil {
		return report.plansOnly(), unasked
	}
	if err := r.consider(report.KeyIDs); err != nil {
		return report.plansOnly(), err
	}
	if r.options.dryRun {
		return report.plansOnly(), nil
	}
	if !r.options.yes {
		if err := r.Confirm(); err != nil {
			return nil, err
		}
	}
	began, effect, failed := r.send(ctx, report.KeyIDs)
	report = r.report()
	report.Sent, report.Effect = &began, effect
	if r.nothingDone() {
		return report.plansOnly(), failed
	}
	return report, errors.Join(failed, report.inEffect())
}

// send sends the statement, and watches the URLs meanwhile and afterwards.
func (r *revocation) send(ctx context.Context, keyIDs []string) (began time.Time, effect []Effect, failed error) {
	began = time.Now()
	if r.options.wait == 0 {
		return began, nil, r.Send(ctx)
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	w := &watch{stranger: r.stranger, keyIDs: keyIDs, began: began, limit: r.options.wait, progress: r.Progress}
	seen := w.start(watching, r.places)
	failed = r.Send(ctx)
	if r.nothingDone() { // there is nothing to see
		stop()
		<-seen
		return began, nil, failed
	}
	w.settle(r.hopeless())
	return began, <-seen, failed
}

// nothingDone reports whether no publisher has done it.
func (r *revocation) nothingDone() bool {
	return !slices.ContainsFunc(r.Results, func(result publishers.Reply) bool { return result.Outcome != nil })
}

// hopeless are the places of publishers of which none has done it. Whose a mirror's URL is that only a flag names, nobody knows.
func (r *revocation) hopeless() []string {
	served, owned := map[string]bool{}, map[string]bool{}
	for _, p := range r.known {
		place := p.Place(r.Statement.Issuer)
		owned[place] = true
		if slices.ContainsFunc(r.Results, func(result publishers.Reply) bool { return result.Publisher == p.Name && result.Outcome != nil }) {
			served[place] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(r.places), func(place string) bool { return served[place] || !owned[place] })
}

// consider stops what a person would be sorry for, unless he said that he means it.
func (r *revocation) consider(keyIDs []string) error {
	for _, plan := range r.Plans {
		if plan.Outcome != nil && !slices.ContainsFunc(plan.Outcome.Published, func(k publishers.Key) bool {
			return k.Cluster == r.Statement.Cluster && (k.Status == rotation.Current || k.Status == rotation.Announced)
		}) {
			fmt.Fprintf(r.Out, "NOTE: %s has no other current or announced key of cluster %s: nobody can log in by its documents until API servers sign with a new key, which you announce.\n",
				plan.Publisher, r.Statement.Cluster)
		}
	}
	for _, doubt := range r.holders.doubts() {
		fmt.Fprintf(r.Out, "NOTE: whether the key still signs is not known: %s\n", doubt)
	}
	signing := r.holders.signing(keyIDs)
	if len(signing) == 0 {
		return nil
	}
	fmt.Fprintf(r.Out, "\nTHE KEY STILL SIGNS at %s. Revoked now, every token of the cluster is refused by every cloud until API servers sign with another key.\n", strings.Join(signing, ", "))
	if r.options.stillSigns || r.options.dryRun {
		return nil
	}
	return fmt.Errorf("%w at %s: nothing was sent. Announce a new key and let API servers sign with it first; or, if whoever has the key must be shut out now whatever it costs, give --yes-it-still-signs", ErrStillSigns, strings.Join(signing, ", "))
}

// places are the URLs below which the issuer's documents are, as far as flags and settings tell.
func (o *options) places(all []publishers.Publisher) []string {
	found := append([]string{o.statement.Issuer}, o.urls...)
	for _, p := range all {
		found = append(append(found, p.Place(o.statement.Issuer)), p.Mirrors(o.statement.Issuer)...)
	}
	var places []string
	for _, place := range found {
		if place = strings.TrimSuffix(place, stranger.JWKSPath); !slices.Contains(places, place) {
			places = append(places, place)
		}
	}
	return places
}
