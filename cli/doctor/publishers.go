package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/cli/history"
	"github.com/kube-iam-assume/kube-iam-assume/cli/location"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

const (
	placeLimit = 2 * time.Minute // for one publisher's state and log

	// apart is how much older one publisher's newest snapshot may be than another's: an exporter tells all of them every few minutes.
	apart = 15 * time.Minute
)

// errState means that a state was read, and is none.
var errState = errors.New("unreadable")

// Publisher is one of an issuer's, as far as it was named.
type Publisher struct {
	Settings *enrollment.Publisher
	Err      error  // why the settings that were given are none
	Data     string // where its state and log are, as package location takes it; "" if that was not said
}

// publisher is one with what it keeps.
type publisher struct {
	Publisher

	state    *rotation.State
	stateErr error
	log      history.Report
	logErr   error
}

func (p *publisher) name() string {
	if p.Settings == nil {
		return p.Data
	}
	return p.Settings.Name
}

// Between publishers: each judges by itself, so what they came to is compared.
func betweenPublishers() []check {
	return []check{{
		id: "publishers.names", question: "Has every publisher a name of its own?", needs: []string{"publisher.enrolled"},
		how:    "Compares the names in all --publisher-settings. A snapshot names its publishers: what one of two namesakes was sent, the other believes, too.",
		remedy: "Give each its own name, in its settings and in the exporter's destinations[].publisher.",
		look:   publishersNames,
	}, {
		id: "publishers.keys", question: "Do all publishers trust the same keys?", needs: []string{"publisher.state"},
		how:    "Compares the keys of each cluster in the states. A publisher that was not told of an announcement refuses the first snapshot after the rotation.",
		remedy: "Announce or enroll the key at the other publishers, too; while a key comes or goes wait for the next snapshot.",
		look:   publishersKeys,
	}, {
		id: "publishers.revocations", question: "Have all publishers revoked the same keys?", needs: []string{"publisher.state"},
		how:    "Compares the revocations in the states. A key that one publisher still serves is still accepted by who reads there.",
		remedy: "`kube-iam-assume revoke` tells every publisher at once.",
		look:   publishersRevocations,
	}, {
		id: "publishers.age", question: "Do all publishers hear the same?", needs: []string{"publisher.state"},
		how:    "Compares when each last accepted a snapshot of each cluster.",
		remedy: "Look at the exporter's destination of that name: exporter.accepted, and the publisher's log for snapshot.refused.",
		look:   publishersAge,
	}, {
		id: "publishers.revoked", question: "Is no revoked key published any more?", needs: []string{"publisher.state", "jwks.read"},
		how:    "Looks for revoked keys in the documents at the issuer's URL and at the mirrors.",
		remedy: "Look at that publisher's log; a cache on the way lets go of it when its time is over, or when it is purged.",
		look:   publishersRevoked,
	}}
}

func (e *evidence) gatherPublishers(ctx context.Context) {
	for _, p := range e.publishers {
		issuer, found := e.issuerAt(p)
		if !found || p.Data == "" {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, placeLimit)
		p.read(limited, e.options.Open, issuer)
		cancel()
	}
}

func (p *publisher) read(ctx context.Context, open func(context.Context, string) (location.Reader, error), issuer enrollment.Issuer) {
	names, err := publish.ObjectsOf(issuer)
	if p.stateErr = err; err != nil {
		return
	}
	from, err := open(ctx, p.Data)
	if err != nil {
		p.stateErr = fmt.Errorf("--data: %w", err)
		return
	}
	object, _, err := from.Get(ctx, names.State)
	if p.stateErr = err; err != nil {
		return
	}
	var state rotation.State
	if err := json.Unmarshal(object.Body, &state); err != nil {
		p.stateErr = fmt.Errorf("the state %s is %w", names.State, errState)
		return
	}
	p.state = &state
	if location.InCloud(p.Data) {
		p.log, p.logErr = history.ReadBucket(ctx, from, issuer.URL)
	} else {
		p.log, p.logErr = history.Read(os.DirFS(p.Data), issuer.URL)
	}
}

// atEach is what a check came to at all of these publishers: the worst counts, and says where.
func atEach(publishers []*publisher, look func(*publisher) finding) finding {
	rank := []Status{Skipped, OK, Warn, Unknown, Broken}
	worst := skip("no --publisher-settings")
	for i, p := range publishers {
		f := look(p)
		if len(publishers) > 1 {
			f.detail = p.name() + ": " + f.detail
		}
		switch was, is := slices.Index(rank, worst.status), slices.Index(rank, f.status); {
		case i == 0 || is > was:
			worst = f
		case is == was:
			worst.detail += "; " + f.detail
		}
	}
	return worst
}

