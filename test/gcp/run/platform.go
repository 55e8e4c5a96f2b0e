package main

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
	"github.com/kube-iam-assume/kube-iam-assume/test/gcp"
	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

const (
	documents = "demo-oidc-documents"
	private   = "demo-oidc-private"
)

// platform is what there is of Google Cloud.
type platform struct {
	folder   string
	storage  *gcp.Storage
	front    *httptest.Server // the issuer's URL, by HTTPS
	services []*process.Process
	urls     map[string]string // of the services, by FUNCTION_TARGET
}

func (p *platform) start(ctx context.Context) error {
	binary := filepath.Join(p.folder, "function")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "github.com/kube-iam-assume/kube-iam-assume/functions/gcp")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the function: %w\n%s", err, out)
	}
	var err error
	if p.storage, err = gcp.RunStorage(ctx, p.folder); err != nil {
		return err
	}
	for _, name := range []string{documents, private} {
		if err := p.storage.MakeBucket(ctx, name, true); err != nil {
			return err
		}
	}
	storage, err := url.Parse(p.storage.Endpoint)
	if err != nil {
		return err
	}
	p.front = httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(storage) }})
	if err := p.enroll(p.front.URL + "/" + documents + "/demo"); err != nil {
		return err
	}
	for _, target := range []string{"Reconcile", "Webhook", "Queue", "Operate"} {
		if err := p.serve(ctx, binary, target); err != nil {
			return err
		}
	}
	return post(ctx, p.urls["Reconcile"]) // as a deployment does
}

// enroll writes the settings of a demo cluster, and what it and its operator would send.
func (p *platform) enroll(issuer string) error {
	first, second := snapshottest.NewKey(), snapshottest.NewKey()
	exporter := snapshottest.Cluster{ID: "demo", Issuer: issuer, ServiceAccount: "kube-iam-assume/cluster-exporter"}.NewExporter("demo")
	cluster := enrollment.Cluster{ID: "demo", Generation: 1, ExporterServiceAccount: exporter.ServiceAccount, BootstrapKeys: jwks.Set{first.Key}}
	now := time.Now()
	snapshot := exporter.Send(now, []snapshottest.Key{first}, first)
	event, err := json.Marshal(map[string]any{
		"specversion": "1.0", "id": "1", "source": "//pubsub.googleapis.com/projects/demo/topics/snapshots",
		"type": "google.cloud.pubsub.topic.v1.messagePublished", "datacontenttype": "application/json",
		"data": map[string]any{"message": map[string]any{"messageId": "1", "data": exporter.Send(now, []snapshottest.Key{first, second}, first)}},
	})
	if err != nil {
		return err
	}
	plan, err := json.Marshal(map[string]any{"dryRun": true, "statement": map[string]any{
		"issuer": issuer, "cluster": "demo", "action": "revoke", "keyIDs": []string{first.ID()}, "reason": "to see what would happen",
	}})
	if err != nil {
		return err
	}
	return errors.Join(
		p.write("clusters/demo.yaml", cluster.Encode()),
		p.write("publisher.yaml", []byte("apiVersion: config.kube-iam-assume.dev/v1alpha1\nkind: Publisher\nname: demo\nissuers: [{url: \""+issuer+
			"\", path: demo, clusters: [demo], internal: true}]\nclusters: {directory: clusters/}\n")),
		p.write("roots.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.front.Certificate().Raw})),
		p.write("snapshot.jws", snapshot), p.write("event.json", event), p.write("plan.json", plan),
	)
}

func (p *platform) write(name string, content []byte) error {
	path := filepath.Join(p.folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o600)
}

func (p *platform) serve(ctx context.Context, binary, target string) error {
	port, err := process.FreePort("127.0.0.1")
	if err != nil {
		return err
	}
	p.urls[target] = fmt.Sprintf("http://127.0.0.1:%d", port)
	service, err := process.Start(process.Program{
		Name: target, Binary: binary, Log: filepath.Join(p.folder, target+".log"), Environment: append(p.storage.Environment(),
			"FUNCTION_TARGET="+target, fmt.Sprintf("PORT=%d", port), "LOCAL_ONLY=true", "GOOGLE_CLOUD_PROJECT=demo",
			"DOCUMENTS_BUCKET="+documents, "PRIVATE_BUCKET="+private, "SSL_CERT_FILE="+filepath.Join(p.folder, "roots.pem")),
	})
	if err != nil {
		return err
	}
	p.services = append(p.services, service)
	return service.WaitUntil(ctx, "serving", func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.urls[target]+"/healthz", http.NoBody)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			response.Body.Close()
		}
		return err
	})
}

func post(ctx context.Context, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("POST %s: %s", address, response.Status)
	}
	return nil
}

func (p *platform) stop() {
	for _, service := range p.services {
		service.Stop()
	}
	if p.front != nil {
		p.front.Close()
	}
	if p.storage != nil {
		p.storage.Stop()
	}
}
