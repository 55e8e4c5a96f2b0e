package rotation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/keyfile"
	"github.com/kube-iam-assume/kube-iam-assume/cli/stranger"
)

var (
	// ErrNotReached means that it was not so for long enough within --timeout.
	ErrNotReached = errors.New("not reached")

	// ErrUnknowable means that waiting would prove nothing.
	ErrUnknowable = errors.New("can't be known from here")
)

// Evidence is why it is safe to go on.
type Evidence struct {
	Until    string     `json:"until"`
	KeyIDs   []string   `json:"keyIDs"`
	Reached  bool       `json:"reached"`
	Since    *time.Time `json:"since,omitempty"`   // it was so in every look from then on
	At       time.Time  `json:"at"`                // time of the last look
	Required string     `json:"required"`          // how long it must have been so
	Why      string     `json:"why"`               // what that time is made of
	Looks    int        `json:"looks"`             // since then
	Resumed  bool       `json:"resumed,omitempty"` // some of them were an earlier run's, which --state kept
	Missing  []string   `json:"missing,omitempty"`
	Last     Round      `json:"last"`
	Outside  string     `json:"outside"` // what this says nothing about
	Secrets  []string   `json:"legacySecrets,omitempty"`
	Problem  string     `json:"legacySecretsProblem,omitempty"`

	// Pods that were made before Since, so that their default tokens of then, which live a year, may be in their memory.
	Pods        []string `json:"olderPods,omitempty"`
	PodsProblem string   `json:"olderPodsProblem,omitempty"`
}

const outside = "This is about consumers outside the cluster. Inside, tokens of pods may live a year (Kubernetes extends default ones), and tokens in " +
	"secrets for ever: before the old public key leaves the API servers, restart the pods that still hold such a token, and replace the secrets."

type waiting struct {
	flags
	goal    goal
	keyFile string
	poll    time.Duration
	timeout time.Duration
	state   string // file that keeps what was seen; "" for none

	of []string // what is looked at, by which a kept record is known again
}

func waitCommand() *cobra.Command {
	w := &waiting{}
	c := &cobra.Command{
		Use:   "wait",
		Short: "Wait until a new key is published everywhere, or an old one unused, and show the evidence",
		Long: `wait looks again and again until it is safe to take the next step of a rotation.

--until published: every URL has the new key, in every look for the whole cache time (the longest max-age that was seen, and at least
--cache-time), so that no consumer that honours caching can lack it. Then API servers may sign with it.

--until unused: every API server signs with another key, in every look for as long as the longest token lives, and the skew of clocks. Then
nothing outside accepts or needs the old key any more. An API server that can't be read, or is not listed for a while, may be signing with
it, so the time begins anew.

--state keeps what was seen in a file, so that a wait that was cut off goes on when it is started again. The time in which nobody looked counts as not seen: after
a pause of more than two polls the time begins anew, and only what was learned stays (how many API servers there are, the longest token, the longest max-age).

Exit code 0: reached; 1: not, within --timeout; 2: wrong call.`,
		Example: `  kube-iam-assume rotation wait --until published --key-file sa-new.pub --url https://oidc.example.com/prod --url https://mirror.example.com/prod
  kube-iam-assume rotation wait --until unused --key-id $OLD --state unused.json --timeout 26h -o json > evidence.json`,
		Args: command.Exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error { return w.run(c) },
	}
	w.add(c)
	f := c.Flags()
	f.StringVar(&w.goal.until, "until", "", Published+" or "+Unused)
	f.StringSliceVar(&w.goal.keyIDs, "key-id", nil, "key `ID`, as often as needed")
	f.StringVar(&w.keyFile, "key-file", "", "`file` with the public keys instead, as PEM or JWK Set")
	f.DurationVar(&w.goal.cache, "cache-time", 10*time.Minute, "published: how `long` at least; some clouds were seen to take ten minutes to look again")
	f.DurationVar(&w.goal.life, "token-lifetime", 0, "unused: `life` of the longest token; default: what the API servers give to one who asks for ten years")
	f.DurationVar(&w.goal.skew, "skew", 5*time.Minute, "unused: `time` that verifiers forgive after a token's end; AWS forgives 5 minutes")
	f.IntVar(&w.goal.servers, "api-servers", 0, "unused: `number` of API servers; default: the most that were listed while waiting")
	f.BoolVar(&w.goal.through, "through-balancer", false, "unused: accept that API servers can't be told apart from here")
	f.DurationVar(&w.poll, "poll", 10*time.Second, "`time` between two looks")
	f.DurationVar(&w.timeout, "timeout", 0, "give up after this `time`; default: never")
	f.StringVar(&w.state, "state", "", "`file` that keeps what was seen, to go on from; default: none is kept")
	_ = c.MarkFlagRequired("until") // it exists
	return c
}

