// Command kube-iam-assume-standalone is a publisher on a machine of one's own: it accepts snapshots and serves the documents it
// publishes, both over HTTPS, from a directory.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
)

var version = "dev" // set by the linker

const usage = `kube-iam-assume-standalone takes the snapshots of enrolled clusters at POST /v1/snapshots and serves each issuer's discovery document and
JWKS. The issuers' URLs must lead here. The operator's statements have no network door: run "kube-iam-assume operate" on this machine.

  kube-iam-assume-standalone --settings publisher.yaml --data /var/lib/kube-iam-assume --tls-cert tls.crt --tls-key tls.key

Flags:
`

type options struct {
	settings, data, listen, cert, key, roots string
	reconcile                                time.Duration
}

func main() {
	var o options
	flags := flag.NewFlagSet("kube-iam-assume-standalone", flag.ExitOnError)
	flags.StringVar(&o.settings, "settings", "publisher.yaml", "publisher's `file`; the clusters' files are beside it")
	flags.StringVar(&o.data, "data", "/var/lib/kube-iam-assume", "`directory` of documents, state and log; back it up")
	flags.StringVar(&o.listen, "listen", ":8443", "`address` to serve HTTPS at")
	flags.StringVar(&o.cert, "tls-cert", "tls.crt", "PEM `file` with the certificate chain, read again when it changes")
	flags.StringVar(&o.key, "tls-key", "tls.key", "PEM `file` with the certificate's private key")
	flags.StringVar(&o.roots, "ca-bundle", "", "PEM `file` with further authorities, for reading the documents back over their public URL")
	flags.DurationVar(&o.reconcile, "reconcile-interval", 5*time.Minute, "how often settings, time and documents are gone through")
	showVersion := flags.Bool("version", false, "print the version and exit")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	_ = flags.Parse(os.Args[1:]) // ExitOnError
	if *showVersion {
		fmt.Println(version)
		return
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "kube-iam-assume-standalone: %q is no flag; see --help\n", flags.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	if err := o.run(ctx, slog.New(slog.NewJSONHandler(os.Stderr, nil))); err != nil {
		fmt.Fprintln(os.Stderr, "kube-iam-assume-standalone:", err)
		os.Exit(1)
	}
}

// run serves until the context ends.
func (o options) run(ctx context.Context, logger *slog.Logger) error {
	if o.reconcile <= 0 {
		return fmt.Errorf("--reconcile-interval is %s: want a time such as 5m", o.reconcile)
	}
	settings, err := enrollment.Load(o.settings)
	if err != nil {
		return err
	}
	for _, warning := range settings.Warnings() {
		logger.Warn(warning, "event", "settings.warning")
	}
	documents, private, err := openData(o.data)
	if err != nil {
		return err
	}
	roots, err := rootsOf(o.roots)
	if err != nil {
		return err
	}
	p, err := publish.New(publish.Config{Settings: settings, Documents: documents, Private: private, Logger: logger, RootCAs: roots})
	if err != nil {
		return err
	}
	certificate, err := loadCertificate(o.cert, o.key, logger)
	if err != nil {
		return err
	}
	handler, err := newSite(p, documents, settings, logger)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return err
	}
	logger.Info("listening", "event", "server.listening", "address", listener.Addr().String(), "version", version)
	reconciled := make(chan struct{})
	go func() {
		defer close(reconciled)
		reconcile(ctx, p, o.reconcile)
	}()
	err = serve(ctx, newServer(handler, certificate, logger), listener)
	if ctx.Err() != nil {
		<-reconciled
	}
	return err
}