// withState are the publishers whose state is known.
func (e *evidence) withState() []*publisher {
	return slices.DeleteFunc(slices.Clone(e.publishers), func(p *publisher) bool { return p.state == nil })
}

// original is the publisher of the documents at the issuer's own URL. It is nil if its state is not known.
func (e *evidence) original() *publisher {
	for _, p := range e.withState() {
		if issuer, _ := e.issuerAt(p); issuer.ServedAt == "" {
			return p
		}
	}
	return nil
}

func publishersNames(e *evidence) finding {
	if len(e.publishers) < 2 {
		return skip("one --publisher-settings")
	}
	var twice, names []string
	for _, p := range e.publishers {
		if slices.Contains(names, p.name()) {
			twice = append(twice, fmt.Sprintf("two are called %q", p.name()))
		}
		names = append(names, p.name())
	}
	return unless(twice, "%s", strings.Join(names, ", "))
}

// compare holds each publisher's words on each cluster against every other's. complain is told what one has and another lacks.
func (e *evidence) compare(of func(rotation.Cluster) []string, complain func(cluster, only, lacks string, words []string) string) finding {
	all := e.withState()
	if len(all) < 2 {
		return skip("fewer than two publishers with --data")
	}
	var complaints []string
	for _, p := range all {
		for _, q := range all {
			for _, c := range p.state.Clusters {
				d, found := q.state.Cluster(c.ID) // that it is not enrolled there may be meant
				if more := beyond(of(c), of(d)); found && len(more) > 0 {
					complaints = append(complaints, complain(c.ID, p.name(), q.name(), more))
				}
			}
		}
	}
	return unless(complaints, "%d publishers", len(all))
}

// beyond is what only the first list has.
func beyond(these, those []string) []string {
	return slices.DeleteFunc(slices.Clone(these), func(word string) bool { return slices.Contains(those, word) })
}

func publishersKeys(e *evidence) finding {
	return softly(e.compare(func(c rotation.Cluster) []string {
		var ids []string
		for _, key := range c.Keys {
			if key.Status != rotation.Retiring {
				ids = append(ids, key.JWK.ID())
			}
		}
		return ids
	}, func(cluster, only, lacks string, ids []string) string {
		return fmt.Sprintf("of %s, %s trusts %s, and %s does not", cluster, only, strings.Join(ids, ", "), lacks)
	}))
}

func publishersRevocations(e *evidence) finding {
	return e.compare(func(c rotation.Cluster) []string {
		var ids []string
		for _, r := range c.Revoked {
			ids = append(ids, r.ID)
		}
		return ids
	}, func(cluster, only, lacks string, ids []string) string {
		return fmt.Sprintf("of %s, %s is revoked at %s, and not at %s", cluster, strings.Join(ids, ", "), only, lacks)
	})
}

func publishersAge(e *evidence) finding {
	all := e.withState()
	if len(all) < 2 {
		return skip("fewer than two publishers with --data")
	}
	newest := map[string]time.Time{}
	for _, p := range all {
		for _, c := range p.state.Clusters {
			if c.Received.After(newest[c.ID]) {
				newest[c.ID] = c.Received
			}
		}
	}
	var late []string
	for _, p := range all {
		for _, c := range p.state.Clusters {
			if behind := newest[c.ID].Sub(c.Received); behind > apart && !c.Removed {
				late = append(late, fmt.Sprintf("%s heard %s last at %s, another at %s", p.name(), c.ID, c.Received.Format(time.RFC3339), newest[c.ID].Format(time.RFC3339)))
			}
		}
	}
	return softly(unless(late, "within %s", apart))
}

func publishersRevoked(e *evidence) finding {
	var still []string
	for _, p := range e.withState() {
		for _, c := range p.state.Clusters {
			for _, r := range c.Revoked {
				for _, place := range e.publishedAt(r.ID) {
					still = append(still, fmt.Sprintf("%s, revoked at %s since %s, is published at %s", r.ID, p.name(), r.At.Format(time.RFC3339), place))
				}
			}
		}
	}
	slices.Sort(still)
	return unless(slices.Compact(still), "none")
}