func (w *waiting) run(c *cobra.Command) error {
	if err := w.check(); err != nil {
		return command.Usage(c, err)
	}
	s, err := w.sources(c.Context(), w.goal.until == Unused)
	if err != nil {
		return err
	}
	s.probe = w.goal.until == Unused && w.goal.life == 0
	if w.goal.until == Published && len(s.urls) == 0 {
		return command.Usage(c, errors.New("no --url, and no API server says its issuer"))
	}
	if err := w.identify(c.Context(), s); err != nil {
		return err
	}
	if w.goal.until == Unused {
		s.urls = nil
	}
	evidence, err := w.wait(c.Context(), s, c.ErrOrStderr())
	if evidence == nil {
		return err
	}
	w.inside(c.Context(), s, evidence)
	if printed := w.output.Print(c.OutOrStdout(), evidence, evidence.print); printed != nil {
		return printed
	}
	return err
}

// inside adds what the evidence says nothing about.
func (w *waiting) inside(ctx context.Context, s *sources, e *Evidence) {
	if s.cluster == nil {
		e.Problem = "no cluster was asked"
		return
	}
	e.Secrets, e.Problem = LegacySecrets(ctx, w.config)
	if w.goal.until == Unused && e.Since != nil {
		e.Pods, e.PodsProblem = podsBefore(ctx, w.config, *e.Since)
	}
}

func (w *waiting) check() error {
	switch {
	case w.goal.until != Published && w.goal.until != Unused:
		return fmt.Errorf("--until %q: want %s or %s", w.goal.until, Published, Unused)
	case w.poll <= 0 || w.goal.cache < 0 || w.goal.life < 0 || w.goal.skew < 0 || w.timeout < 0 || w.goal.servers < 0:
		return errors.New("times and numbers can't be negative, and --poll not zero")
	}
	if w.keyFile != "" {
		keys, err := keyfile.Read(w.keyFile)
		if err != nil {
			return err
		}
		w.goal.keyIDs = append(w.goal.keyIDs, keys.IDs()...)
	}
	slices.Sort(w.goal.keyIDs)
	w.goal.keyIDs = slices.Compact(w.goal.keyIDs) // a record has each once
	if len(w.goal.keyIDs) == 0 || w.goal.keyIDs[0] == "" {
		return errors.New("which key? give --key-id or --key-file")
	}
	w.goal.gap = 2*w.poll + 5*time.Second // from the end of one look to the next
	return nil
}

// identify finds out whose evidence a record will be.
func (w *waiting) identify(ctx context.Context, s *sources) error {
	if w.goal.until == Published {
		for _, u := range s.urls {
			w.of = append(w.of, u+stranger.JWKSPath)
		}
	} else if w.state != "" {
		readings, _, err := s.cluster.Read(ctx)
		if err != nil {
			return err
		}
		for _, r := range readings {
			if r.Issuer != "" {
				w.of = append(w.of, r.Issuer)
			}
		}
		if len(w.of) == 0 {
			return fmt.Errorf("--state: %w: no API server says its issuer, so nobody could tell later whose record it is", ErrUnknowable)
		}
	}
	slices.Sort(w.of)
	w.of = slices.Compact(w.of)
	return nil
}

// wait looks until it is reached. With ErrNotReached there is evidence, too: of what is missing.
func (w *waiting) wait(ctx context.Context, s *sources, progress io.Writer) (*Evidence, error) {
	if w.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.timeout)
		defer cancel()
	}
	t, err := w.begin(progress)
	if err != nil {
		return nil, err
	}
	var r Round
	var v verdict
	for said, looks := "", 0; ; looks++ {
		next := s.look(ctx)
		if ctx.Err() != nil && looks == 0 {
			return nil, fmt.Errorf("%w: the first look was cut off", ErrNotReached)
		}
		if ctx.Err() != nil { // a look that was cut off shows nothing
			return w.evidence(t, v, r), fmt.Errorf("%w: %s", ErrNotReached, v)
		}
		r = next
		v = t.observe(r)
		if err := errors.Join(w.knowable(t, r), w.keep(t, looks == 0, progress)); err != nil {
			return nil, err
		}
		if v.Reached {
			return w.evidence(t, v, r), nil
		}
		if now := v.String(); now != said {
			fmt.Fprintf(progress, "%s %s\n", r.Ended.UTC().Format(time.RFC3339), now)
			said = now
		}
		if err := pause(ctx, w.next(v, s.now())); err != nil {
			return w.evidence(t, v, r), fmt.Errorf("%w: %s", ErrNotReached, v)
		}
	}
}

