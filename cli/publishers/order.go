package publishers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/visible"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

const (
	quietFor   = 2 * time.Second // before it is told who is waited for
	againAfter = 10 * time.Second
)

var (
	// ErrNotAll means that a publisher could not be asked what the statement would do, so nothing was sent to any.
	ErrNotAll = errors.New("not every publisher can be asked")

	// ErrDeclined means that the person said no. Nothing was sent.
	ErrDeclined = errors.New("nothing was changed")

	// ErrFailed means that a publisher did not do it. Others may have.
	ErrFailed = errors.New("not done everywhere")
)

// Reply is what came of an order at one publisher.
type Reply struct {
	Publisher string   `json:"publisher"`
	Where     string   `json:"where"`
	Outcome   *Outcome `json:"outcome,omitempty"`
	Problem   string   `json:"problem,omitempty"`

	err error
}

// Conversation is one statement, and the publishers that are to have it: CarryOut, or Plan, then Confirm, then Send.
type Conversation struct {
	Publishers []Publisher
	Statement  rotation.Statement
	Reachable  bool      // go on with those that answer
	Out        io.Writer // what people read
	Progress   io.Writer
	In         io.Reader // where Confirm reads the answer

	Plans   []Reply
	Results []Reply
}

// Report is what a conversation came to, for programs.
type Report struct {
	Statement rotation.Statement `json:"statement"`
	Plans     []Reply            `json:"plans"`
	Results   []Reply            `json:"results,omitempty"`
}

// Report says what came of it so far.
func (c *Conversation) Report() Report { return Report{c.Statement, c.Plans, c.Results} }

