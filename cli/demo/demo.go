// Package demo shows the whole path on one machine, with the real binaries: keys are read, vouched for, sent, judged and published, a
// verifier accepts tokens through a rotation, and a replay and a forgery are refused.
package demo

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/test/standin"
)

// Options is how the demo runs.
type Options struct {
	Out        io.Writer
	In         io.Reader
	Binaries   string // directory of cluster-exporter and kube-iam-assume-standalone
	Kubeconfig string // of a cluster to run against; empty for the stand-in
	Yes        bool   // do not ask before making a namespace there
	Keep       bool   // leave everything running until interrupted
}

const (
	namespace = "kube-iam-assume"
	account   = "cluster-exporter"
	audience  = "sts.example.com"
	patience  = 30 * time.Second
	tokenLife = time.Hour
)

// Run shows it. What it starts and makes is gone when it returns, also after an interrupt, which is the end of the context or of the
// terminal.
func Run(ctx context.Context, o Options) (err error) {
	ctx, hangUp := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer hangUp()
	folder, err := os.MkdirTemp("", "kube-iam-assume-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	d := &demo{Options: o, folder: folder, began: time.Now(), serviceAccount: namespace + "/" + account, ended: make(chan *process, 2)}
	defer func() {
		if d.stop(); err != nil && ctx.Err() != nil {
			err = fmt.Errorf("interrupted; everything it had started is ended: %w", err)
		}
	}()
	if err := d.certificates(); err != nil {
		return err
	}
	if o.Kubeconfig != "" {
		return d.againstCluster(ctx)
	}
	return d.againstStandIn(ctx)
}

// demo is one run.
type demo struct {
	Options
	folder    string
	began     time.Time
	tls       authority
	client    *http.Client // trusts the demo's authority
	publisher string       // base URL
	issuer    string
	recorder  *recorder
	processes []*process
	ended     chan *process
	closers   []func()
	step      int

	serviceAccount string                                // the exporter's, namespace/name
	ownIssuer      bool                                  // the issuer URL leads to the demo's publisher
	token          func(context.Context) (string, error) // of serviceAccount, for tokenLife
}

func (d *demo) say(format string, args ...any) {
	d.step++
	fmt.Fprintf(d.Out, "%2d  %5.1fs  %s\n", d.step, time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

func (d *demo) stop() {
	if d.client != nil {
		d.client.CloseIdleConnections() // a server that ends waits for connections without a request
	}
	for _, p := range d.processes {
		p.stop()
	}
	for _, c := range d.closers {
		c()
	}
}

func (d *demo) againstStandIn(ctx context.Context) error {
	a, err := standin.NewRSAKey()
	if err != nil {
		return err
	}
	b, err := standin.NewECKey()
	if err != nil {
		return err
	}
	if err := d.choosePort(ctx); err != nil {
		return err
	}
	d.issuer, d.ownIssuer = d.publisher+"/demo", true
	cluster, err := standin.Start(standin.Options{Issuer: d.issuer, Sign: a})
	if err != nil {
		return err
	}
	d.closers = append(d.closers, cluster.Close)
	if err := d.write("cluster-ca.pem", string(cluster.CA)); err != nil {
		return err
	}
	server := cluster.Servers[0]
	d.say("An API server is up at https://%s. It is a stand-in with real keys and real tokens; `make test-kube` runs the real one.", server.Address())
	d.token = func(context.Context) (string, error) {
		return server.Token(namespace, account, nil, int64(tokenLife.Seconds()))
	}
	if err := d.startPublisher(ctx, jwks.Set{a.Key}); err != nil {
		return err
	}
	d.say("The publisher is up at %s. It knows the cluster's key %s from its enrollment, and publishes it already.", d.publisher, short(a.ID()))
	if err := d.startExporter(ctx, server.Address(), "kubernetes.default.svc", nil); err != nil {
		return err
	}
	d.say("The exporter read the keys. The API server vouched for its snapshot; the publisher checked all of it and accepted.")
	return d.rotate(ctx, server, a, b)
}

func (d *demo) rotate(ctx context.Context, server *standin.Server, a, b *standin.Key) error {
	old, err := server.Token("app", "payments", []string{audience}, 3600)
	if err != nil {
		return err
	}
	if err := d.verify(ctx, old); err != nil {
		return err
	}
	d.say("A workload's token, signed with %s: ACCEPTED by an independent OpenID Connect verifier that knows only the issuer URL.", short(a.ID()))
	server.SetKeys(a, a, b)
	if err := d.waitForKey(ctx, b.ID()); err != nil {
		return err
	}
	d.say("Rotation: the API server lists a second key, %s. It is published before anything is signed with it.", short(b.ID()))
	server.SetKeys(b, a, b)
	fresh, err := server.Token("app", "payments", []string{audience}, 3600)
	if err != nil {
		return err
	}
	for name, token := range map[string]string{"new": fresh, "old": old} {
		if err := d.verify(ctx, token); err != nil {
			return fmt.Errorf("the %s token: %w", name, err)
		}
	}
	d.say("It signs with the new key now. A new token: ACCEPTED. The old token: ACCEPTED. Nobody noticed the rotation.")
	if err := d.attack(ctx); err != nil {
		return err
	}
	return d.finish(ctx, "bin/kube-iam-assume enroll my-cluster --context MY-CONTEXT > clusters/my-cluster.yaml   (or: KUBECONFIG=... make demo)")
}

// attack replays the first snapshot and forges one, and checks that the public keys stay as they are.
func (d *demo) attack(ctx context.Context) error {
	before, err := d.get(ctx, d.jwksURL())
	if err != nil {
		return err
	}
	code, err := d.post(ctx, d.recorder.first())
	if err != nil {
		return err
	}
	switch code {
	case publish.CodeSuperseded:
		d.say("An attacker replays an earlier snapshot: REFUSED (%s).", code)
	case "unchanged":
		d.say("An attacker sends the last snapshot once more: it changes nothing (%s).", code)
	default:
		return fmt.Errorf("the replayed snapshot was answered %q", code)
	}
	forged, err := forge(d.recorder.first(), d.issuer, d.serviceAccount)
	if err != nil {
		return err
	}
	if code, err = d.post(ctx, forged); err != nil {
		return err
	}
	if code != "not-believed" {
		return fmt.Errorf("the forged snapshot was answered %q", code)
	}
	after, err := d.get(ctx, d.jwksURL())
	if err != nil {
		return err
	}
	if string(before) != string(after) {
		return fmt.Errorf("the attacks changed the public keys")
	}
	d.say("He forges one with a key of his own, vouched for by himself: REFUSED (%s). The public keys are the same, byte for byte.", code)
	return nil
}

func (d *demo) finish(ctx context.Context, next string) error {
	d.say("Done. Discovery: %s   Keys: %s", d.url("/.well-known/openid-configuration"), d.jwksURL())
	if !d.Keep {
		fmt.Fprintln(d.Out, "            They are gone with the demo; `bin/kube-iam-assume demo --keep` leaves them up to look at.")
	}
	fmt.Fprintf(d.Out, "            Next: %s\n", next)
	if !d.Keep {
		return nil
	}
	fmt.Fprintf(d.Out, "            Running until you press Ctrl-C. Look: curl --cacert %s %s\n", d.path("ca.pem"), d.jwksURL())
	return d.keep(ctx)
}

// keep renews the exporter's token, as kubelet would, until the demo is interrupted.
func (d *demo) keep(ctx context.Context) error {
	renewal := time.NewTicker(tokenLife / 3)
	defer renewal.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-d.ended:
			return p.failed("looking at it")
		case <-renewal.C:
			if err := d.renewToken(ctx); err != nil {
				d.say("The exporter's token could not be renewed: %v", err)
			}
		}
	}
}

func short(keyID string) string { return keyID[:min(8, len(keyID))] + "…" }
