package doctor

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/cli/history"
	"github.com/kube-iam-assume/kube-iam-assume/cli/location"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// clocksApart is how far a publisher's clock may be ahead of this machine's.
const clocksApart = 5 * time.Minute

func publisherChecks() []check {
	return []check{{
		id: "publisher.enrolled", question: "Is the issuer enrolled at the publisher?", needs: []string{"issuer.known"},
		how:    "Looks the issuer up in the file of --publisher-settings, byte for byte.",
		remedy: "Enroll the cluster: `kube-iam-assume enroll ID > clusters/ID.yaml`, list it under the issuer, and deploy.",
		look:   func(e *evidence) finding { return atEach(e.publishers, e.publisherEnrolled) },
	}, {
		id: "publisher.cluster", question: "Is the cluster enrolled, and its exporter's account the one that is believed?", needs: []string{"publisher.enrolled"},
		how:    "Compares cluster ID and service account of the exporter with the enrollment.",
		remedy: "Correct cluster or serviceAccount in the exporter's settings, or exporterServiceAccount in the cluster's file.",
		look:   func(e *evidence) finding { return atEach(e.publishers, e.publisherCluster) },
	}, {
		id: "publisher.named", question: "Does the exporter send to this publisher by its name?", needs: []string{"publisher.enrolled", "exporter.settings"},
		how:    "A snapshot names its publishers; one that is not named refuses it.",
		remedy: "Make destinations[].publisher in the exporter's settings the publisher's name.",
		look:   func(e *evidence) finding { return atEach(e.publishers, e.publisherNamed) },
	}, {
		id: "publisher.state", question: "Is the publisher's state there?", needs: []string{"publisher.enrolled"},
		how:    "Reads the state object in --data: a standalone publisher's directory, or the private bucket of one in a cloud.",
		remedy: "`kube-iam-assume operate recover` rebuilds a lost state from the log and the public keys.",
		look:   func(e *evidence) finding { return atEach(e.publishers, e.publisherState) },
	}, {
		id: "publisher.heard", question: "Does the publisher hear from the cluster?", needs: []string{"publisher.state", "publisher.cluster"},
		how:    "When it last accepted a snapshot, and by whose word.",
		remedy: "Look at the exporter: exporter.* above, its Events and log; and at snapshot.refused in the publisher's log.",
		look:   func(e *evidence) finding { return atEach(e.withState(), e.heard) },
	}, {
		id: "publisher.generation", question: "Does the publisher work by these settings?", needs: []string{"publisher.heard"},
		how:    "Compares the cluster's generation in the settings with the one in the state. A publisher takes settings when it is deployed.",
		remedy: "Deploy the publisher with these settings, or give doctor those that it has.",
		look:   func(e *evidence) finding { return atEach(e.withState(), e.generation) },
	}, {
		id: "publisher.retirement", question: "Can keys retire?", needs: []string{"publisher.heard"},
		how:    "While its snapshots do not speak for every API server, or a clock is in doubt, the publisher removes no key.",
		remedy: "Let the exporter reach every API server; for a virtual address set apiServers.expect to their number.",
		look:   func(e *evidence) finding { return atEach(e.withState(), e.retirement) },
	}, {
		id: "publisher.members", question: "Does it hear from the other clusters of the issuer?", needs: []string{"publisher.state"},
		how:    "Of a shared issuer: when it last accepted a snapshot of each cluster that is enrolled. Silence removes no key, and lets none retire.",
		remedy: "Look at that cluster's exporter, or remove the cluster: removed: true in its enrollment.",
		look:   func(e *evidence) finding { return atEach(e.withState(), e.members) },
	}, {
		id: "publisher.trust", question: "Does the publisher trust a key that the API servers sign with?", needs: []string{"publisher.state", "publisher.cluster", "tokens.signing-key"},
		how:    "A new key comes in on the word of one that is trusted already. After a rotation that was not announced nobody vouches for the new key.",
		remedy: "If it was you: `kube-iam-assume operate enroll` with the present keys, or a higher generation with new bootstrapKeys. If not, treat it as an incident.",
		look:   func(e *evidence) finding { return atEach(e.withState(), e.trusted) },
	}, {
		id: "publisher.log", question: "Does the publisher's log hold?", needs: []string{"publisher.state"},
		how:    "What `kube-iam-assume history` does: no gap, nothing changed, every snapshot verified again.",
		remedy: "Run `kube-iam-assume history` and ask the bucket's access log who deleted or changed a record.",
		look:   func(e *evidence) finding { return atEach(e.withState(), e.publisherLog) },
	}}
}

