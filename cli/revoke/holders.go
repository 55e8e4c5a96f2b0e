package revoke

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kube-iam-assume/kube-iam-assume/cli/apiserver"
	look "github.com/kube-iam-assume/kube-iam-assume/cli/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

const (
	// probeAudience is an audience that nobody accepts.
	probeAudience = "kube-iam-assume:revoke-probe"
	probeSeconds  = 600

	lookTimeout = time.Minute
	podsPage    = 500
	maxPods     = 50000

	// The kubelet renews a token at 80 % of its life, or when it is a day old, whichever is first (pkg/kubelet/token).
	kubeletShare  = 0.8
	kubeletOldest = 24 * time.Hour
	defaultLife   = time.Hour // of a projected token that names none
)

// clusterFlags say which cluster to look at, if any.
type clusterFlags struct {
	kubeconfig, context string
	account             string
	stopped             string
	stoppedAt           time.Time

	config *rest.Config // tests set it
}

func (f *clusterFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig `file`: look also at the cluster; default: KUBECONFIG")
	flags.StringVar(&f.context, "context", "", "`name` of the kubeconfig's context")
	flags.StringVar(&f.account, "probe-account", "default/default", "account whose tokens tell the signing key, `namespace/name`; the exporter's may be closed by the chart's policies")
	flags.StringVar(&f.stopped, "stopped-signing", "", "`time` since which no API server signs with the key (RFC 3339), if you know it; default: now")
}

func (f *clusterFlags) check() error {
	if namespace, name, ok := strings.Cut(f.account, "/"); !ok || namespace == "" || name == "" {
		return fmt.Errorf("--probe-account %q: want namespace/name", f.account)
	}
	if f.stopped == "" {
		return nil
	}
	var err error
	if f.stoppedAt, err = time.Parse(time.RFC3339, f.stopped); err != nil {
		return errors.New("--stopped-signing: want a time such as 2026-11-20T00:00:00Z")
	}
	return nil
}

// Holders are API servers that sign, and who may hold what they signed.
type Holders struct {
	Problem string   `json:"problem,omitempty"` // why the cluster was not looked at
	Servers []Server `json:"apiServers,omitempty"`

	StoppedSigning time.Time `json:"stoppedSigning"` // what the times below reckon with
	Pods           []Pod     `json:"pods,omitempty"`
	DefaultTokens  int       `json:"podsWithDefaultToken"` // for API servers, which may live a year
	PodsProblem    string    `json:"podsProblem,omitempty"`
	Secrets        []string  `json:"legacySecrets,omitempty"`
	SecretsProblem string    `json:"legacySecretsProblem,omitempty"`
}

// Server is what one API server signs with.
type Server struct {
	Address string `json:"address"`
	Signs   string `json:"signs,omitempty"` // key ID
	Problem string `json:"problem,omitempty"`
}

// Pod is one that may hold a token of the key, by one of its projected volumes.
type Pod struct {
	Pod            string    `json:"pod"`
	ServiceAccount string    `json:"serviceAccount"`
	Audience       string    `json:"audience"`
	Life           string    `json:"life"`
	Started        time.Time `json:"started"`
	Replaced       time.Time `json:"replaced"` // the kubelet has put another token into the volume by then
	Expires        time.Time `json:"expires"`  // no token that was in the volume lives longer
}

