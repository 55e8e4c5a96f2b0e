package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

const apiVersion = "apiVersion: config.kube-iam-assume.dev/v1alpha1\n"

func (d *demo) path(name string) string { return filepath.Join(d.folder, name) }

func (d *demo) write(name, content string) error {
	if err := os.MkdirAll(filepath.Dir(d.path(name)), 0o700); err != nil {
		return err
	}
	return os.WriteFile(d.path(name), []byte(content), 0o600)
}

// choosePort finds a port for the publisher, whose number is part of the issuer URL.
func (d *demo) choosePort(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	d.publisher = "https://" + listener.Addr().String()
	return listener.Close()
}

func (d *demo) startPublisher(ctx context.Context, bootstrap jwks.Set) error {
	cluster := enrollment.Cluster{ID: "demo", Generation: 1, ExporterServiceAccount: d.serviceAccount, BootstrapKeys: bootstrap}
	if err := d.write("clusters/demo.yaml", string(cluster.Encode())); err != nil {
		return err
	}
	settings := apiVersion + "kind: Publisher\nname: demo\nissuers: [{url: " + d.issuer + ", clusters: [demo], internal: true}]\nclusters: {directory: clusters/}\n"
	if err := d.write("publisher.yaml", settings); err != nil {
		return err
	}
	p, err := d.start(ctx, "kube-iam-assume-standalone", "--settings", d.path("publisher.yaml"), "--data", d.path("data"), "--listen", strings.TrimPrefix(d.publisher, "https://"),
		"--tls-cert", d.path("tls.pem"), "--tls-key", d.path("tls-key.pem"), "--ca-bundle", d.path("ca.pem"))
	if err != nil {
		return err
	}
	if err := d.wait(ctx, p, "the publisher to publish", func() bool { _, err := d.get(ctx, d.jwksURL()); return err == nil }); err != nil {
		return err
	}
	d.recorder, err = newRecorder(ctx, d.publisher+"/v1/snapshots", d.tls.server, d.client)
	if err == nil {
		d.closers = append(d.closers, d.recorder.close)
	}
	return err
}

// startExporter waits until the publisher has accepted its first snapshot. With addresses, API servers are not looked up.
func (d *demo) startExporter(ctx context.Context, server, serverName string, addresses []string) error {
	list := ""
	if len(addresses) > 0 {
		list = "addresses: [\"" + strings.Join(addresses, "\", \"") + "\"], "
	}
	settings := apiVersion + "kind: Exporter\ncluster: demo\nissuer: " + d.issuer + "\nserviceAccount: " + d.serviceAccount +
		"\npollInterval: 1s\nheartbeatInterval: 1m\ncaBundle: " + d.path("ca.pem") + "\napiServers: {" + list + "serverName: \"" + serverName + "\"}\n" +
		"destinations: [{publisher: demo, webhook: {url: " + d.recorder.url + "}}]\n"
	if err := errors.Join(d.write("exporter.yaml", settings), d.renewToken(ctx)); err != nil {
		return err
	}
	p, err := d.start(ctx, "cluster-exporter", "--config", d.path("exporter.yaml"), "--listen", "127.0.0.1:0", "--token-file", d.path("token"), "--ca-file", d.path("cluster-ca.pem"), "--api-server", server)
	if err != nil {
		return err
	}
	return d.wait(ctx, p, "a snapshot to be accepted", func() bool { return d.recorder.first() != nil })
}

// renewToken replaces the exporter's token in one step, for it may be reading.
func (d *demo) renewToken(ctx context.Context) error {
	token, err := d.token(ctx)
	if err != nil {
		return err
	}
	if err := d.write("token.new", token); err != nil {
		return err
	}
	return os.Rename(d.path("token.new"), d.path("token"))
}

// process is one of the binaries.
type process struct {
	name    string
	command *exec.Cmd
	log     string
	done    chan struct{}
}

func (d *demo) start(ctx context.Context, name string, args ...string) (*process, error) {
	p := &process{name: name, log: d.path(name + ".log"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()                                                                                     // the process has its own
	p.command = exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(d.Binaries, name), args...) //nolint:gosec // our own binary
	p.command.Stdout, p.command.Stderr = log, log
	p.command.SysProcAttr = attached()
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w; `make build` makes it", name, err)
	}
	go func() {
		_ = p.command.Wait() // how it ended is in its log
		close(p.done)
		d.ended <- p
	}()
	d.processes = append(d.processes, p)
	return p, nil
}

func (p *process) stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		_ = p.command.Process.Kill()
		<-p.done
	}
}

// wait looks every 50 ms, and says with the end of the process's log why nothing came.
func (d *demo) wait(ctx context.Context, p *process, what string, ready func() bool) error {
	deadline := time.After(patience)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.done:
			return p.failed("waiting for " + what)
		case <-deadline:
			return fmt.Errorf("waiting for %s: nothing after %s. The log of %s ends with:\n%s", what, patience, p.name, p.tail())
		case <-time.After(50 * time.Millisecond):
			if ready() {
				return nil
			}
		}
	}
}

func (p *process) failed(doing string) error {
	return fmt.Errorf("%s: %s ended by itself. Its log ends with:\n%s", doing, p.name, p.tail())
}

func (p *process) tail() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-5):], []byte("\n")))
}
