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

const (
	accountDirectory = "/var/run/secrets/kubernetes.io/serviceaccount"
	maxLevel         = slog.LevelInfo
)

const usage = `cluster-exporter reads the public signing keys of every API server of its cluster and sends them, signed and vouched for by the API
servers, to the publishers in its settings. It runs in the cluster as the service account that the publishers have enrolled.

  cluster-exporter --config exporter.yaml

Flags:
`

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "cluster-exporter:", err)
		os.Exit(1)
	}
}

func run() error {
	flags := flag.NewFlagSet("cluster-exporter", flag.ExitOnError)
	config := flags.String("config", "/etc/kube-iam-assume/exporter.yaml", "settings `file` (kind: Exporter)")
	check := flags.Bool("check", false, "read the settings and exit")
	listen := flags.String("listen", ":8080", "`address` of /metrics, /healthz and /readyz")
	token := flags.String("token-file", accountDirectory+"/token", "`file` with the service account's API token, read for every request")
	ca := flags.String("ca-file", accountDirectory+"/ca.crt", "`file` with the authority of the API servers")
	server := flags.String("api-server", net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")),
		"`host:port` of any API server, to ask for the others")
	showVersion := flags.Bool("version", false, "print the version and exit")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	_ = flags.Parse(os.Args[1:]) // ExitOnError
	if *showVersion {
		fmt.Println(version)
		return nil
	}
	data, err := os.ReadFile(*config)
	if err != nil {
		return err
	}
	settings, err := exporter.ParseSettings(*config, data)
	if err != nil || *check {
		return err
	}
	if len(settings.APIServers.Addresses) > 0 && *server == ":" {
		*server = settings.APIServers.Addresses[0]
	}
	e, err := exporter.New(settings, exporter.Options{
		Access:  exporter.Access{Address: *server, CAFile: *ca, TokenFile: *token},
		Logger:  slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: maxLevel})),
		Version: version, PodName: os.Getenv("POD_NAME"),
	})
	if err != nil {
		return err
	}
	return serve(e, *listen)
}

func serve(e *exporter.Exporter, listen string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: e.Handler(), ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			slog.Error("metrics are not served any more", "detail", err.Error())
			stop()
		}
	}()
	slog.Info("listening", "address", listener.Addr().String())
	e.Run(ctx)
	return nil
}
