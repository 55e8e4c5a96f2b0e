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
	forbiddenTries  = 5    // half a minute: an API server that has just begun may not have read its Roles yet
	firstEventPause = 2 * time.Second
	maxEventPause   = time.Minute
)

type event struct{ eventType, reason, message string }

// events creates Kubernetes Events, which may be slow or forbidden, without holding anybody up.
type events struct {
	access    Access
	namespace string
	about     core.ObjectReference
	pod       *core.ObjectReference // which replica says it; nil outside a pod
	logger    *slog.Logger
	now       func() time.Time
	queue     chan event
}

func newEvents(settings Settings, options Options) *events {
	namespace, name := settings.namespaceAndName()
	e := &events{
		access: options.Access, namespace: namespace, logger: options.Logger, now: options.Now, queue: make(chan event, maxEvents),
		about: core.ObjectReference{APIVersion: "v1", Kind: "ServiceAccount", Namespace: namespace, Name: name},
	}
	if options.PodName != "" {
		e.pod = &core.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: namespace, Name: options.PodName, UID: types.UID(options.PodUID)}
		e.about = *e.pod
	}
	if options.Deployment != "" { // its UID is not known without a right to read it
		e.about = core.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: namespace, Name: options.Deployment}
	}
	return e
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
	for try := 1; ; try++ {
		err := e.create(ctx, next, at)
		if err == nil || ctx.Err() != nil {
			return
		}
		pause, again := eventPause(try, err)
		if !again {
			e.logger.InfoContext(ctx, "a Kubernetes Event could not be created", "reason", next.reason, "detail", withoutURL(err).Error())
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// eventPause tells how long to wait after a try (the first is 1) that failed, and whether to try again.
func eventPause(try int, err error) (time.Duration, bool) {
	most := eventTries
	switch {
	case apierrors.IsForbidden(err):
		most = forbiddenTries
	case apierrors.IsNotFound(err), apierrors.IsInvalid(err):
		return 0, false
	}
	return min(firstEventPause<<(try-1), maxEventPause), try < most
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
		InvolvedObject: e.about, Related: e.pod, Type: next.eventType, Reason: next.reason, Message: cut(next.message, maxEventMessage), Count: 1,
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
