package exporter_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"

	"github.com/kube-iam-assume/kube-iam-assume/cluster-exporter/exporter"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
	"github.com/kube-iam-assume/kube-iam-assume/test/azure"
	"github.com/kube-iam-assume/kube-iam-assume/test/azure/entra"
	"github.com/kube-iam-assume/kube-iam-assume/test/gcp/pubsub"
	"github.com/kube-iam-assume/kube-iam-assume/test/internet"
)

const (
	subject = "system:serviceaccount:" + namespace + ":" + account

	topic    = "projects/my-project/topics/snapshots"
	provider = "projects/1234/locations/global/workloadIdentityPools/clusters/providers/prod-eu1"

	tenant   = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	clientID = "11111111-2222-3333-4444-555555555555"
	objectID = "99999999-2222-3333-4444-555555555555"
)

// cloud is one in which a queue is, as an exporter meets it: it knows the cluster by the documents of its issuer, and can be made to refuse
// the login or the snapshot.
type cloud struct {
	destination   exporter.Destination // but for the token's file
	file          *string              // that
	audience      string
	lock          func(locked bool)     // the queue refuses
	take          func() ([]byte, bool) // what is in the queue
	logins        func() int            // so far
	locked, login []string              // words of the two refusals
}

// clouded is a world with a cloud in it. What its issuer publishes are these keys, whatever the API servers list.
type clouded struct {
	*world
	cloud
	network   *internet.Internet
	published chan jwks.Set // one
	token     string        // file
}

func newClouded(t *testing.T, start func(t *testing.T, network *internet.Internet) cloud) *clouded {
	t.Helper()
	w := &clouded{world: newWorld(t, 1), network: internet.New(t), published: make(chan jwks.Set, 1), token: filepath.Join(t.TempDir(), "token")}
	w.published <- jwks.Set{a.Key}
	w.network.Issuer(issuer, func() []byte {
		keys := <-w.published
		w.published <- keys
		return keys.Encode()
	})
	w.cloud = start(t, w.network)
	w.project()
	return w
}

// publish changes what the issuer publishes.
func (w *clouded) publish(keys ...jwks.Key) {
	<-w.published
	w.published <- keys
}

// project is what the kubelet does.
func (w *clouded) project() string {
	w.Helper()
	token := must(w.Servers[0].PodToken(namespace, account, "exporter-0", []string{w.audience}, 600))
	w.write(w.token, []byte(token))
	return token
}

// settings are with the queue before the webhook, which is reached by the same proxy.
func (w *clouded) settings() exporter.Settings {
	w.Helper()
	s := w.world.settings()
	s.Proxy, s.CABundle = w.network.Proxy, w.network.Bundle
	*w.file = w.token
	d := w.destination
	d.Publisher, d.Webhook = s.Destinations[0].Publisher, s.Destinations[0].Webhook
	s.Destinations[0] = d
	return s
}

// next is the snapshot that comes out of the queue.
func (w *clouded) next() snapshot.Opened {
	w.Helper()
	var envelope []byte
	w.eventually("a snapshot is in the queue", func() (there bool) {
		envelope, there = w.take()
		return there
	})
	return must(snapshot.Open(envelope))
}

// Both clouds do the same, as AWS does.
func TestQueuesOfOtherClouds(t *testing.T) {
	t.Parallel()
	storage := azure.StartStorage(t)
	for name, start := range map[string]func(*testing.T, *internet.Internet) cloud{
		"pubsub": func(t *testing.T, n *internet.Internet) cloud { return newGoogle(t, n, "") },
		"pubsub by account": func(t *testing.T, n *internet.Internet) cloud {
			return newGoogle(t, n, "sender@my-project.iam.gserviceaccount.com")
		},
		"storageQueue": func(t *testing.T, n *internet.Internet) cloud { return newAzure(t, n, storage) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Run("there and back", func(t *testing.T) { t.Parallel(); thereAndBack(newClouded(t, start)) })
			t.Run("lost rotation", func(t *testing.T) { t.Parallel(); lostRotation(newClouded(t, start)) })
			t.Run("alone", func(t *testing.T) { t.Parallel(); alone(newClouded(t, start)) })
		})
	}
}

// thereAndBack goes through the queue, by the webhook while the queue refuses, and back.
func thereAndBack(w *clouded) {
	e, _ := w.start(w.settings())
	if got := w.next(); !says(of(1, 1), a)(got) {
		w.Errorf("%+v", got.APIServers)
	}
	w.waitMetric(e, `deliveries_total{code="",publisher="test",result="queued"} 1`)
	w.publisher.silent(w.T, 50*time.Millisecond)

	w.lock(true)
	w.SetKeys(a, a, b)
	w.publisher.wait(says(of(1, 1), a, b))
	w.waitEvent("QueueRefused", append(w.locked, "by the webhook meanwhile")...)
	w.waitMetric(e, `problem{about="destination test",reason="QueueRefused"} 1`)
	w.waitMetric(e, `deliveries_total{code="",publisher="test",result="accepted"} 1`)

	w.lock(false)
	w.SetKeys(a, a, b, c)
	if got := w.next(); !says(of(1, 1), a, b, c)(got) {
		w.Errorf("%+v", got.APIServers)
	}
	w.waitEvent("QueueRefusedResolved")
	if n := w.logins(); n != 1 {
		w.Errorf("%d logins, want one that lasts an hour", n)
	}
}

