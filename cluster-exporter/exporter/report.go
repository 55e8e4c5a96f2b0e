package exporter

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// reporter tells people what the exporter sees: in the log, in metrics and as Kubernetes Events, once when a condition begins and once
// when it ends.
type reporter struct {
	e      *Exporter
	server *apiServer
	events chan event

	mu         sync.Mutex
	polled     time.Time
	answered   time.Time
	conditions map[string]string // condition → what is wrong
	keys       jwks.Set          // of the last reading
	vouched    []string          // IDs of the keys that signed attestations of the last accepted snapshot
	signers    map[string]string // API server → ID of the key it signs with
}

type event struct{ kind, reason, message string }

func newReporter(e *Exporter) (*reporter, error) {
	access := e.options.Access
	access.ServerName = e.settings.APIServers.ServerName
	server, err := access.server(access.Address, false)
	return &reporter{e: e, server: server, events: make(chan event, 32), conditions: map[string]string{}, signers: map[string]string{}}, err
}

// condition records what is wrong, or that nothing is ("").
func (r *reporter) condition(name, reason, problem string) {
	r.mu.Lock()
	before := r.conditions[name]
	r.conditions[name] = problem
	r.mu.Unlock()
	if before == problem {
		return
	}
	gauge := 1.0
	if problem == "" {
		gauge = 0
		r.tell(slog.LevelInfo, core.EventTypeNormal, reason+"Resolved", "no longer: "+before)
	} else {
		r.tell(slog.LevelWarn, core.EventTypeWarning, reason, problem)
	}
	r.e.metrics.problems.WithLabelValues(reason, name).Set(gauge)
}

func (r *reporter) tell(level slog.Level, kind, reason, message string) {
	r.e.options.Logger.Log(context.Background(), level, message, "event", reason)
	select {
	case r.events <- event{kind, reason, message}:
	default: // Events are a courtesy; the log has it all
	}
}

// run creates Events, which may be slow or forbidden, without holding anybody up.
func (r *reporter) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-r.events:
			if err := r.create(ctx, e); err != nil && ctx.Err() == nil {
				r.e.options.Logger.InfoContext(ctx, "a Kubernetes Event could not be created", "detail", err.Error())
			}
		}
	}
}

func (r *reporter) create(ctx context.Context, e event) error {
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	namespace, name := r.e.settings.namespaceAndName()
	about := core.ObjectReference{APIVersion: "v1", Kind: "ServiceAccount", Namespace: namespace, Name: name}
	if r.e.options.PodName != "" {
		about.Kind, about.Name = "Pod", r.e.options.PodName
	}
	now := metav1.NewTime(r.e.options.Now())
	_, err := r.server.client.CoreV1().Events(namespace).Create(ctx, &core.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: name + "-", Namespace: namespace},
		InvolvedObject: about, Type: e.kind, Reason: e.reason, Message: cut(e.message, 1024), Count: 1,
		FirstTimestamp: now, LastTimestamp: now, Source: core.EventSource{Component: "cluster-exporter"},
	}, metav1.CreateOptions{})
	return err
}

func cut(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "")
	}
	return s
}

// reading tells what a reading showed.
func (r *reporter) reading(reading *Reading, err error) {
	now := r.e.options.Now()
	r.mu.Lock()
	r.polled = now
	r.mu.Unlock()
	if err != nil {
		r.condition("", "ReadFailed", readProblem(err))
		r.e.metrics.reads.WithLabelValues("failed").Inc()
		return
	}
	r.condition("", "ReadFailed", "")
	answered := false
	for _, s := range reading.Servers {
		answered = r.readServer(s) || answered
	}
	if answered {
		r.mu.Lock()
		r.answered = now
		r.mu.Unlock()
	}
	r.e.metrics.listed.Set(float64(reading.APIServers.Listed))
	r.e.metrics.read.Set(float64(reading.APIServers.Read))
	r.noneHasTheIssuer(reading, answered)
	r.disagreement(reading)
	if reading.APIServers.Read > 0 {
		r.changed(reading.Keys)
	}
}

func readProblem(err error) string {
	problem := withoutURL(err).Error()
	switch {
	case apierrors.IsUnauthorized(err):
		problem += statusRemedy(http.StatusUnauthorized)
	case apierrors.IsForbidden(err):
		problem += ": the exporter's Role in the namespace default is missing"
	}
	return problem
}

func (r *reporter) readServer(s ServerReading) (answered bool) {
	if s.Err != nil {
		r.e.metrics.reads.WithLabelValues("unreachable").Inc()
		r.condition(s.Address, "APIServerUnreachable", fmt.Sprintf("API server %s can't be read, so no key can retire: %v", s.Address, withoutURL(s.Err)))
		return false
	}
	r.condition(s.Address, "APIServerUnreachable", "")
	problem := ""
	if s.Issuer != r.e.settings.Issuer {
		problem = fmt.Sprintf("API server %s has the issuer %q, the settings have %q: make the latter its first --service-account-issuer", s.Address, s.Issuer, r.e.settings.Issuer)
		r.e.metrics.reads.WithLabelValues("other-issuer").Inc()
	} else {
		r.e.metrics.reads.WithLabelValues("ok").Inc()
	}
	r.condition(s.Address, "IssuerDiffers", problem)
	r.e.metrics.keys.WithLabelValues(s.Address).Set(float64(len(s.Keys)))
	r.e.metrics.skew.WithLabelValues(s.Address).Set(s.Skew.Seconds())
	return true
}