// knowable is ErrUnknowable if waiting is in vain.
func (w *waiting) knowable(t *tracker, r Round) error {
	switch {
	case w.goal.until != Unused:
	case r.hidden() && !w.goal.through:
		return fmt.Errorf("%w: which API server signs with which key: none of their addresses can be reached, and a balancer hides them. Run it on a node, or accept the doubt with --through-balancer", ErrUnknowable)
	case t.required() > maxWait:
		return fmt.Errorf("%w: API servers give tokens for %s, so the old key may be in use for that long. Set --service-account-max-token-expiration=24h on every API server; if you know the longest token that is there, give --token-lifetime", ErrUnknowable, t.required())
	}
	return nil
}

// begin is a tracker that knows nothing, or what the record says.
func (w *waiting) begin(progress io.Writer) (*tracker, error) {
	t := &tracker{goal: w.goal}
	if w.state == "" {
		return t, nil
	}
	kept, err := readRecord(w.state)
	if kept == nil {
		return t, err
	}
	if err := t.resume(*kept, w.of); err != nil {
		return nil, fmt.Errorf("%s: %w: give this one another --state", w.state, err)
	}
	fmt.Fprintf(progress, "%s goes on from %s\n", kept.Last.Format(time.RFC3339), w.state)
	return t, nil
}

// keep writes down what was seen. A file that can't be written at first is an error; later, what is on the disk is old and still true.
func (w *waiting) keep(t *tracker, first bool, progress io.Writer) error {
	if t.broken != "" {
		fmt.Fprintf(progress, "%s %s: the time begins anew\n", t.last.UTC().Format(time.RFC3339), t.broken)
	}
	if w.state == "" {
		return nil
	}
	err := t.record(w.of).write(w.state)
	if err != nil && first {
		return fmt.Errorf("--state: %w", err)
	}
	if err != nil {
		fmt.Fprintf(progress, "%s warning: --state could not be written, so a restart would begin from an earlier look: %v\n", t.last.UTC().Format(time.RFC3339), err)
	}
	return nil
}

// maxWait is the longest time that anybody can wait for tokens to end.
const maxWait = 60 * 24 * time.Hour

// next is the time to the next look: exactly when it may be reached, if that is before the next poll.
func (w *waiting) next(v verdict, now time.Time) time.Duration {
	if left := v.At.Sub(now); !v.Since.IsZero() && left < w.poll {
		return max(left, time.Millisecond)
	}
	return w.poll
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *waiting) evidence(t *tracker, v verdict, r Round) *Evidence {
	e := &Evidence{
		Until: w.goal.until, KeyIDs: w.goal.keyIDs, Reached: v.Reached, At: r.Ended, Required: v.Required.String(), Looks: t.rounds, Resumed: t.resumed && t.rounds > 0,
		Missing: v.Missing, Last: r, Outside: outside,
	}
	if !v.Since.IsZero() {
		e.Since = &v.Since
	}
	switch {
	case w.goal.until == Published:
		e.Why = fmt.Sprintf("the longest max-age seen is %s, --cache-time %s", t.age, w.goal.cache)
	case w.goal.life > 0:
		e.Why = fmt.Sprintf("--token-lifetime %s and --skew %s", w.goal.life, w.goal.skew)
	default:
		e.Why = fmt.Sprintf("the longest token that an API server gives lives %s; and --skew %s", t.seen, w.goal.skew)
	}
	return e
}

func (e *Evidence) print(out io.Writer) error {
	word := map[bool]string{true: "REACHED", false: "NOT REACHED"}[e.Reached]
	fmt.Fprintf(out, "%s: %s: %s\n", word, strings.Join(e.KeyIDs, ", "), e.Until)
	if e.Since != nil {
		earlier := map[bool]string{true: ", some of them by an earlier run"}[e.Resumed]
		fmt.Fprintf(out, "  so in all of %d looks from %s to %s%s\n", e.Looks, e.Since.UTC().Format(time.RFC3339), e.At.UTC().Format(time.RFC3339), earlier)
	}
	fmt.Fprintf(out, "  needed %s: %s\n", e.Required, e.Why)
	for _, missing := range e.Missing {
		fmt.Fprintf(out, "  missing: %s\n", missing)
	}
	printServers(out, e.Last.Servers)
	printURLs(out, e.Last.URLs)
	fmt.Fprintf(out, "\n%s\n", e.Outside)
	PrintSecrets(out, e.Secrets, e.Problem)
	if e.Until == Unused && e.Since != nil {
		printPods(out, e.Pods, e.PodsProblem)
	}
	return nil
}
