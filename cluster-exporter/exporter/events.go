package exporter

import (
	"context"
	"log/slog"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	maxEvents       = 32   // that wait; the log has what does not fit
	maxEventMessage = 1024 // what API servers accept
	eventTries      = 14   // ten minutes: after a key swap the kubelet takes as long to bring a token that is accepted
	firstEventPause = 2 * time.Second
	maxEventPause   = time.Minute
)

type event struct{ eventType, reason, message string }

// events creates Kubernetes Events, which may be slow or forbidden, without holding anybody up.
type events struct {
	access    Access
	namespace string
	about     core.ObjectReference
	logger    *slog.Logger
	now       func() time.Time
	queue     chan event
}

func newEvents(settings Settings, options Options) *events {
	namespace, name := settings.namespaceAndName()
	about := core.ObjectReference{APIVersion: "v1", Kind: "ServiceAccount", Namespace: namespace, Name: name}
	if options.PodName != "" {
		about.Kind, about.Name, about.UID = "Pod", options.PodName, types.UID(options.PodUID)
	}
	return &events{
		access: options.Access, namespace: namespace, about: about, logger: options.Logger, now: options.Now,
		queue: make(chan event, maxEvents),
	}
}

// add never waits: Events are a courtesy, the log has it all.
func (e *events) add(eventType, reason, message string) {
	select {
	case e.queue <- event{eventType, reason, message}:
	default:
	}
}

func (e *events) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case next := <-e.queue:
			e.insist(ctx, next)
		}
	}
}

func (e *events) insist(ctx context.Context, next event) {
	at := e.now()
	pause := firstEventPause
	for try := 1; ; try++ {
		err := e.create(ctx, next, at)
		switch {
		case err == nil || ctx.Err() != nil:
			return
		case try == eventTries || apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || apierrors.IsInvalid(err):
			e.logger.InfoContext(ctx, "a Kubernetes Event could not be created", "reason", next.reason, "detail", withoutURL(err).Error())
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, maxEventPause)
	}
}

// create uses a connection of its own: Events are rare.
func (e *events) create(ctx context.Context, next event, at time.Time) error {
	authority, err := e.access.authority()
	if err != nil {
		return err
	}
	server, err := newAPIServer(e.access.Address, e.access.client(authority, true))
	if err != nil {
		return err
	}
	when := metav1.NewTime(at)
	_, err = server.core.Events(e.namespace).Create(ctx, &core.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: "cluster-exporter-", Namespace: e.namespace},
		InvolvedObject: e.about, Type: next.eventType, Reason: next.reason, Message: cut(next.message, maxEventMessage), Count: 1,
		FirstTimestamp: when, LastTimestamp: when, Source: core.EventSource{Component: "cluster-exporter"},
	}, metav1.CreateOptions{})
	return err
}

func cut(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "")
}