func (r *reporter) noneHasTheIssuer(reading *Reading, answered bool) {
	problem := ""
	if answered && reading.APIServers.Read == 0 {
		problem = fmt.Sprintf("no API server has the issuer %q: nothing is sent until one has", r.e.settings.Issuer)
	}
	r.condition("", "NoAPIServerHasTheIssuer", problem)
}

func (r *reporter) disagreement(reading *Reading) {
	problem := ""
	for _, s := range reading.Servers {
		if s.Err == nil && s.Issuer == r.e.settings.Issuer && len(s.Keys) != len(reading.Keys) {
			problem = fmt.Sprintf("the API servers list different keys (%s lacks some): normal during a rotation; tokens of one may be refused by another", s.Address)
		}
	}
	r.condition("", "APIServersDisagree", problem)
}

func (r *reporter) changed(keys jwks.Set) {
	r.mu.Lock()
	before := r.keys
	r.keys = keys
	r.mu.Unlock()
	for _, key := range keys {
		if _, ok := before.ByID(key.ID()); !ok && before != nil {
			r.tell(slog.LevelInfo, core.EventTypeNormal, "KeyAdded", "an API server lists the new key "+key.ID())
		}
	}
	for _, key := range before {
		if _, ok := keys.ByID(key.ID()); !ok {
			r.tell(slog.LevelInfo, core.EventTypeNormal, "KeyGone", "no API server that was read lists the key "+key.ID()+" any more")
		}
	}
}

// signing tells which key an API server signs with. One that its own JWKS does not list makes tokens that nobody can verify.
func (r *reporter) signing(s ServerReading, keyID string, err error) {
	if err != nil {
		r.condition(s.Address, "AttestationFailed", cut(err.Error(), 512))
		return
	}
	r.condition(s.Address, "AttestationFailed", "")
	problem := ""
	if _, listed := s.Keys.ByID(keyID); !listed {
		problem = fmt.Sprintf("API server %s signs with the key %s, which its own JWKS does not list: nobody can verify its tokens. Add the key's public half as a --service-account-key-file", s.Address, keyID)
	}
	r.condition(s.Address, "SigningKeyNotListed", problem)
	r.mu.Lock()
	before := r.signers[s.Address]
	r.signers[s.Address] = keyID
	r.mu.Unlock()
	if before != keyID {
		r.e.metrics.signing.DeleteLabelValues(s.Address, before)
		r.e.metrics.signing.WithLabelValues(s.Address, keyID).Set(1)
		if before != "" {
			r.tell(slog.LevelInfo, core.EventTypeNormal, "RotationSeen", fmt.Sprintf("API server %s signs with the key %s now, no longer with %s", s.Address, keyID, before))
		}
	}
}

// delivery tells what came of a snapshot.
func (r *reporter) delivery(publisher string, a answer, err error, reading *Reading) {
	name := "destination " + publisher
	switch {
	case err != nil:
		r.e.metrics.deliveries.WithLabelValues(publisher, "no-answer").Inc()
		r.condition(name, "DeliveryFailed", fmt.Sprintf("publisher %s: %v; it is tried again", publisher, withoutURL(err)))
	case a.accepted():
		r.e.metrics.deliveries.WithLabelValues(publisher, "accepted").Inc()
		r.e.metrics.accepted.WithLabelValues(publisher).Set(float64(r.e.options.Now().Unix()))
		r.condition(name, "DeliveryFailed", "")
		r.condition(name, "SnapshotRefused", "")
		r.remember()
		r.e.options.Logger.Debug("snapshot accepted", "publisher", publisher, "keys", reading.Keys.IDs())
	case a.Code == "superseded":
		r.e.metrics.deliveries.WithLabelValues(publisher, a.Code).Inc()
	case a.Status >= 500 || a.Status == 429 || a.Code == "":
		r.e.metrics.deliveries.WithLabelValues(publisher, "failed").Inc()
		r.condition(name, "DeliveryFailed", fmt.Sprintf("publisher %s answered %d %s; it is tried again", publisher, a.Status, a.Code))
	default:
		r.e.metrics.deliveries.WithLabelValues(publisher, known(a.Code)).Inc()
		r.condition(name, "DeliveryFailed", "")
		r.condition(name, "SnapshotRefused", fmt.Sprintf("publisher %s refused the snapshot: %s. %s", publisher, cut(a.Code+" "+a.Detail, 300), r.remedy(a.Code)))
	}
}

func (r *reporter) remember() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.vouched = r.signedWith()
}

func (r *reporter) signedWith() []string {
	var ids []string
	for _, id := range r.signers {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (r *reporter) lastPoll() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.polled
}

func (r *reporter) lastAnswer() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.answered
}
