package exporter

import (
	"fmt"
	"net/http"
	"strings"
)

func (o outcome) String() string {
	return [...]string{accepted: "accepted", superseded: "superseded", refused: "refused", failed: "failed", queued: "queued"}[o]
}

// delivery tells what came of a snapshot.
func (r *reporter) delivery(publisher string, came outcome, a answer, err error, reading *Reading) {
	about := "destination " + publisher
	r.metrics.deliveries.WithLabelValues(publisher, came.String(), label(a, err)).Inc()
	r.check(a.Detour != nil, condition{queueRefused, about}, "", func() string {
		return fmt.Sprintf("publisher %s: %s. Snapshots go by the webhook meanwhile", publisher, cut(a.Detour.Error(), 500))
	})
	if came == accepted || came == queued {
		r.metrics.delivered.WithLabelValues(publisher).Set(float64(r.now().Unix()))
	}
	switch came {
	case accepted:
		r.metrics.accepted.WithLabelValues(publisher).Set(float64(r.now().Unix()))
		r.clear(condition{deliveryFailed, about})
		r.clear(condition{snapshotRefused, about})
		vouched := r.signedWith()
		r.mu.Lock()
		r.vouched[publisher] = vouched
		r.mu.Unlock()
		r.logger.Info("the publisher accepted the snapshot", "publisher", publisher, "keys", reading.Keys.IDs(),
			"listed", reading.APIServers.Listed, "read", reading.APIServers.Read)
	case queued:
		r.clear(condition{deliveryFailed, about})
		r.clear(condition{snapshotRefused, about})
		r.logger.Info("the queue took the snapshot; what the publisher makes of it is in its own log", "publisher", publisher, "keys", reading.Keys.IDs(),
			"listed", reading.APIServers.Listed, "read", reading.APIServers.Read)
	case superseded:
		r.logger.Info("the publisher has a newer snapshot; reading again", "publisher", publisher, "code", a.Code, "seq", a.Seq)
	case failed:
		r.raise(condition{deliveryFailed, about}, label(a, err), fmt.Sprintf("publisher %s: %s; it is tried again", publisher, cut(failure(a, err), 500)))
	case refused:
		r.clear(condition{deliveryFailed, about})
		r.raise(condition{snapshotRefused, about}, label(a, err), r.refusal(publisher, a))
	}
}

func failure(a answer, err error) string {
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(fmt.Sprintf("HTTP %d %s %s", a.HTTPStatus, a.Code, a.Detail))
}

func (r *reporter) refusal(publisher string, a answer) string {
	words := []string{fmt.Sprintf("publisher %s refused the snapshot: HTTP %d %s.", publisher, a.HTTPStatus, cut(a.Code, 40))}
	if a.Detail != "" {
		words = append(words, "It says: "+cut(a.Detail, 300)+".")
	}
	words = append(words, r.remedy(publisher, a.Code))
	if a.Instance != "" {
		words = append(words, "Its log has more under "+cut(a.Instance, 64)+".")
	}
	return strings.Join(words, " ")
}

// label is the code for metrics and conditions. A publisher can't invent any.
func label(a answer, err error) string {
	switch {
	case err != nil:
		return "no-answer"
	case a.HTTPStatus == http.StatusOK, a.Queued:
		return ""
	}
	switch a.Code {
	case codeNotBelieved, codeSuperseded, "retry", "unavailable", "state-format":
		return a.Code
	}
	if _, ok := remedies[a.Code]; ok {
		return a.Code
	}
	return fmt.Sprintf("http-%dxx", a.HTTPStatus/100)
}
