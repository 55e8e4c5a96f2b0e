package kube_test

import (
	"context"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	events "k8s.io/api/events/v1"
	kubeerrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

const (
	namespace = "kube-iam-assume"
	account   = "cluster-exporter"
	snapshot  = "kube-iam-assume:snapshot-key:test"
)

func exporterMayOnlyDoItsWork(t *testing.T, cluster *kube.Cluster) {
	cluster.InstallExporter(t, namespace, account)
	cluster.CreateServiceAccount(t, namespace, "other")
	cluster.CreateServiceAccount(t, "elsewhere", account)
	projected := cluster.Kubelet(t, 0, namespace, account, 600)
	for server := range cluster.Servers {
		client, err := kubernetes.NewForConfig(cluster.TokenConfig(server, projected.Token()))
		if err != nil {
			t.Fatal(err)
		}
		for name, try := range allowed {
			if err := try(t.Context(), client); err != nil {
				t.Errorf("server %d: %s: %v", server, name, err)
			}
		}
		for name, try := range forbidden {
			if err := try(t.Context(), client); !kubeerrors.IsForbidden(err) {
				t.Errorf("server %d: %s: got %v, want 403", server, name, err)
			}
		}
	}
	checkAttestation(t, cluster.Token(t, 2, namespace, account, []string{snapshot}, 600))
}

// An attempt is one request of the exporter.
type attempt func(context.Context, kubernetes.Interface) error

var allowed = map[string]attempt{
	"list API servers":   func(ctx context.Context, c kubernetes.Interface) error { return listSlices(ctx, c, "default") },
	"read the keys":      get("/openid/v1/jwks"),
	"read the discovery": get("/.well-known/openid-configuration"),
	"attest":             mint(namespace, account),
	"event":              event(namespace),
	"old event":          oldEvent(namespace),
}

var forbidden = map[string]attempt{
	"slices elsewhere":     func(ctx context.Context, c kubernetes.Interface) error { return listSlices(ctx, c, namespace) },
	"other's token":        mint(namespace, "other"),
	"namesake's token":     mint("elsewhere", account),
	"event elsewhere":      event("default"),
	"old event elsewhere":  oldEvent("default"),
	"own secrets":          listSecrets(namespace),
	"every secret":         listSecrets(meta.NamespaceAll),
	"API servers' metrics": get("/metrics"),
	"delete API servers": func(ctx context.Context, c kubernetes.Interface) error {
		return c.DiscoveryV1().EndpointSlices("default").Delete(ctx, "kubernetes", meta.DeleteOptions{})
	},
	"read its account": func(ctx context.Context, c kubernetes.Interface) error {
		_, err := c.CoreV1().ServiceAccounts(namespace).Get(ctx, account, meta.GetOptions{})
		return err
	},
	"make accounts": func(ctx context.Context, c kubernetes.Interface) error {
		made := &core.ServiceAccount{ObjectMeta: meta.ObjectMeta{Name: "mine"}}
		_, err := c.CoreV1().ServiceAccounts(namespace).Create(ctx, made, meta.CreateOptions{})
		return err
	},
	"list pods": func(ctx context.Context, c kubernetes.Interface) error {
		_, err := c.CoreV1().Pods(namespace).List(ctx, meta.ListOptions{})
		return err
	},
	"read events": func(ctx context.Context, c kubernetes.Interface) error {
		_, err := c.EventsV1().Events(namespace).List(ctx, meta.ListOptions{})
		return err
	},
}

func listSlices(ctx context.Context, c kubernetes.Interface, in string) error {
	_, err := c.DiscoveryV1().EndpointSlices(in).List(ctx, meta.ListOptions{})
	return err
}

func listSecrets(in string) attempt {
	return func(ctx context.Context, c kubernetes.Interface) error {
		_, err := c.CoreV1().Secrets(in).List(ctx, meta.ListOptions{})
		return err
	}
}

func get(path string) attempt {
	return func(ctx context.Context, c kubernetes.Interface) error {
		return c.Discovery().RESTClient().Get().AbsPath(path).SetHeader("Accept", "*/*").Do(ctx).Error()
	}
}

func mint(in, name string) attempt {
	return func(ctx context.Context, c kubernetes.Interface) error {
		seconds := int64(600)
		request := &authentication.TokenRequest{
			Spec: authentication.TokenRequestSpec{Audiences: []string{snapshot}, ExpirationSeconds: &seconds},
		}
		_, err := c.CoreV1().ServiceAccounts(in).CreateToken(ctx, name, request, meta.CreateOptions{})
		return err
	}
}

func event(in string) attempt {
	return func(ctx context.Context, c kubernetes.Interface) error {
		_, err := c.EventsV1().Events(in).Create(ctx, &events.Event{
			ObjectMeta:          meta.ObjectMeta{GenerateName: "test-"},
			EventTime:           meta.NewMicroTime(time.Now()),
			ReportingController: "kube-iam-assume.dev/exporter", ReportingInstance: "test",
			Action: "Test", Reason: "Test", Type: core.EventTypeNormal,
			Regarding: core.ObjectReference{Kind: "ServiceAccount", Namespace: in, Name: account},
		}, meta.CreateOptions{})
		return err
	}
}

func oldEvent(in string) attempt {
	return func(ctx context.Context, c kubernetes.Interface) error {
		_, err := c.CoreV1().Events(in).Create(ctx, &core.Event{
			ObjectMeta: meta.ObjectMeta{GenerateName: "test-"}, Reason: "Test", Type: core.EventTypeNormal,
			InvolvedObject: core.ObjectReference{Kind: "ServiceAccount", Namespace: in, Name: account},
		}, meta.CreateOptions{})
		return err
	}
}

// checkAttestation wants the one audience that was asked for, and no pod.
func checkAttestation(t *testing.T, raw string) {
	t.Helper()
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.Claims
	var bound struct {
		Kubernetes map[string]any `json:"kubernetes.io"`
	}
	if err := token.UnsafeClaimsWithoutVerification(&claims, &bound); err != nil {
		t.Fatal(err)
	}
	if len(claims.Audience) != 1 || claims.Audience[0] != snapshot || bound.Kubernetes["pod"] != nil {
		t.Errorf("the attestation is for %v, pod %v", claims.Audience, bound.Kubernetes["pod"])
	}
	if life := claims.Expiry.Time().Sub(claims.IssuedAt.Time()); life != 10*time.Minute {
		t.Errorf("the attestation lives %s", life)
	}
}
