package revoke

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/kube-iam-assume/kube-iam-assume/cli/publishers"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws/lambdaapi"
	"github.com/kube-iam-assume/kube-iam-assume/test/azure"
	"github.com/kube-iam-assume/kube-iam-assume/test/azure/entra"
	"github.com/kube-iam-assume/kube-iam-assume/test/gcp/cloudrun"
	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

const (
	region      = "eu-central-1"
	functionARN = "arn:aws:lambda:" + region + ":111122223333:function:prod-publisher"
	runHost     = "operate-abc-ew.a.run.app"
	account     = "oncall@acme-prod.iam.gserviceaccount.com"
	appHost     = "acme-publisher.azurewebsites.net"
	appURI      = "api://kube-iam-assume-operators"
	tenantID    = "00000000-0000-0000-0000-00000000000a"
	clientID    = "00000000-0000-0000-0000-00000000000c"
	objectID    = "00000000-0000-0000-0000-00000000000d"
)

// startAWS runs the Lambda function, behind Lambda's API.
func (w *world) startAWS() {
	w.Helper()
	w.Settings("aws", w.keys)
	function := w.AWS()
	if _, err := function.Invoke(w.Context(), []byte(`{"reconcile": true}`)); err != nil {
		w.Fatal(err)
	}
	api := lambdaapi.New(region)
	api.Provide(functionARN, function)
	operator := awssdk.Credentials{AccessKeyID: "AKIAOPERATOR", SecretAccessKey: rand.Text(), SessionToken: rand.Text()}
	api.Allow(operator, functionARN)
	api.Allow(awssdk.Credentials{AccessKeyID: "AKIASTRANGER", SecretAccessKey: operator.SecretAccessKey, SessionToken: operator.SessionToken})
	w.Network.Serve(api, api.Name())
	w.login["AWS_ACCESS_KEY_ID"], w.login["AWS_SECRET_ACCESS_KEY"], w.login["AWS_SESSION_TOKEN"] = operator.AccessKeyID, operator.SecretAccessKey, operator.SessionToken
	w.join(publishers.Publisher{Name: "acme/aws", Lambda: &publishers.Lambda{Function: functionARN}}, "aws")
}

// startGoogle runs two of the function's doors; the operator's is a private service of Cloud Run.
func (w *world) startGoogle() {
	w.Helper()
	w.Settings("gcp", w.keys)
	doors := w.Google("Operate", "Reconcile")
	operate, reconcile := doors[0].URL, doors[1].URL
	w.eventually("the scheduler gets through", func() bool {
		response, err := http.Post(reconcile, "", nil)
		if err != nil {
			return false // it is starting
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	google := cloudrun.Start(w.T, w.Network)
	w.login["GOOGLE_APPLICATION_CREDENTIALS"] = w.Write("google.json", google.ServiceAccount(account))
	stop := google.Run(runHost, operate, account, "alice@example.com")
	w.dead = func() { stop() }
	w.back = func() { stop = google.Run(runHost, operate, account, "alice@example.com") }
	w.Write("stranger.json", google.ServiceAccount("stranger@acme-prod.iam.gserviceaccount.com"))
	w.Write("alice.json", google.Person("alice@example.com"))
	google.LetImpersonate("alice@example.com", account)
	w.Write("alice.token", []byte(google.PrintIdentityToken("alice@example.com")))
	w.join(publishers.Publisher{Name: "acme/gcp", CloudRun: &publishers.CloudRun{URL: "https://" + runHost}}, "gcp")
}

// startAzure runs the function app, which verifies Entra's tokens itself. The operator is a pipeline, with a token of another issuer.
func (w *world) startAzure() {
	w.Helper()
	w.Settings("azure", w.keys)
	host := w.Azure(azure.StartStorage(w.T), map[string]string{
		"AzureWebJobs.queue.Disabled": "true", "OPERATOR_TENANT_ID": tenantID, "OPERATOR_AUDIENCE": appURI, "OPERATORS": objectID, "HTTPS_PROXY": w.Network.Proxy,
	})
	if err := host.Tick(w.Context(), "reconcile"); err != nil {
		w.Fatal(err)
	}
	w.Network.Serve(host, appHost)
	w.pipeline(entra.Start(w.T, w.Network, tenantID))
	w.join(publishers.Publisher{Name: "acme/azure", FunctionApp: &publishers.FunctionApp{URL: "https://" + appHost + "/v1/operate", Audience: appURI}}, "azure")
}

func (w *world) pipeline(tenant *entra.Tenant) {
	w.Helper()
	const issuer, subject = "https://ci.example.com", "repo:acme/infrastructure"
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		w.Fatal(err)
	}
	public, err := jwks.New(&key.PublicKey)
	if err != nil {
		w.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: public.ID()}}, nil)
	if err != nil {
		w.Fatal(err)
	}
	now := time.Now()
	token, err := jwt.Signed(signer).Claims(map[string]any{"iss": issuer, "sub": subject, "aud": entra.Audience, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}).Serialize()
	if err != nil {
		w.Fatal(err)
	}
	w.Network.Issuer(issuer, func() []byte { return jwks.Set{public}.Encode() })
	for id, object := range map[string]string{clientID: objectID, "00000000-0000-0000-0000-0000000000cc": "00000000-0000-0000-0000-0000000000dd"} {
		tenant.Identify(id, entra.Identity{ObjectID: object, Credentials: []entra.Federated{{Issuer: issuer, Subject: subject, Audience: entra.Audience}}})
	}
	w.login["AZURE_TENANT_ID"], w.login["AZURE_CLIENT_ID"], w.login["AZURE_FEDERATED_TOKEN_FILE"] = tenantID, clientID, w.Write("ci-token", []byte(token))
}

// startSite runs a standalone publisher, which serves what it publishes itself, at the path of the issuer.
func (w *world) startSite() {
	w.Helper()
	w.Settings("site", w.keys)
	certificate, key := w.Network.Certificate("127.0.0.1")
	port, err := process.FreePort("127.0.0.1")
	if err != nil {
		w.Fatal(err)
	}
	address, data := fmt.Sprintf("127.0.0.1:%d", port), filepath.Join(w.Folder, "site", "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		w.Fatal(err)
	}
	log := filepath.Join(w.Folder, "site.log")
	p, err := process.Start(process.Program{
		Name: "standalone", Binary: w.Build("standalone", "functions/standalone"), Log: log, Environment: os.Environ(),
		Flags: []string{
			"--settings", filepath.Join(w.Folder, "site", "publisher.yaml"), "--data", data, "--listen", address, "--ca-bundle", w.Network.Bundle,
			"--tls-cert", w.Write("site/tls.crt", certificate), "--tls-key", w.Write("site/tls.key", key),
		},
	})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		p.Kill()
		if w.Failed() {
			w.Logf("standalone:\n%s", process.Tail(log, 15))
		}
	})
	w.Show("site", "https://"+address+"/aws", w.Network.Client().Transport)
	w.join(publishers.Publisher{Name: "acme/site", Directory: &publishers.Directory{Settings: "site/publisher.yaml", Data: "site/data"}}, "site")
	w.eventually("the standalone publisher publishes", func() bool {
		_, err := os.Stat(filepath.Join(data, "documents"))
		return !errors.Is(err, os.ErrNotExist) && len(w.published("site")) == len(w.keys)
	})
}