// Choose takes the publishers with these names; without names, all.
func Choose(all []Publisher, names []string) ([]Publisher, error) {
	if len(names) == 0 {
		return all, nil
	}
	var chosen []Publisher
	for _, name := range names {
		i := slices.IndexFunc(all, func(p Publisher) bool { return p.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no publisher %s: there are %s", name, strings.Join(namesOf(all), ", "))
		}
		if !slices.ContainsFunc(chosen, func(p Publisher) bool { return p.Name == name }) {
			chosen = append(chosen, all[i])
		}
	}
	return chosen, nil
}

func namesOf(all []Publisher) []string {
	var names []string
	for _, p := range all {
		names = append(names, p.Name)
	}
	return names
}

// CarryOut plans, asks the person unless he has said yes before, and sends. The errors are those of the three.
func (c *Conversation) CarryOut(ctx context.Context, dryRun, yes bool) error {
	if err := c.Plan(ctx); err != nil || dryRun {
		return err
	}
	if !yes {
		if err := c.Confirm(); err != nil {
			return err
		}
	}
	return c.Send(ctx)
}

// Plan asks all publishers at once what the statement would do, and shows it. It changes nothing anywhere. The error is ErrNotAll if one did not
// answer and that is not accepted, or if none did.
func (c *Conversation) Plan(ctx context.Context) error {
	c.Plans = c.ask(ctx, true)
	failed := failures(c.Plans)
	for _, reply := range c.Plans {
		reply.printPlan(c.Out)
	}
	switch {
	case len(failed) == 0:
		return nil
	case c.Reachable && len(failed) < len(c.Plans):
		fmt.Fprintf(c.Out, "\nWITHOUT %s: tried once more, and if it does not answer then, it goes on publishing what it publishes. Send it there as soon as it does: the same command again.\n", strings.Join(failed, ", "))
		return nil
	}
	if len(failed) == len(c.Plans) {
		return fmt.Errorf("%w: none of %s answered with a plan: nothing was sent", ErrNotAll, strings.Join(failed, ", "))
	}
	return fmt.Errorf("%w: %s: nothing was sent to any. To go on without those that can't be asked: --reachable", ErrNotAll, strings.Join(failed, ", "))
}

// Changes reports whether the statement would change anything where it can be sent.
func (c *Conversation) Changes() bool {
	return slices.ContainsFunc(c.Plans, func(r Reply) bool { return r.Outcome != nil && len(r.Outcome.Changes) > 0 })
}

// Confirm asks the person, unless nothing would change. The error is ErrDeclined.
func (c *Conversation) Confirm() error {
	if c.Changes() && !command.Confirmed(c.Out, c.In) {
		return ErrDeclined
	}
	return nil
}

// Send sends the statement to all publishers at once, also to those where nothing would change: that finishes what a crash may have left. It shows
// one result each. The error is ErrFailed.
func (c *Conversation) Send(ctx context.Context) error {
	c.Results = c.ask(ctx, false)
	for _, reply := range c.Results {
		reply.printResult(c.Out)
	}
	if failed := failures(c.Results); len(failed) > 0 {
		return fmt.Errorf("%w: %s", ErrFailed, strings.Join(failed, ", "))
	}
	return nil
}

// ask sends an order to all. Who could not be asked for a plan is tried again, but not waited for as long.
func (c *Conversation) ask(ctx context.Context, dryRun bool) []Reply {
	replies := make([]Reply, len(c.Publishers))
	waiting := newWaiting(namesOf(c.Publishers))
	stop := waiting.tell(c.Progress)
	defer stop()
	var all sync.WaitGroup
	for i, p := range c.Publishers {
		all.Go(func() {
			defer waiting.done(p.Name)
			replies[i] = Reply{Publisher: p.Name, Where: p.Where()}
			limited, cancel := ctx, context.CancelFunc(func() {})
			if !dryRun && len(c.Plans) > i && errors.Is(c.Plans[i].err, ErrUnreachable) {
				limited, cancel = context.WithTimeout(ctx, planLimit)
			}
			defer cancel()
			outcome, err := p.Send(limited, Order{c.Statement, dryRun})
			if err != nil {
				replies[i].Problem, replies[i].err = visible.Line(err.Error()), err
				return
			}
			replies[i].Outcome = &outcome
		})
	}
	all.Wait()
	return replies
}

func failures(replies []Reply) []string {
	var names []string
	for _, r := range replies {
		if r.Outcome == nil {
			names = append(names, r.Publisher)
		}
	}
	return names
}

// Err is why there is no outcome: one of this package's errors, or nil.
func (r Reply) Err() error { return r.err }

func (r Reply) printPlan(out io.Writer) {
	fmt.Fprintf(out, "%s (%s):\n", r.Publisher, r.Where)
	if r.Outcome == nil {
		fmt.Fprintf(out, "  CAN'T BE ASKED: %s\n", r.Problem)
		return
	}
	if len(r.Outcome.Changes) == 0 {
		fmt.Fprintln(out, "  It is so already: nothing to change.")
	} else {
		fmt.Fprintln(out, "  This changes:")
	}
	for _, change := range r.Outcome.Changes {
		fmt.Fprintf(out, "    %-18s %s %s\n", change.Event, change.KeyID, change.Detail)
	}
	for _, finding := range r.Outcome.Findings {
		fmt.Fprintf(out, "    note: %s %s %s\n", finding.Event, finding.KeyID, finding.Detail)
	}
	fmt.Fprintln(out, "  Published afterwards:")
	for _, key := range r.Outcome.Published {
		fmt.Fprintf(out, "    %-10s %s (%s, cluster %s)\n", key.Status, key.KeyID, key.Algorithm, key.Cluster)
	}
	if len(r.Outcome.Published) == 0 {
		fmt.Fprintln(out, "    no key at all")
	}
}

func (r Reply) printResult(out io.Writer) {
	if r.Outcome == nil {
		fmt.Fprintf(out, "FAILED  %s: %s\n", r.Publisher, r.Problem)
		if errors.Is(r.err, ErrUnreachable) {
			fmt.Fprintln(out, "  It may have done it all the same: nobody knows before it answers. The same command again is safe.")
		}
		return
	}
	fmt.Fprintf(out, "Done (%s): publication %d is written and logged by %s.\n", r.Outcome.Status, r.Outcome.Publication, r.Publisher)
}

// waiting tells a person for whom a command waits, if it takes long.
type waiting struct {
	mu    sync.Mutex
	names []string
}

func newWaiting(names []string) *waiting { return &waiting{names: names} }

func (w *waiting) done(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.names = slices.DeleteFunc(w.names, func(n string) bool { return n == name })
}

// tell goes on until stop is called, which waits for it.
func (w *waiting) tell(out io.Writer) (stop func()) {
	ended, told := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(told)
		timer := time.NewTimer(quietFor)
		defer timer.Stop()
		for {
			select {
			case <-ended:
				return
			case <-timer.C:
				w.mu.Lock()
				fmt.Fprintf(out, "waiting for %s\n", strings.Join(w.names, ", "))
				w.mu.Unlock()
				timer.Reset(againAfter)
			}
		}
	}()
	return func() {
		close(ended)
		<-told
	}
}