// look asks the cluster, if one was named. What can't be known is said, and stops nothing.
func (f *clusterFlags) look(ctx context.Context, s rotation.Statement) *Holders {
	config := f.config
	if config == nil {
		if f.kubeconfig == "" && f.context == "" && os.Getenv("KUBECONFIG") == "" {
			return nil
		}
		var err error
		if config, err = apiserver.Load(f.kubeconfig, f.context); err != nil {
			return &Holders{Problem: err.Error()}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	h := &Holders{StoppedSigning: f.stoppedAt}
	cluster, err := apiserver.Open(ctx, config)
	if err != nil {
		h.Problem = err.Error()
		return h
	}
	readings, _, err := cluster.Read(ctx)
	if err != nil {
		h.Problem = err.Error()
		return h
	}
	if other := otherIssuer(readings, s.Issuer); other != "" {
		h.Problem = fmt.Sprintf("its API servers have the issuer %s: it is not this cluster", other)
		return h
	}
	h.servers(apiserver.Tokens(ctx, readings, f.account, []string{probeAudience}, probeSeconds))
	if h.StoppedSigning.IsZero() || len(h.signing(s.KeyIDs)) > 0 {
		h.StoppedSigning = time.Now().UTC().Truncate(time.Second)
	}
	h.pods(ctx, cluster.Client)
	h.Secrets, h.SecretsProblem = look.LegacySecrets(ctx, config)
	return h
}

// otherIssuer is the first issuer that API servers say, if none of them says this one.
func otherIssuer(readings []apiserver.Reading, issuer string) string {
	other := ""
	for _, r := range readings {
		if r.Issuer == issuer {
			return ""
		}
		if other == "" {
			other = r.Issuer
		}
	}
	return other
}

func (h *Holders) servers(tokens []apiserver.Token) {
	for _, t := range tokens {
		server := Server{Address: t.Address, Signs: t.KeyID}
		if t.Err != nil {
			server.Problem = t.Err.Error()
		}
		if !slices.Contains(h.Servers, server) { // through a balancer one address is asked several times
			h.Servers = append(h.Servers, server)
		}
	}
}

// signing are the API servers that sign with one of the keys.
func (h *Holders) signing(keyIDs []string) []string {
	if h == nil {
		return nil
	}
	var found []string
	for _, s := range h.Servers {
		if slices.Contains(keyIDs, s.Signs) {
			found = append(found, s.Address)
		}
	}
	return found
}

// doubts are why it is not known of every API server what it signs with.
func (h *Holders) doubts() []string {
	if h == nil {
		return []string{"no cluster was looked at (--kubeconfig)"}
	}
	if h.Problem != "" {
		return []string{h.Problem}
	}
	var all []string
	for _, s := range h.Servers {
		if s.Problem != "" {
			all = append(all, s.Address+": "+s.Problem)
		}
	}
	return all
}

func (h *Holders) pods(ctx context.Context, client kubernetes.Interface) {
	options := metav1.ListOptions{Limit: podsPage}
	for seen := 0; ; {
		page, err := client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, options)
		if err != nil {
			h.PodsProblem = fmt.Sprintf("not all pods could be listed: %v", err)
			break
		}
		for i := range page.Items {
			h.pod(&page.Items[i])
		}
		if seen += len(page.Items); seen >= maxPods {
			h.PodsProblem = fmt.Sprintf("only the first %d pods were looked at", seen)
			break
		}
		if options.Continue = page.Continue; options.Continue == "" {
			break
		}
	}
	slices.SortFunc(h.Pods, func(a, b Pod) int {
		if order := b.Expires.Compare(a.Expires); order != 0 {
			return order
		}
		return strings.Compare(a.Pod+a.Audience, b.Pod+b.Audience)
	})
}

// pod adds the tokens for somebody outside that a pod may have got before the key stopped signing.
func (h *Holders) pod(p *core.Pod) {
	if p.Status.StartTime == nil || p.Status.StartTime.After(h.StoppedSigning) || p.Status.Phase == core.PodSucceeded || p.Status.Phase == core.PodFailed {
		return
	}
	byDefault := false
	for _, volume := range p.Spec.Volumes {
		if volume.Projected == nil {
			continue
		}
		for _, source := range volume.Projected.Sources {
			token := source.ServiceAccountToken
			switch {
			case token == nil:
			case token.Audience == "":
				byDefault = true
			default:
				h.Pods = append(h.Pods, h.holder(p, token))
			}
		}
	}
	if byDefault {
		h.DefaultTokens++
	}
}

func (h *Holders) holder(p *core.Pod, token *core.ServiceAccountTokenProjection) Pod {
	life := defaultLife
	if token.ExpirationSeconds != nil {
		life = time.Duration(*token.ExpirationSeconds) * time.Second
	}
	renewed := min(time.Duration(kubeletShare*float64(life)), kubeletOldest)
	return Pod{
		Pod: p.Namespace + "/" + p.Name, ServiceAccount: p.Namespace + "/" + p.Spec.ServiceAccountName, Audience: token.Audience,
		Life: life.String(), Started: p.Status.StartTime.UTC(), Replaced: h.StoppedSigning.Add(renewed), Expires: h.StoppedSigning.Add(life),
	}
}