func (e *evidence) heard(p *publisher) finding {
	enrolled, _ := e.enrolledAt(p)
	c, found := p.state.Cluster(enrolled.ID)
	now := e.options.Now()
	switch {
	case !found || c.Received.IsZero():
		return broken("it has accepted no snapshot of %s yet; it publishes the bootstrap keys", enrolled.ID)
	case now.Sub(c.Received) > rotation.StaleAfter:
		return broken("the last one was accepted %s ago", now.Sub(c.Received).Round(time.Second))
	case c.Received.Sub(now) > clocksApart:
		return broken("the last one was accepted %s from now: by such a clock nobody sees whether it goes on hearing", c.Received.Sub(now).Round(time.Second)).
			doing("Set the publisher's clock, or this machine's.")
	case p.state.Issuer != e.issuer:
		return broken("the state is of the issuer %s", p.state.Issuer)
	}
	return ok("%s ago; %s", now.Sub(c.Received).Round(time.Second), word(c))
}

func (e *evidence) generation(p *publisher) finding {
	enrolled, _ := e.enrolledAt(p)
	switch c, _ := p.state.Cluster(enrolled.ID); {
	case c.Generation < enrolled.Generation:
		return broken("the settings have generation %d of %s, the state %d: the publisher runs with older settings", enrolled.Generation, enrolled.ID, c.Generation)
	case c.Generation > enrolled.Generation:
		return broken("the settings have generation %d of %s, the state already %d: these settings are old", enrolled.Generation, enrolled.ID, c.Generation)
	}
	return ok("generation %d", enrolled.Generation)
}

func (e *evidence) retirement(p *publisher) finding {
	enrolled, _ := e.enrolledAt(p)
	c, _ := p.state.Cluster(enrolled.ID)
	switch {
	case !c.Additive.IsZero():
		return warn("since %s its snapshots lack API servers, so no key can retire", c.Additive.Format(time.RFC3339))
	case !p.state.Unsure.IsZero():
		return warn("its clock is in doubt since %s, so no key is removed", p.state.Unsure.Format(time.RFC3339)).
			doing("Compare the publisher's clock with others; after ten minutes of agreement it believes it.")
	}
	retiring := 0
	for _, key := range c.Keys {
		if key.Status == rotation.Retiring {
			retiring++
		}
	}
	return ok("%d keys, of which %d retire", len(c.Keys), retiring)
}

func (e *evidence) members(p *publisher) finding {
	issuer, _ := e.issuerAt(p)
	mine, _ := e.enrolledAt(p)
	var silent []string
	for _, member := range issuer.Clusters {
		if member.ID == mine.ID || member.Removed {
			continue
		}
		c, _ := p.state.Cluster(member.ID)
		if silence := e.options.Now().Sub(c.Received); c.Received.IsZero() {
			silent = append(silent, member.ID+" was never heard")
		} else if silence > rotation.StaleAfter {
			silent = append(silent, fmt.Sprintf("%s was heard %s ago", member.ID, silence.Round(time.Second)))
		}
	}
	return softly(unless(silent, "%d clusters", len(issuer.Clusters)))
}

// word is by whose trust the cluster's snapshots are believed.
func word(c rotation.Cluster) string {
	var newest snapshot.Remember
	for _, r := range c.Remembered {
		if r.Attested.After(newest.Attested) {
			newest = r
		}
	}
	if newest.Thumbprint == "" {
		return "its snapshot key is pinned in the settings"
	}
	return "its snapshot key was attested at " + newest.Attested.Format(time.RFC3339) + " by " + strings.Join(newest.VouchedBy, ", ")
}

