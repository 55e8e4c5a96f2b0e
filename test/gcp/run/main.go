// Command run is functions/gcp on this machine: its four services, a server of Cloud Storage, and a demo cluster whose snapshots it has ready
// to be sent.
//
//	go run ./test/gcp/run
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const patience = time.Minute // for everything to start

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	folder, err := os.MkdirTemp("", "kube-iam-assume-gcp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	p := &platform{folder: folder, urls: map[string]string{}}
	defer p.stop()
	starting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := p.start(starting); err != nil {
		return err
	}
	fmt.Printf(`
A snapshot by webhook:
  curl --data-binary @%[1]s/snapshot.jws %[2]s/v1/snapshots
One with a second key, as Eventarc delivers a message of Pub/Sub's:
  curl -i -H 'Content-Type: application/cloudevents+json' --data-binary @%[1]s/event.json %[3]s
What Cloud Scheduler does:
  curl -X POST %[4]s
What revoking the first key would do:
  curl --data-binary @%[1]s/plan.json %[5]s
What strangers read:
  curl %[6]s
The log:
  tail -f %[1]s/*.log

Press Ctrl-C to end it.
`, p.folder, p.urls["Webhook"], p.urls["Queue"], p.urls["Reconcile"], p.urls["Operate"], p.storage.Endpoint+"/"+documents+"/demo/openid/v1/jwks")
	<-ctx.Done()
	return nil
}
