package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/cli/history"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/dir"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

func publisherChecks() []check {
	return []check{{
		id: "publisher.enrolled", question: "Is the issuer enrolled at the publisher?", needs: []string{"issuer.known"},
		how:    "Looks the issuer up in the file of --publisher-settings, byte for byte.",
		remedy: "Enroll the cluster: `kube-iam-assume enroll ID > clusters/ID.yaml`, list it under the issuer, and deploy.",
		look:   publisherEnrolled,
	}, {
		id: "publisher.cluster", question: "Is the cluster enrolled, and its exporter's account the one that is believed?", needs: []string{"publisher.enrolled"},
		how:    "Compares cluster ID and service account of the exporter with the enrollment.",
		remedy: "Correct cluster or serviceAccount in the exporter's settings, or exporterServiceAccount in the cluster's file.",
		look:   publisherCluster,
	}, {
		id: "publisher.named", question: "Does the exporter send to this publisher by its name?", needs: []string{"publisher.enrolled", "exporter.settings"},
		how:    "A snapshot names its publishers; one that is not named refuses it.",
		remedy: "Make destinations[].publisher in the exporter's settings the publisher's name.",
		look:   publisherNamed,
	}, {
		id: "publisher.state", question: "Is the publisher's state there?", needs: []string{"publisher.enrolled"},
		how:    "Reads the state object in --data (a standalone publisher's directory).",
		remedy: "`kube-iam-assume operate recover` rebuilds a lost state from the log and the public keys.",
		look:   publisherState,
	}, {
		id: "publisher.heard", question: "Does the publisher hear from the cluster?", needs: []string{"publisher.state", "publisher.cluster"},
		how:    "When it last accepted a snapshot, by whose word, and whether that spoke for every API server.",
		remedy: "Look at the exporter: exporter.* above, its Events and log; and at snapshot.refused in the publisher's log.",
		look:   heard,
	}, {
		id: "publisher.trust", question: "Does the publisher trust a key that the API servers sign with?", needs: []string{"publisher.state", "publisher.cluster", "tokens.signing-key"},
		how:    "A new key comes in on the word of one that is trusted already. After a rotation that was not announced nobody vouches for the new key.",
		remedy: "If it was you: `kube-iam-assume operate enroll` with the present keys, or a higher generation with new bootstrapKeys. If not, treat it as an incident.",
		look:   trusted,
	}, {
		id: "publisher.log", question: "Does the publisher's log hold?", needs: []string{"publisher.state"},
		how:    "What `kube-iam-assume history` does: no gap, nothing changed, every snapshot verified again.",
		remedy: "Run `kube-iam-assume history` and ask the bucket's access log who deleted or changed a record.",
		look:   publisherLog,
	}}
}

func heard(e *evidence) finding {
	enrolled, _ := e.enrolled()
	c, found := e.state.Cluster(enrolled.ID)
	now := e.options.Now()
	switch {
	case !found || c.Received.IsZero():
		return broken("it has accepted no snapshot of %s yet; it publishes the bootstrap keys", enrolled.ID)
	case now.Sub(c.Received) > rotation.StaleAfter:
		return broken("the last one was accepted %s ago", now.Sub(c.Received).Round(time.Second))
	case !c.Additive.IsZero():
		return warn("since %s its snapshots lack API servers, so no key can retire", c.Additive.Format(time.RFC3339)).
			doing("Let the exporter reach every API server; for a virtual address set apiServers.expect to their number.")
	case e.state.Issuer != e.issuer:
		return broken("the state is of the issuer %s", e.state.Issuer)
	}
	return ok("%s ago; %s", now.Sub(c.Received).Round(time.Second), word(c))
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

func trusted(e *evidence) finding {
	enrolled, _ := e.enrolled()
	c, _ := e.state.Cluster(enrolled.ID)
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

func (e *evidence) gatherState(ctx context.Context) {
	issuer, found := e.enrolledIssuer()
	if !found || e.options.Data == "" {
		return
	}
	if _, e.stateErr = os.Stat(filepath.Join(e.options.Data, "private")); e.stateErr != nil {
		e.stateErr = fmt.Errorf("--data: %s holds no publisher's data: %w", e.options.Data, e.stateErr)
		return
	}
	names, err := publish.ObjectsOf(issuer)
	if e.stateErr = err; err != nil {
		return
	}
	private, err := dir.Open(filepath.Join(e.options.Data, "private"))
	if e.stateErr = err; err != nil {
		return
	}
	object, _, err := private.Get(ctx, names.State)
	if e.stateErr = err; err != nil {
		return
	}
	var state rotation.State
	if err := json.Unmarshal(object.Body, &state); err != nil {
		e.stateErr = fmt.Errorf("the state %s is unreadable", names.State)
		return
	}
	e.state = &state
}

func publisherEnrolled(e *evidence) finding {
	switch _, found := e.enrolledIssuer(); {
	case e.options.PublisherErr != nil:
		return broken("%v", e.options.PublisherErr).doing("Correct the settings; the publisher refuses to start with them.")
	case e.options.Publisher == nil:
		return skip("no --publisher-settings")
	case !found:
		return broken("the publisher %q has no issuer %s", e.options.Publisher.Name, e.issuer)
	}
	return ok("at %s", e.options.Publisher.Name)
}

func publisherCluster(e *evidence) finding {
	c, found := e.enrolled()
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

func publisherNamed(e *evidence) finding {
	for _, d := range e.settings.Destinations {
		if d.Publisher == e.options.Publisher.Name {
			return ok("%s", d.Publisher)
		}
	}
	return broken("no destination is named %q", e.options.Publisher.Name)
}

func publisherState(e *evidence) finding {
	switch {
	case e.options.Data == "":
		return skip("no --data")
	case errors.Is(e.stateErr, bucket.ErrNotFound):
		return broken("there is no state of %s: the publisher has not started yet, or the state is lost", e.issuer)
	case e.stateErr != nil:
		return broken("%v", e.stateErr)
	}
	return ok("revision %d, publication %d", e.state.Revision, e.state.Publication)
}

func publisherLog(e *evidence) finding {
	report, err := history.Read(os.DirFS(e.options.Data), e.issuer)
	if err != nil {
		return broken("%v", err)
	}
	var all []string
	for _, log := range report.Logs {
		for _, p := range log.Problems {
			all = append(all, p.What)
		}
	}
	return unless(all, "%d records", len(report.Logs[0].Records))
}