func (e *evidence) trusted(p *publisher) finding {
	enrolled, _ := e.enrolledAt(p)
	c, _ := p.state.Cluster(enrolled.ID)
	status := map[string]rotation.Status{}
	for _, key := range c.Keys {
		status[key.JWK.ID()] = key.Status
	}
	var complaints []string
	good := 0
	for _, id := range e.signers() {
		switch status[id] {
		case rotation.Current, rotation.Announced:
			good++
		case rotation.Retiring:
			complaints = append(complaints, id+" is retiring")
		default:
			complaints = append(complaints, id+" is unknown to it")
		}
	}
	for _, r := range c.Revoked {
		if _, listed := e.union().ByID(r.ID); listed {
			return broken("API servers still list %s, which is revoked: its tokens are refused", r.ID).doing("Finish the rotation away from that key on every API server.")
		}
	}
	if good == 0 {
		return unless(complaints, "nobody signs")
	}
	if len(complaints) > 0 {
		return warn("%s; others that sign are trusted and vouch for it with the next snapshot", strings.Join(complaints, ", "))
	}
	return ok("%s", strings.Join(e.signers(), ", "))
}

func (e *evidence) publisherEnrolled(p *publisher) finding {
	switch _, found := e.issuerAt(p); {
	case p.Err != nil:
		return broken("%v", p.Err).doing("Correct the settings; the publisher refuses to start with them.")
	case !found:
		return broken("the publisher %q has no issuer %s", p.Settings.Name, e.issuer)
	}
	return ok("at %s", p.Settings.Name)
}

func (e *evidence) publisherCluster(p *publisher) finding {
	c, found := e.enrolledAt(p)
	switch {
	case !found && e.settings == nil:
		return skip("the issuer is shared; --exporter-settings would say which cluster this is")
	case !found:
		return broken("the cluster %q is not enrolled at the issuer", e.settings.Cluster)
	case c.Removed:
		return broken("the cluster %q is removed", c.ID).doing("Enroll it again with a higher generation, without removed: true.")
	case c.ExporterServiceAccount != e.options.Account:
		return broken("the account is %s, the enrollment believes %s", e.options.Account, c.ExporterServiceAccount)
	}
	return ok("%s, as %s", c.ID, c.ExporterServiceAccount)
}

func (e *evidence) publisherNamed(p *publisher) finding {
	for _, d := range e.settings.Destinations {
		if d.Publisher == p.Settings.Name {
			return ok("%s", d.Publisher)
		}
	}
	return broken("no destination is named %q", p.Settings.Name)
}

const logInToRead = "Log in with the cloud's own tool as somebody who may read the private bucket."

func (e *evidence) publisherState(p *publisher) finding {
	switch {
	case p.Data == "":
		return skip("no --data")
	case errors.Is(p.stateErr, bucket.ErrNotFound):
		return broken("there is no state of %s: the publisher has not started yet, or the state is lost", e.issuer)
	case p.stateErr != nil && location.InCloud(p.Data) && !errors.Is(p.stateErr, errState):
		return unknown("%s: %v", p.Data, p.stateErr).doing(logInToRead)
	case p.stateErr != nil:
		return broken("%v", p.stateErr)
	}
	return ok("revision %d, publication %d", p.state.Revision, p.state.Publication)
}

func (e *evidence) publisherLog(p *publisher) finding {
	switch {
	case p.logErr != nil && location.InCloud(p.Data) && !errors.Is(p.logErr, history.ErrNoLog):
		return unknown("%s: %v", p.Data, p.logErr).doing(logInToRead)
	case p.logErr != nil:
		return broken("%v", p.logErr)
	}
	var all []string
	for _, log := range p.log.Logs {
		for _, problem := range log.Problems {
			all = append(all, problem.What)
		}
	}
	return unless(all, "%d records", len(p.log.Logs[0].Records))
}