// lostRotation: the cloud does not know the new key yet, so only the webhook can take the snapshot that makes it known.
func lostRotation(w *clouded) {
	w.SetKeys(otherRSA)
	w.renewToken(0)
	token := w.project()
	w.start(w.settings())
	w.publisher.wait(says(of(1, 1), otherRSA))
	w.waitEvent("QueueRefused", append(w.login, "by the webhook meanwhile")...)
	w.publish(otherRSA.Key)
	w.SetKeys(otherRSA, otherRSA, c)
	if got := w.next(); !says(of(1, 1), otherRSA, c)(got) {
		w.Errorf("%+v", got.APIServers)
	}
	w.secret(token)
}

// alone says what would help, and tries again by itself.
func alone(w *clouded) {
	w.publish(c.Key)
	s := w.settings()
	s.Destinations[0].Webhook = nil
	w.start(s)
	w.waitEvent("DeliveryFailed", w.login...)
	w.publish(a.Key)
	w.next()
	w.waitEvent("DeliveryFailedResolved")
	w.secret(string(must(os.ReadFile(w.token))))
}

// secret: no token, and no part of one, is told to anybody.
func (w *clouded) secret(token string) {
	w.Helper()
	said := w.log.String()
	for _, e := range w.Events() {
		said += e.Message
	}
	if parts := strings.Split(token, "."); strings.Contains(said, parts[1]) || strings.Contains(said, parts[2]) {
		w.Error("the token is in the log or in an Event")
	}
}

func newGoogle(t *testing.T, network *internet.Internet, account string) cloud {
	t.Helper()
	g, member := pubsub.Start(t, network), pubsub.Principal(provider, subject)
	g.Provide(provider, pubsub.Provider{Issuer: issuer, Documents: network.Client()})
	if account != "" {
		g.Account(account, member)
		member = "serviceAccount:" + account
	}
	snapshots, settings := g.Topic(topic, member), &exporter.PubSub{Topic: topic, Provider: provider, ServiceAccount: account}
	return cloud{
		destination: exporter.Destination{PubSub: settings}, file: &settings.TokenFile, audience: "https://iam.googleapis.com/" + provider,
		lock: func(locked bool) {
			if locked {
				g.Topic(topic)
			} else {
				g.Topic(topic, member)
			}
		},
		take: func() ([]byte, bool) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			m, ok := snapshots.Receive(ctx)
			return m.Data, ok
		},
		logins: g.Logins,
		locked: []string{"Pub/Sub refused", "PERMISSION_DENIED", "roles/pubsub.publisher"},
		login:  []string{"Google's STS refused", "invalid_grant", "is its key published"},
	}
}

// newAzure makes a queue in Azurite, behind a gate that verifies tokens and knows roles.
func newAzure(t *testing.T, network *internet.Internet, storage *azure.Storage) cloud {
	t.Helper()
	queue := strings.ToLower("q-" + rand.Text())
	storage.CreateQueue(t, queue)
	e := entra.Start(t, network, tenant)
	e.Identify(clientID, entra.Identity{ObjectID: objectID, Credentials: []entra.Federated{{Issuer: issuer, Subject: subject, Audience: entra.Audience}}})
	gate, role := e.Guard(t, "account", storage.QueueURL, storage.HTTPClient()), entra.Assignment{ObjectID: objectID, Role: entra.Sender, Queue: queue}
	gate.Assign(role)
	settings := &exporter.StorageQueue{URL: "https://account.queue.core.windows.net/" + queue, TenantID: tenant, ClientID: clientID}
	return cloud{
		destination: exporter.Destination{StorageQueue: settings}, file: &settings.TokenFile, audience: entra.Audience,
		lock: func(locked bool) {
			if locked {
				gate.Assign()
			} else {
				gate.Assign(role)
			}
		},
		take:   func() ([]byte, bool) { return dequeue(t, storage.Queue(t, queue)) },
		logins: e.Logins,
		locked: []string{"the storage account refused", "AuthorizationPermissionMismatch", "Storage Queue Data Message Sender"},
		login:  []string{"Entra refused", "AADSTS7000272", "is it published"},
	}
}

// dequeue also looks at what only a reader of the queue sees: base64, and that the message goes when the snapshot is worth nothing.
func dequeue(t *testing.T, queue *azqueue.QueueClient) ([]byte, bool) {
	t.Helper()
	got, err := queue.DequeueMessage(t.Context(), nil)
	if err != nil || len(got.Messages) == 0 {
		return nil, false
	}
	message := got.Messages[0]
	if lives := message.ExpirationTime.Sub(*message.InsertionTime); lives != snapshot.Lifetime {
		t.Errorf("the message lives %s", lives)
	}
	if _, err := queue.DeleteMessage(t.Context(), *message.MessageID, *message.PopReceipt, nil); err != nil {
		t.Error(err)
	}
	return must(base64.StdEncoding.DecodeString(*message.MessageText)), true
}
