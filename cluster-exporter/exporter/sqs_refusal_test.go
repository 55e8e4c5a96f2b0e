package exporter

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	standin "github.com/kube-iam-assume/kube-iam-assume/test/aws/queue"
)

const secretToken = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9.c2VjcmV0"

// refusals is an AWS account in which the role's name says what the login comes to. All queues but one are missing.
func refusals(t *testing.T) (url, bundle string) {
	t.Helper()
	queues := &standin.Server{Queues: map[string]*standin.Queue{"there": {}}}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/portal/") {
			_, _ = fmt.Fprint(w, "<html>Please log in to the network")
			return
		}
		if r.Header.Get("X-Amz-Target") != "" {
			queues.ServeHTTP(w, r)
			return
		}
		_ = r.ParseForm()
		code := strings.TrimPrefix(r.Form.Get("RoleArn"), "arn:aws:iam::111122223333:role/")
		if code == "good" {
			_, _ = fmt.Fprint(w, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey>`+
				`<SessionToken>s</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`)
			return
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>it was %s</Message></Error></ErrorResponse>`, code, r.Form.Get("WebIdentityToken"))
	}))
	t.Cleanup(server.Close)
	bundle = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return server.URL, bundle
}

// Each refusal says who refused, why, and what would help; none repeats the token.
func TestQueueRefusals(t *testing.T) {
	url, bundle := refusals(t)
	t.Setenv("AWS_ENDPOINT_URL_STS", url)
	folder := t.TempDir()
	token, empty := filepath.Join(folder, "token"), filepath.Join(folder, "empty")
	for file, content := range map[string]string{token: secretToken + "\n", empty: "\n"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup // the SDK pauses before it tries a login again
	for name, test := range map[string]struct {
		role, url, token string
		want             []string
	}{
		"sent":           {"good", url + "/1/there", token, nil},
		"not believed":   {"InvalidIdentityToken", url + "/1/there", token, []string{"STS refused: InvalidIdentityToken: it was (token): ", "is its key published"}},
		"expired":        {"ExpiredTokenException", url + "/1/there", token, []string{"STS refused", "the kubelet renews"}},
		"not trusted":    {"AccessDenied", url + "/1/there", token, []string{"STS refused", "deploy the stack again"}},
		"unread":         {"IDPCommunicationError", url + "/1/there", token, []string{"STS refused", "look at the issuer's URL"}},
		"something new":  {"Surprise", url + "/1/there", token, []string{"STS refused: Surprise", "see the role"}},
		"no queue":       {"good", url + "/1/nowhere", token, []string{"SQS refused: AWS.SimpleQueueService.NonExistentQueue", "not that of the stack's output"}},
		"no token":       {"good", url + "/1/there", filepath.Join(folder, "none"), []string{"no token to log in", filepath.Join(folder, "none"), "mounted there?"}},
		"empty token":    {"good", url + "/1/there", empty, []string{"no token to log in", "is empty"}},
		"nobody listens": {"good", "https://127.0.0.1:1/1/there", token, []string{"no answer of SQS", "refused", "may the exporter reach it"}},
	} {
		all.Go(func() {
			q, err := newSender(Settings{Cluster: "prod", CABundle: bundle}, Destination{
				SQS: &SQS{URL: test.url, Region: "eu-central-1", RoleARN: "arn:aws:iam::111122223333:role/" + test.role, TokenFile: test.token},
			})
			if err != nil {
				t.Error(err)
				return
			}
			a, err := q.send(t.Context(), []byte("snapshot"))
			if (err == nil) != (test.want == nil) || a.Queued != (test.want == nil) {
				t.Errorf("%s: %+v, %v", name, a, err)
			}
			for _, want := range test.want {
				if !strings.Contains(fmt.Sprint(err), want) {
					t.Errorf("%s: got %v, want %q", name, err, want)
				}
			}
			if strings.Contains(fmt.Sprint(err), "eyJ") {
				t.Errorf("%s: the token is in %v", name, err)
			}
		})
	}
	all.Wait()
}

// TestQueueUnanswered: what answers is not AWS, or nobody does.
func TestQueueUnanswered(t *testing.T) {
	url, bundle := refusals(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(secretToken), 0o600); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	defer all.Wait()
	for _, endpoint := range []string{url + "/portal/", "https://127.0.0.1:1"} {
		t.Setenv("AWS_ENDPOINT_URL_STS", endpoint)
		q, err := newSender(Settings{Cluster: "prod", CABundle: bundle}, Destination{
			SQS: &SQS{URL: url + "/1/there", Region: "eu-central-1", RoleARN: "arn:aws:iam::111122223333:role/good", TokenFile: token},
		})
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			_, err := q.send(t.Context(), []byte("snapshot"))
			if err == nil || !strings.Contains(err.Error(), "no answer of STS") || strings.Contains(err.Error(), "eyJ") {
				t.Errorf("%s: got %v", endpoint, err)
			}
		})
	}
}

func TestQueueRegion(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		url, region string
		want        string // "" for a refusal
	}{
		{"https://sqs.eu-central-1.amazonaws.com/1/q", "", "eu-central-1"},
		{"https://sqs.eu-central-1.amazonaws.com:443/1/q", "us-east-1", ""},
		{"https://sqs.cn-north-1.amazonaws.com.cn/1/q", "", "cn-north-1"},
		{"https://sqs-fips.us-gov-west-1.amazonaws.com/1/q", "us-gov-west-1", "us-gov-west-1"},
		{"https://sqs.eu-west-1.api.aws/1/q", "", "eu-west-1"},
		{"https://vpce-0a1-b2.sqs.eu-west-1.vpce.amazonaws.com/1/q", "", "eu-west-1"},
		{"https://vpce-0a1-b2.sqs.eu-west-1.vpce.amazonaws.com/1/q", "eu-west-2", ""},
		{"https://queue.example.com/1/q", "eu-west-1", "eu-west-1"},
		{"https://queue.example.com/1/q", "example.com/", ""},
		{"http://127.0.0.1:9324/1/q", "eu-west-1", "eu-west-1"},
		{"http://[::1]:9324/1/q", "eu-west-1", "eu-west-1"},
		{"http://10.0.0.1:9324/1/q", "eu-west-1", ""},
		{"http://localhost.example.com/1/q", "eu-west-1", ""},
		{"https://me:secret@sqs.eu-west-1.amazonaws.com/1/q", "", ""},
		{"https://sqs.eu-west-1.amazonaws.com/", "", ""},
	} {
		got, err := SQS{URL: test.url, Region: test.region}.region()
		if got != test.want || (err == nil) != (test.want != "") || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s in %q: got %q, %v, want %q", test.url, test.region, got, err, test.want)
		}
	}
}

func TestSessionName(t *testing.T) {
	t.Parallel()
	for cluster, want := range map[string]string{
		"p": "kube-iam-assume.p", strings.Repeat("c", 48): "kube-iam-assume." + strings.Repeat("c", 48), strings.Repeat("c", 63): strings.Repeat("c", 63),
	} {
		if got := sessionName(cluster); got != want || len(got) > 64 {
			t.Errorf("%s: got %s, want %s", cluster, got, want)
		}
	}
}
