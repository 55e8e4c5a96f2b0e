// Command kube-iam-assume-standalone is a publisher on a machine of one's own: it accepts snapshots and serves the documents it
// publishes, both over HTTPS, from a directory.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/dir"
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
	if err := o.run(); err != nil {
		fmt.Fprintln(os.Stderr, "kube-iam-assume-standalone:", err)
		os.Exit(1)
	}
}

func (o options) run() error {
	logger := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
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
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           newSite(p, documents, settings),
		TLSConfig:         &tls.Config{GetCertificate: certificate.get, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 45 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	logger.Info("listening", "address", listener.Addr().String(), "version", version)
	go reconcile(ctx, p, o.reconcile)
	return serve(ctx, server, listener)
}

// reconcile runs at once and then on a timer. What it finds is in the log.
func reconcile(ctx context.Context, p *publish.Publisher, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		_ = p.Reconcile(ctx) // logged, and tried again at the next tick
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func serve(ctx context.Context, server *http.Server, listener net.Listener) error {
	failed := make(chan error, 1)
	go func() { failed <- server.ServeTLS(listener, "", "") }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return server.Shutdown(patience)
}

func openData(directory string) (documents, private *dir.Bucket, err error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, nil, err
	}
	if documents, err = dir.Open(filepath.Join(directory, "documents")); err != nil {
		return nil, nil, err
	}
	private, err = dir.Open(filepath.Join(directory, "private"))
	return documents, private, err
}

func rootsOf(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // nil is the system's pool
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New(file + " holds no certificate")
	}
	return roots, nil
}
