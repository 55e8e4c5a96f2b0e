package exporter_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/cluster-exporter/exporter"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws/queue"
)

const exporterRole = "arn:aws:iam::111122223333:role/exporter"

// account is what the exporter uses of an AWS account: the login, and a queue that lets in who logged in.
type awsAccount struct {
	*testing.T
	queue           *queue.Queue
	url, bundle     string
	locked, unknown atomic.Bool // the queue refuses; the login refuses
	token           string
	logins          atomic.Int32
}

// newAWSAccount sets the SDK's variable for the login's endpoint, so that its test can't be parallel.
func newAWSAccount(t *testing.T) *awsAccount {
	t.Helper()
	account := &awsAccount{T: t, queue: &queue.Queue{}, token: "eyJhbGciOiJub25lIn0.workload.token"}
	queues := &queue.Server{Queues: map[string]*queue.Queue{"snapshots": account.queue}, Authorize: account.authorize}
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Amz-Target") != "" {
			queues.ServeHTTP(w, r)
			return
		}
		account.login(w, r)
	}))
	t.Cleanup(web.Close)
	account.url, account.bundle = web.URL+"/111122223333/snapshots", filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(account.bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ENDPOINT_URL_STS", web.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "SOMEBODYELSE") // what is in the environment is not the exporter's
	t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
	return account
}

func (account *awsAccount) authorize(_ context.Context, id, session, action, _ string) error {
	if account.locked.Load() || id != "ASIALOGIN" || session != "session" || action != "SendMessage" {
		return errors.New("not authorized to perform sqs:" + action)
	}
	return nil
}

// login is AssumeRoleWithWebIdentity, in the form of STS's Query protocol.
func (account *awsAccount) login(w http.ResponseWriter, r *http.Request) {
	account.logins.Add(1)
	if err := r.ParseForm(); err != nil || r.Form.Get("Action") != "AssumeRoleWithWebIdentity" || r.Form.Get("RoleArn") != exporterRole ||
		r.Form.Get("WebIdentityToken") != account.token || r.Form.Get("RoleSessionName") != "kube-iam-assume.prod" {
		account.Errorf("the login was %v %v", r.Form, err)
	}
	if account.unknown.Load() {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprint(w, `<ErrorResponse><Error><Type>Sender</Type><Code>InvalidIdentityToken</Code><Message>Couldn't retrieve verification key</Message></Error></ErrorResponse>`)
		return
	}
	_, _ = fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIALOGIN</AccessKeyId>`+
		`<SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken><Expiration>%s</Expiration></Credentials>`+
		`</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, time.Now().Add(time.Hour).Format(time.RFC3339))
}

// settings are a world's, with the queue before the webhook.
func (account *awsAccount) settings(w *world) exporter.Settings {
	file := filepath.Join(account.TempDir(), "token")
	w.write(file, []byte(account.token))
	s := w.settings()
	s.CABundle = account.bundle
	s.Destinations[0].SQS = &exporter.SQS{URL: account.url, Region: "eu-central-1", RoleARN: exporterRole, TokenFile: file}
	return s
}

// next is the snapshot that comes out of the queue.
func (account *awsAccount) next() snapshot.Opened {
	account.Helper()
	got := account.queue.Receive(account.Context(), 1, patience)
	if len(got) == 0 {
		account.Fatal("nothing in the queue")
	}
	account.queue.Delete(got[0].Receipt)
	opened, err := snapshot.Open([]byte(got[0].Body))
	if err != nil {
		account.Fatal(err)
	}
	return opened
}

// TestQueue goes through the queue, by the webhook while the queue refuses, and back.
func TestQueue(t *testing.T) {
	account, w := newAWSAccount(t), newWorld(t, 1)
	e, _ := w.start(account.settings(w))
	if got := account.next(); !says(of(1, 1), a)(got) {
		t.Errorf("%+v", got.APIServers)
	}
	w.waitMetric(e, `deliveries_total{code="",publisher="test",result="queued"} 1`)
	w.publisher.silent(t, 50*time.Millisecond)

	account.locked.Store(true)
	w.SetKeys(a, a, b)
	w.publisher.wait(says(of(1, 1), a, b))
	w.waitEvent("QueueRefused", "AccessDenied", "deploy the stack again", "by the webhook meanwhile")
	w.waitMetric(e, `problem{about="destination test",reason="QueueRefused"} 1`)
	w.waitMetric(e, `deliveries_total{code="",publisher="test",result="accepted"} 1`)

	account.locked.Store(false)
	w.SetKeys(a, a, b, c)
	if got := account.next(); !says(of(1, 1), a, b, c)(got) {
		t.Errorf("%+v", got.APIServers)
	}
	w.waitEvent("QueueRefusedResolved")
	if n := account.logins.Load(); n != 1 {
		t.Errorf("%d logins, want one that lasts an hour", n)
	}
}

// TestLostRotation: AWS does not know the new key yet, so only the webhook can take the snapshot that makes it known.
func TestLostRotation(t *testing.T) {
	account, w := newAWSAccount(t), newWorld(t, 1)
	account.unknown.Store(true)
	w.start(account.settings(w))
	w.publisher.wait(says(of(1, 1), a))
	w.waitEvent("QueueRefused", "InvalidIdentityToken", "is its key published")
	if strings.Contains(w.log.String(), account.token) {
		t.Error("the token is in the log")
	}
}

// TestQueueAlone says what would help, and tries again by itself. The SDK's variable says where SQS is, whatever the URL.
func TestQueueAlone(t *testing.T) {
	account, w := newAWSAccount(t), newWorld(t, 1)
	t.Setenv("AWS_ENDPOINT_URL_SQS", strings.TrimSuffix(account.url, "/111122223333/snapshots"))
	account.unknown.Store(true)
	s := account.settings(w)
	s.Destinations[0].Webhook = nil
	s.Destinations[0].SQS.URL = "https://sqs.eu-central-1.amazonaws.com/111122223333/snapshots"
	w.start(s)
	w.waitEvent("DeliveryFailed", "InvalidIdentityToken", "is its key published")
	account.unknown.Store(false)
	account.next()
	w.waitEvent("DeliveryFailedResolved")
}
