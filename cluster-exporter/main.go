// Command cluster-exporter tells publishers a cluster's public signing keys. See package exporter.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/cluster-exporter/exporter"
)

var version = "dev" // set by the linker

const accountDirectory = "/var/run/secrets/kubernetes.io/serviceaccount"

const usage = `cluster-exporter reads the public signing keys of every API server of its cluster and sends them, signed and vouched for by the
API servers, to the publishers in its settings. It runs in the cluster as the service account that the publishers have enrolled,
needs no cloud credential and stores nothing.

  cluster-exporter --config exporter.yaml           run
  cluster-exporter --config exporter.yaml --check   say whether the settings are right, and exit

The settings:

  apiVersion: config.kube-iam-assume.dev/v1alpha1
  kind: Exporter
  cluster: prod-eu1                                 # its ID at the publisher
  issuer: https://oidc.example.com/prod-eu1         # the API servers' first --service-account-issuer
  destinations:
  - {publisher: prod, webhook: {url: "https://publisher.example.com/v1/snapshots"}}
  # or a queue, sqs, pubsub or storageQueue; with a webhook beside it, that is used while the queue refuses

Outside a pod, name an API server with --api-server (or all in apiServers.addresses), its authority with --ca-file and a token of
the service account with --token-file. Kubernetes Events are about the Deployment that DEPLOYMENT_NAME names, by the pod of POD_NAME and POD_UID.

Flags:
`

type flags struct {
	config, listen, server, ca, token string
	check, version                    bool
}

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "cluster-exporter:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	f, err := parse(args)
	if err != nil {
		return err
	}
	if f.version {
		fmt.Println(version)
		return nil
	}
	data, err := os.ReadFile(f.config)
	if err != nil {
		return fmt.Errorf("the settings: %w; name the file with --config", err)
	}
	settings, err := exporter.ParseSettings(f.config, data)
	if err != nil {
		return err
	}
	if f.check {
		fmt.Println("The settings are right:", settings)
		return nil
	}
	logger := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	e, err := exporter.New(settings, exporter.Options{
		Access: exporter.Access{Address: f.server, CAFile: f.ca, TokenFile: f.token},
		Logger: logger, Version: version,
		Deployment: os.Getenv("DEPLOYMENT_NAME"), PodName: os.Getenv("POD_NAME"), PodUID: os.Getenv("POD_UID"),
	})
	if err != nil {
		return err
	}
	return serve(e, f.listen, logger)
}

func parse(args []string) (flags, error) {
	var f flags
	set := flag.NewFlagSet("cluster-exporter", flag.ContinueOnError)
	set.StringVar(&f.config, "config", "/etc/kube-iam-assume/exporter.yaml", "settings `file` (kind: Exporter)")
	set.BoolVar(&f.check, "check", false, "check the settings and exit")
	set.StringVar(&f.listen, "listen", ":8080", "`address` of /metrics, /healthz and /readyz")
	set.StringVar(&f.token, "token-file", accountDirectory+"/token", "`file` with the service account's API token, read for every request")
	set.StringVar(&f.ca, "ca-file", accountDirectory+"/ca.crt", "`file` with the authority of the API servers")
	set.StringVar(&f.server, "api-server", inCluster(), "`host:port` of any API server, to ask for the others")
	set.BoolVar(&f.version, "version", false, "print the version and exit")
	set.Usage = func() {
		fmt.Fprint(set.Output(), usage)
		set.PrintDefaults()
	}
	if err := set.Parse(args); err != nil {
		return f, err
	}
	if set.NArg() > 0 {
		return f, fmt.Errorf("unexpected argument %q: see --help", set.Arg(0))
	}
	return f, nil
}

// inCluster is the address that Kubernetes gives every pod, or nothing elsewhere.
func inCluster() string {
	host := os.Getenv("KUBERNETES_SERVICE_HOST")
	if host == "" {
		return ""
	}
	return net.JoinHostPort(host, os.Getenv("KUBERNETES_SERVICE_PORT"))
}

func serve(e *exporter.Exporter, listen string, logger *slog.Logger) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	logger.Info("listening", "address", listener.Addr().String())
	server := &http.Server{Handler: e.Handler(), ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	ended := make(chan error, 1)
	go func() {
		ended <- server.Serve(listener)
		stop() // without metrics and health nobody would know that it fails
	}()
	e.Run(ctx)
	_ = server.Close()
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}
