package doctor

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

func exporterChecks() []check {
	return []check{{
		id: "exporter.settings", question: "Can the exporter's settings be read?",
		how:    "Reads the file of --exporter-settings: no unknown field, a cluster, an issuer, and a door to every publisher.",
		remedy: "Correct the line; the exporter refuses to start with an unknown or wrong field.",
		look:   exporterSettings,
	}, {
		id: "exporter.issuer", question: "Is the exporter for the issuer that the API servers have?", needs: []string{"exporter.settings", "issuer.same"},
		how:    "An API server with another issuer counts as not read; if none has it, the exporter sends nothing.",
		remedy: "Correct issuer in the exporter's settings, or the API servers' first --service-account-issuer.",
		look:   exporterIssuer,
	}, {
		id: "exporter.ready", question: "Is the exporter ready?",
		how:    "GET /readyz of every pod that runs as the exporter's account, through the API server; or at --exporter-url.",
		remedy: "Look at the exporter's log and Events: `kubectl events -n kube-iam-assume`.",
		look:   exporterReady,
	}, {
		id: "exporter.metrics", question: "Can the exporter's metrics be read?", needs: []string{"exporter.ready"},
		how:    "GET /metrics of the same.",
		remedy: "Is --exporter-url the exporter's metrics address? The chart's port is named metrics.",
		look:   exporterMetrics,
	}, {
		id: "exporter.problems", question: "Does the exporter see a problem?", needs: []string{"exporter.metrics"},
		how:    "Every problem that the exporter sees is a series of the metric " + prefix + "problem, and an Event of the same reason that says more.",
		remedy: "Read the Event of that reason: `kubectl events -n kube-iam-assume`. SnapshotRefused: the publisher's log has the detail.",
		look:   exporterProblems,
	}, {
		id: "exporter.reads", question: "Does the exporter read every API server?", needs: []string{"exporter.metrics"},
		how:    "Compares the API servers that it lists and reads. While one is not read, no key can retire.",
		remedy: "Let the exporter reach every API server: a NetworkPolicy must allow the control plane's addresses.",
		look:   exporterReads,
	}, {
		id: "exporter.accepted", question: "Has every publisher accepted a snapshot of late?", needs: []string{"exporter.metrics"},
		how:    "The exporter's metric last_accepted_timestamp_seconds of each publisher; publishers raise an alarm after 30 minutes.",
		remedy: "Compare the exporter's Events (DeliveryFailed, SnapshotRefused) with the publisher's log. With a queue only, the answer is the publisher's: see publisher.heard.",
		look:   acceptedOfLate,
	}}
}

// acceptedOfLate takes the word of whichever replica delivered last: they are witnesses of each other.
func acceptedOfLate(e *evidence) finding {
	last := map[string]time.Time{}
	for _, s := range e.metrics.named("last_accepted_timestamp_seconds") {
		if at, publisher := seconds(s.value), s.labels["publisher"]; at.After(last[publisher]) {
			last[publisher] = at
		}
	}
	var complaints []string
	good := slices.Sorted(maps.Keys(last))
	for _, publisher := range good {
		if age := e.options.Now().Sub(last[publisher]).Round(time.Second); age > rotation.StaleAfter {
			complaints = append(complaints, fmt.Sprintf("%s: %s ago", publisher, age))
		}
	}
	if e.settings != nil {
		for _, d := range e.settings.Destinations {
			if d.Webhook != nil && !slices.Contains(good, d.Publisher) {
				complaints = append(complaints, d.Publisher+": none since the exporter started")
			}
		}
	}
	if len(good) == 0 && len(complaints) == 0 {
		return broken("no publisher has accepted one since the exporter started")
	}
	return unless(complaints, "%s", strings.Join(good, ", "))
}

func firstLine(body []byte) string {
	line, _, _ := strings.Cut(string(body), "\n")
	return strings.ToValidUTF8(line[:min(len(line), 200)], "")
}

func exporterSettings(e *evidence) finding {
	switch {
	case e.settingsErr != nil:
		return broken("%v", e.settingsErr)
	case e.settings == nil:
		return skip("no --exporter-settings")
	}
	return ok("%s", e.settings)
}

func exporterIssuer(e *evidence) finding {
	if theirs := e.issuers()[0]; theirs != e.settings.Issuer {
		return broken("the settings have %q, the API servers %q%s", e.settings.Issuer, theirs, difference(e.settings.Issuer, theirs))
	}
	return ok("byte for byte")
}

func exporterReady(e *evidence) finding {
	switch v := e.ready; {
	case errors.Is(v.err, errNotSeen):
		return skip("%v", v.err)
	case errors.Is(v.err, errOutOfReach):
		return warn("%s", v.of(v.err.Error())).doing("Look yourself: `kubectl port-forward`, and --exporter-url. With the chart's NetworkPolicy the API servers' addresses must be among metricsFrom.")
	case v.err != nil:
		return broken("%s", v.of(withoutURL(v.err).Error()))
	case v.status != http.StatusOK:
		return broken("%s", v.of(fmt.Sprintf("GET /readyz answers %d: %s", v.status, firstLine(v.body))))
	}
	return ok("yes")
}

func exporterMetrics(e *evidence) finding {
	switch {
	case len(e.metrics.samples) == 0 && errors.Is(e.ready.err, errOutOfReach):
		return skip("no pod of the exporter was reached")
	case e.metrics.err != nil:
		return broken("%v", e.metrics.err)
	}
	return ok("%d series", len(e.metrics.samples))
}

func exporterProblems(e *evidence) finding {
	var all []string
	for _, s := range e.metrics.named("problem") {
		if s.value != 0 {
			all = append(all, strings.TrimSpace(s.labels["reason"]+" "+s.labels["about"]))
		}
	}
	slices.Sort(all)
	return unless(slices.Compact(all), "none")
}

func exporterReads(e *evidence) finding {
	var complaints, good []string
	replicas := e.metrics.replicas()
	for _, name := range slices.Sorted(maps.Keys(replicas)) {
		m, who := replicas[name], view{url: name}
		listed, read := m.single("api_servers_listed"), m.single("api_servers_read")
		age := e.options.Now().Sub(m.at("last_reading_timestamp_seconds"))
		switch {
		case read == 0:
			complaints = append(complaints, who.of(fmt.Sprintf("of %v API servers it reads none that has the issuer", listed)))
		case read < listed:
			complaints = append(complaints, who.of(fmt.Sprintf("it reads %v of %v", read, listed)))
		case age > rotation.StaleAfter:
			complaints = append(complaints, who.of(fmt.Sprintf("its last reading began %s ago", age.Round(time.Second))))
		}
		good = append(good, who.of(fmt.Sprintf("%v of %v, %s ago", read, listed, age.Round(time.Second))))
	}
	return unless(complaints, "%s", strings.Join(good, "; "))
}
