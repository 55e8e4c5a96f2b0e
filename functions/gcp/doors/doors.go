// Package doors has the four entry points of a publisher on Google Cloud, and registers each with Google's Functions Framework under
// its name, by which FUNCTION_TARGET chooses:
//
//   - Webhook: publish.Handler. The only one whose callers are strangers.
//   - Queue: a message of Pub/Sub, whose data is a snapshot; as a CloudEvent (binary or structured), as Eventarc delivers it, or in
//     the body of a push subscription. An answer of 2xx takes the message from the queue, any other brings it back.
//   - Reconcile: POST, from Cloud Scheduler every five minutes. The body means nothing.
//   - Operate: POST of {"statement": {...}} or {"statement": {...}, "dryRun": true}, an operator's word.
//
// The last three do not know who calls. Google's IAM does: deployed by themselves, without the right for everybody to invoke them
// (roles/run.invoker for allUsers), they are reached by the subscription's, the schedule's and the operators' accounts only.
//
// All four are HTTP functions to the framework, Queue too. Its own conversion of CloudEvents reads a body of any size, and writes one
// that it does not understand into the log, where no snapshot may be; so the CloudEvents SDK is used without it.
package doors

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// A door is one entry point.
type door struct {
	body   int           // bytes of a body that are looked at; of a longer one so many are, and one more
	limit  time.Duration // for one request, storage included
	answer func(*service, http.ResponseWriter, *http.Request, []byte)
}

var all = map[string]door{
	"Webhook":   {body: snapshot.MaxBytes + 1, limit: 30 * time.Second, answer: (*service).webhook},
	"Queue":     {body: maxMessage, limit: 30 * time.Second, answer: (*service).queue},
	"Reconcile": {body: 64 << 10, limit: time.Minute, answer: (*service).reconcile},
	"Operate":   {body: maxOrder, limit: time.Minute, answer: (*service).operate},
}

// Importing a package that registers functions is all that Google's buildpack asks of one. Its main, unlike ours, would open every door if
// FUNCTION_TARGET were missing.
func init() { //nolint:gochecknoinits // see above
	for name, d := range all {
		functions.HTTP(name, func(w http.ResponseWriter, r *http.Request) {
			if os.Getenv("FUNCTION_TARGET") != name {
				answer(w, problem(http.StatusNotFound, publish.CodeUnready, ""))
				return
			}
			process().serve(w, r, d)
		})
	}
}

// process is what this process serves with, made once: by Prepare, or where Google's buildpack wrote the main, by the first request.
var process = sync.OnceValue(func() *service { return newService(context.Background(), os.Getenv, os.Stdout) })

// Prepare makes the log and the publisher, so that the first request need not wait for them. What is wrong with the settings is
// logged, and answered to every request.
func Prepare() { process() }

// Check says whether there is a door of this name.
func Check(name string) error {
	if _, ok := all[name]; !ok {
		return fmt.Errorf("FUNCTION_TARGET is %.40q: want one of %q", name, slices.Sorted(maps.Keys(all)))
	}
	return nil
}

// Drain waits until what is being answered is answered. What comes afterwards is refused.
func Drain(ctx context.Context) error { return process().requests.drain(ctx) }

func (s *service) webhook(w http.ResponseWriter, r *http.Request, _ []byte) { s.public.ServeHTTP(w, r) }

func (s *service) reconcile(w http.ResponseWriter, r *http.Request, _ []byte) {
	if !onlyPost(w, r) {
		return
	}
	if err := s.publisher.Reconcile(r.Context()); err != nil {
		s.fail(w, r, publish.NewProblem(err, instanceOf(r)), err)
		return
	}
	write(w, http.StatusOK, "application/json", []byte(`{"status":"reconciled"}`))
}
