package publishers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// answering is a door that says what a publisher says.
type answering struct {
	changes bool
	err     error
	hangs   bool
	orders  []bool // dry runs or not
}

func (a *answering) send(ctx context.Context, order []byte) ([]byte, error) {
	var o Order
	if err := json.Unmarshal(order, &o); err != nil {
		return nil, err
	}
	a.orders = append(a.orders, o.DryRun)
	if a.hangs {
		<-ctx.Done()
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, ctx.Err())
	}
	status, changes := "unchanged", ""
	if o.DryRun {
		status = "planned"
	}
	if a.changes {
		changes = `{"event":"key.revoked","keyID":"k"}`
	}
	if a.changes && !o.DryRun {
		status = "accepted"
	}
	return fmt.Appendf(nil, `{"status":%q,"publication":1,"changes":[%s]}`, status, changes), a.err
}

// Nothing is sent before everybody was asked and the person has said yes; and then it is sent to all.
func TestConversation(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		a, b                   answering
		reachable, yes, dryRun bool
		answer                 string
		want                   error
		orders                 []bool // that a gets
		says                   string
	}{
		"yes":                   {a: answering{changes: true}, answer: "y\n", orders: []bool{true, false}, says: "Done (accepted): publication 1 is written and logged by a."},
		"said before":           {a: answering{changes: true}, yes: true, orders: []bool{true, false}},
		"no":                    {a: answering{changes: true}, answer: "n\n", want: ErrDeclined, orders: []bool{true}},
		"nobody there":          {a: answering{changes: true}, want: ErrDeclined, orders: []bool{true}},
		"only a plan":           {a: answering{changes: true}, dryRun: true, orders: []bool{true}},
		"nothing to ask":        {orders: []bool{true, false}, says: "It is so already: nothing to change."},
		"one shuts us out":      {a: answering{changes: true}, b: answering{err: ErrForbidden}, yes: true, want: ErrNotAll, orders: []bool{true}, says: "CAN'T BE ASKED: publisher b: not allowed"},
		"the other is enough":   {a: answering{changes: true}, b: answering{err: ErrForbidden}, reachable: true, yes: true, want: ErrFailed, orders: []bool{true, false}, says: "FAILED  b: publisher b: not allowed"},
		"none can be asked":     {a: answering{err: ErrLogin}, b: answering{err: ErrLogin}, reachable: true, yes: true, want: ErrNotAll, orders: []bool{true}},
		"a plan for one of two": {a: answering{changes: true}, b: answering{err: ErrRefused}, reachable: true, dryRun: true, orders: []bool{true}, says: "WITHOUT b: "},
	} {
		var out bytes.Buffer
		c := Conversation{
			Publishers: []Publisher{{Name: "a", Directory: &Directory{}, through: &test.a}, {Name: "b", Directory: &Directory{}, through: &test.b}},
			Reachable:  test.reachable, Out: &out, Progress: &out, In: strings.NewReader(test.answer),
		}
		err := c.CarryOut(t.Context(), test.dryRun, test.yes)
		if !errors.Is(err, test.want) || !slices.Equal(test.a.orders, test.orders) || !strings.Contains(out.String(), test.says) {
			t.Errorf("%s: %v, want %v; orders %v, want %v\n%s", name, err, test.want, test.a.orders, test.orders, &out)
		}
	}
}

// Nobody waits long for a cloud that takes a connection and says nothing, and is told for whom he waits.
func TestHangingCloud(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		good, hanging := &answering{changes: true}, &answering{hangs: true}
		c := Conversation{
			Publishers: []Publisher{{Name: "good", Directory: &Directory{}, through: good}, {Name: "dead", Directory: &Directory{}, through: hanging}},
			Reachable:  true, Out: &bytes.Buffer{}, Progress: &out, In: strings.NewReader(""),
		}
		began := time.Now()
		err := c.CarryOut(t.Context(), false, true)
		if took := time.Since(began); !errors.Is(err, ErrFailed) || took > 2*planLimit || c.Results[0].Outcome == nil || !errors.Is(c.Results[1].Err(), ErrUnreachable) {
			t.Errorf("after %s: %v, %+v", took, err, c.Results)
		}
		if !strings.HasPrefix(out.String(), "waiting for dead\n") {
			t.Errorf("progress: %s", &out)
		}
	})
}

func TestChoose(t *testing.T) {
	t.Parallel()
	all := []Publisher{{Name: "a"}, {Name: "b"}}
	for names, want := range map[string]string{"": "a b", "b": "b", "b a b": "b a"} {
		if chosen, err := Choose(all, strings.Fields(names)); err != nil || strings.Join(namesOf(chosen), " ") != want {
			t.Errorf("%q: %v, %v", names, chosen, err)
		}
	}
	if _, err := Choose(all, []string{"c"}); err == nil || !strings.Contains(err.Error(), "there are a, b") {
		t.Error(err)
	}
}

// says is a door that answers every order alike, whatever it is.
type says string

func (s says) send(context.Context, []byte) ([]byte, error) { return []byte(s), nil }

// A publisher that only planned what it was to do has not done it, and one that did what it was only to plan is told apart, too. What it says can neither
// begin a line of its own nor speak to the terminal.
func TestDoorsThatLie(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer string
		dryRun bool
		want   string
	}{
		"only planned":          {`{"status":"planned","publication":1}`, false, "it only planned"},
		"done without leave":    {`{"status":"accepted","publication":1}`, true, "was asked for a plan only"},
		"a key of two lines":    {`{"status":"accepted","changes":[{"event":"key.revoked","keyID":"k\"]\nx: [\""}]}`, false, `k\"]\n`},
		"a key from a terminal": {`{"status":"planned","findings":[{"event":"e","keyID":"\u001b[2J"}]}`, true, `\x1b[2J`},
	} {
		_, err := Publisher{Name: "a", through: says(test.answer)}.Send(t.Context(), Order{DryRun: test.dryRun})
		if !errors.Is(err, ErrNoDoor) || !strings.Contains(err.Error(), test.want) || strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%s: %v", name, err)
		}
	}
	var out bytes.Buffer
	c := Conversation{Publishers: []Publisher{{Name: "a", Lambda: &Lambda{}, through: says(`{"status":"planned","changes":[{"event":"e","keyID":"k","detail":"x\u001b[2J\nDone (accepted)"}],"published":[{"keyID":"k","cluster":"c\nDone","status":"current\u009b","algorithm":"RS256"}]}`)}}, Out: &out, Progress: &out}
	if err := c.Plan(t.Context()); err != nil || strings.Contains(out.String(), "\nDone") || strings.ContainsAny(out.String(), "\x1b\u009b") {
		t.Errorf("%v, and it prints %q", err, &out)
	}
}

// An answer that was lost is no answer: the statement may have been carried out.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		c := Conversation{Publishers: []Publisher{{Name: "a", Lambda: &Lambda{}, through: &answering{err: ErrUnreachable}}}, Out: &out, Progress: &out}
		if err := c.Send(t.Context()); !errors.Is(err, ErrFailed) || !strings.Contains(out.String(), "may have done it all the same") {
			t.Errorf("%v: %s", err, &out)
		}
	})
}
