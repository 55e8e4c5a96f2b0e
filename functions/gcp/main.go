// Command gcp is a publisher on Google Cloud: a Cloud Run service, or a Cloud Run function, that keeps the documents in Cloud Storage.
//
// One program has four entry points (package doors), and FUNCTION_TARGET decides which of them a process is: Webhook, Queue, Reconcile
// or Operate. Each is deployed as a service of its own, so that the platform's IAM guards each by itself: only Webhook may be invoked by
// everybody. A process without FUNCTION_TARGET, or with another, does not start.
//
// The package that is deployed holds publisher.yaml and clusters/ beside the program. The environment names the two buckets,
// DOCUMENTS_BUCKET and PRIVATE_BUCKET. GOOGLE_CLOUD_PROJECT, if it is set, saves asking the metadata server for the project, whose name
// a trace in the log needs. PORT is Cloud Run's; LOCAL_ONLY=true, as Google's examples have it, keeps a process on this machine.
//
// It needs the rights that package shared/bucket/gcs names, on both buckets, and none else.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"

	"github.com/kube-iam-assume/kube-iam-assume/functions/gcp/doors"
)

var version = "dev" // set by the linker

// drainTimeout is less than the ten seconds that Cloud Run gives a process to end.
const drainTimeout = 9 * time.Second

func main() {
	if err := run(); err != nil {
		slog.Error("the function can't start", "event", "function.failed", "detail", err.Error())
		os.Exit(1)
	}
}

// run serves until the platform wants the process to end.
func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	doors.Prepare()              // first of all the log
	target := os.Getenv("FUNCTION_TARGET")
	if err := doors.Check(target); err != nil {
		return err
	}
	host, port, err := address(os.Getenv)
	if err != nil {
		return err
	}
	// The framework would end the line after every request on Cloud Run, which leaves empty ones between ours.
	if err := os.Unsetenv("K_SERVICE"); err != nil {
		return err
	}
	slog.Info("starting", "event", "server.starting", "function", target, "port", port, "version", version)
	failed := make(chan error, 1)
	go func() { failed <- funcframework.StartHostPort(host, port) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := doors.Drain(patience); err != nil {
		return fmt.Errorf("requests were still being answered: %w", err)
	}
	slog.Info("ended", "event", "server.ended")
	return nil
}

func address(getenv func(string) string) (host, port string, err error) {
	if getenv("LOCAL_ONLY") == "true" {
		host = "127.0.0.1"
	}
	if port = getenv("PORT"); port == "" {
		port = "8080"
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "", "", errors.New("PORT is not a port: Cloud Run sets it, so something in the environment changed it")
	}
	return host, port, nil
}
