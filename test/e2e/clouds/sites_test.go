package clouds

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/test/azure"
	"github.com/kube-iam-assume/kube-iam-assume/test/azure/entra"
	"github.com/kube-iam-assume/kube-iam-assume/test/gcp/pubsub"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

const subject = "system:serviceaccount:" + namespace + ":" + account

// startAWS runs the Lambda function, which the exporter reaches by its webhook.
func (w *world) startAWS(key *kube.Key) *site {
	w.Helper()
	w.settings("aws", key)
	function := w.AWS()
	w.Mux.Handle("POST /v1/snapshots", function)
	return &site{
		publisher: "acme/aws", destination: map[string]any{"webhook": map[string]any{"url": w.Front.URL + "/v1/snapshots"}}, said: function.Log,
		reconcile: func() error {
			_, err := function.Invoke(w.Context(), []byte(`{"reconcile": true}`))
			return err
		},
	}
}

// google is Google Cloud, whose Pub/Sub can be down.
type google struct {
	*site
	services *pubsub.Google
}

func (g *google) down(down bool) {
	answer := pubsub.Answer{}
	if down {
		answer = pubsub.Answer{Status: http.StatusServiceUnavailable, Body: `{"error": {"code": 503, "message": "The service is unavailable.", "status": "UNAVAILABLE"}}`}
	}
	g.services.Break("pubsub.googleapis.com", answer)
}

// startGoogle runs two of the function's doors: one for the topic to which the exporter publishes, one for the scheduler.
func (w *world) startGoogle(key *kube.Key) *google {
	w.Helper()
	w.settings("gcp", key)
	doors := w.Google("Queue", "Reconcile")
	queue, reconcile := doors[0], doors[1]

	const provider = "projects/111122223333/locations/global/workloadIdentityPools/clusters/providers/" + clusterID
	services := pubsub.Start(w.T, w.Network)
	services.Provide(provider, pubsub.Provider{Issuer: w.Issuer(), Documents: w.stranger})
	services.Topic("projects/acme-prod/topics/snapshots", pubsub.Principal(provider, subject)).Push(w.T, queue.URL)
	return &google{services: services, site: &site{
		publisher: "acme/gcp",
		destination: map[string]any{"pubsub": map[string]any{
			"topic": "projects/acme-prod/topics/snapshots", "provider": provider, "tokenFile": filepath.Join(w.Folder, "token-gcp"),
		}},
		said: func() string { return w.Read(queue.Log) + w.Read(reconcile.Log) },
		reconcile: func() error {
			var err error
			w.wait("the scheduler gets through", func() bool {
				var response *http.Response
				if response, err = http.Post(reconcile.URL, "", nil); err != nil {
					return false // it is starting
				}
				response.Body.Close()
				if response.StatusCode != http.StatusOK {
					err = fmt.Errorf("status %s", response.Status)
				}
				return true
			})
			return err
		},
	}}
}

// startAzure runs the function app, whose queue the exporter fills.
func (w *world) startAzure(key *kube.Key) *site {
	w.Helper()
	storage := azure.StartStorage(w.T)
	storage.CreateQueue(w.T, "snapshots")

	const client, object = "00000000-0000-0000-0000-00000000000c", "00000000-0000-0000-0000-00000000000d"
	tenant := entra.Start(w.T, w.Network, "00000000-0000-0000-0000-00000000000a")
	tenant.Identify(client, entra.Identity{ObjectID: object, Credentials: []entra.Federated{{Issuer: w.Issuer(), Subject: subject, Audience: entra.Audience}}})
	gate := tenant.Guard(w.T, "acmeoidc", storage.QueueURL, storage.HTTPClient())
	gate.Assign(entra.Assignment{ObjectID: object, Role: entra.Sender, Queue: "snapshots"})

	w.settings("azure", key)
	host := w.Azure(storage, map[string]string{
		"SNAPSHOTS_QUEUE": "snapshots", "SNAPSHOTS_STORAGE__queueServiceUri": storage.QueueURL, "SNAPSHOTS_STORAGE__credential": "managedidentity",
		"SNAPSHOTS_STORAGE__clientId": storage.Identity.ClientID,
	})
	return &site{
		publisher: "acme/azure",
		destination: map[string]any{"storageQueue": map[string]any{
			"url": "https://acmeoidc.queue.core.windows.net/snapshots", "tenantID": tenant.ID, "clientID": client, "tokenFile": filepath.Join(w.Folder, "token-azure"),
		}},
		said: host.Log, reconcile: func() error { return host.Tick(w.Context(), "reconcile") },
	}
}

// renew projects the exporter's tokens for the clouds again.
func (w *world) renew(cluster *kube.Cluster) {
	w.Helper()
	const pool = "https://iam.googleapis.com/projects/111122223333/locations/global/workloadIdentityPools/clusters/providers/" + clusterID
	for name, audience := range map[string]string{"token-gcp": pool, "token-azure": entra.Audience} {
		w.Write(name, []byte(cluster.Token(w.T, 0, namespace, account, []string{audience}, 3600)))
	}
}

// export runs the exporter with all three destinations.
func (w *world) export(cluster *kube.Cluster) *kube.ProjectedToken {
	w.Helper()
	w.renew(cluster)
	_, port, _ := strings.Cut(cluster.Endpoints()[0], ":")
	var destinations []map[string]any
	for _, cloud := range clouds {
		destination := w.sites[cloud].destination
		destination["publisher"] = w.sites[cloud].publisher
		destinations = append(destinations, destination)
	}
	settings, err := json.Marshal(map[string]any{ // which is YAML
		"apiVersion": "config.kube-iam-assume.dev/v1alpha1", "kind": "Exporter", "cluster": clusterID, "issuer": w.Issuer(),
		"pollInterval": "1s", "heartbeatInterval": "3s", "caBundle": w.Network.Bundle, "proxy": w.Network.Proxy,
		"apiServers": map[string]any{"addresses": []string{"127.0.0.1:" + port}}, "destinations": destinations,
	})
	if err != nil {
		w.Fatal(err)
	}
	kubelet, log := cluster.Kubelet(w.T, 0, namespace, account, 600), filepath.Join(w.Folder, "exporter.log")
	p, err := process.Start(process.Program{
		Name: "cluster-exporter", Binary: w.Build("cluster-exporter", "cluster-exporter"), Log: log,
		Flags: []string{
			"--config", w.Write("exporter.yaml", settings), "--listen", "127.0.0.1:0", "--api-server", "127.0.0.1:" + port, "--ca-file", cluster.CAFile,
			"--token-file", kubelet.File,
		},
	})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		p.Kill()
		if w.Failed() {
			w.Logf("the exporter ends:\n%s", process.Tail(log, 20))
		}
	})
	return kubelet
}
