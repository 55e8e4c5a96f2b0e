package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spf13/cobra"
	authentication "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kube-iam-assume/kube-iam-assume/cli/apiserver"
	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/token"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

const (
	enrollTimeout = 10 * time.Second

	// throwAway is an audience that nobody accepts.
	throwAway  = "kube-iam-assume:enroll-probe"
	tenYears   = 10 * 365 * 24 * 3600
	dayOfLife  = 24 * time.Hour
	defaultSA  = "kube-iam-assume/cluster-exporter"
	probeShort = 600
)

func enrollCommand() *cobra.Command {
	var kubeconfig, kubeContext, account string
	c := &cobra.Command{
		Use:   "enroll ID",
		Short: "Read a cluster and print its Cluster file",
		Long: `enroll reads the issuer and the signing keys of a cluster through your kubeconfig and prints the file that publishers read, with the keys that
start the trust. It changes nothing in the cluster. To see what goes wrong later, it asks for two short-lived tokens of the exporter's
service account with audiences that nobody accepts, if the account exists; warnings go to standard error.`,
		Example: "  kube-iam-assume enroll prod-eu1 --context prod-eu1 > clusters/prod-eu1.yaml",
		Args:    exactly(1, "a cluster ID"),
		RunE: func(c *cobra.Command, args []string) error {
			config, err := apiserver.Load(kubeconfig, kubeContext)
			if err != nil {
				return err
			}
			e := enroller{config: config, account: account, report: &command.Report{}}
			cluster, err := e.read(c.Context(), args[0])
			for _, w := range e.report.Checks {
				fmt.Fprintf(c.ErrOrStderr(), "%s: %s: %s\n", w.Result, w.Name, w.Detail)
			}
			if err != nil {
				return fmt.Errorf("enroll %s: %w", args[0], err)
			}
			_, err = c.OutOrStdout().Write(cluster.Encode())
			return err
		},
	}
	c.Flags().StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig `file`; default: KUBECONFIG or ~/.kube/config")
	c.Flags().StringVar(&kubeContext, "context", "", "`name` of the context; default: the current one")
	c.Flags().StringVar(&account, "exporter-service-account", defaultSA, "the exporter's service account, `namespace/name`")
	return c
}

// enroller reads one cluster.
type enroller struct {
	config  *rest.Config
	account string
	report  *command.Report
}

func (e *enroller) read(ctx context.Context, id string) (enrollment.Cluster, error) {
	issuer, keys, err := e.readAll(ctx)
	if err != nil {
		return enrollment.Cluster{}, err
	}
	e.warnOfKeys(issuer, keys)
	cluster := enrollment.Cluster{ID: id, Generation: 1, ExporterServiceAccount: e.account, BootstrapKeys: keys}
	for _, key := range keys {
		if !key.HasDerivedID() {
			cluster.ExternalKeyIDs = true
			e.report.Warn("external signer", true, "key %q has an ID of its own; keyIDs: external is set", key.ID())
		}
	}
	if err := e.probe(ctx, keys, issuer); err != nil {
		return enrollment.Cluster{}, err
	}
	_, err = enrollment.ParseCluster(id+".yaml", cluster.Encode())
	return cluster, err
}

// readAll reads each API server at its own address or, where those can't be reached or may not be listed, the kubeconfig's address over
// several fresh connections, as several API servers may stand behind it.
func (e *enroller) readAll(ctx context.Context) (issuer string, keys jwks.Set, err error) {
	cluster, err := apiserver.Open(ctx, e.config)
	if cluster == nil {
		return "", nil, err
	}
	readings, direct, err := cluster.Read(ctx)
	if err != nil {
		return "", nil, err
	}
	var sets []jwks.Set
	for _, r := range readings {
		if direct && !r.Reached {
			e.report.Warn("API server "+r.Address, true, "it does not answer (%v): its keys may be missing here", r.Err)
			continue
		}
		if err := readable(r); err != nil {
			return "", nil, err
		}
		if issuer != "" && r.Issuer != issuer {
			return "", nil, fmt.Errorf("the API servers have different issuers, %q and %q: finish the change first", issuer, r.Issuer)
		}
		issuer, sets = r.Issuer, append(sets, r.Keys)
	}
	differ := slices.ContainsFunc(sets, func(s jwks.Set) bool { return !bytes.Equal(s.Canonical(), sets[0].Canonical()) })
	e.report.Warn("API servers disagree", differ, "they list different keys; all of them are enrolled")
	keys, err = jwks.Union(sets...)
	return issuer, keys, err
}

func readable(r apiserver.Reading) error {
	switch {
	case r.Err != nil:
		return fmt.Errorf("read the discovery document: %w. If it is not found, the first --service-account-issuer is not an https URL: set one; "+
			"if it is forbidden, use an account that may get /.well-known/openid-configuration", r.Err)
	case r.KeysErr != nil:
		return fmt.Errorf("read the keys: %w", r.KeysErr)
	}
	return nil
}

func (e *enroller) warnOfKeys(issuer string, keys jwks.Set) {
	e.report.Warn("issuer", strings.Contains(issuer, "kubernetes.default.svc"), "%s is the default one, which no cloud can reach: make the URL of your documents the first --service-account-issuer", issuer)
	for _, key := range keys {
		e.report.Warn("key "+key.ID(), key.Algorithm() != "RS256", "it signs with %s, and Entra documents RS256 only", key.Algorithm())
		e.report.Warn("key "+key.ID(), key.Algorithm() == "ES384" || key.Algorithm() == "ES512", "it signs with %s, which Google refuses: it accepts RS256 and ES256", key.Algorithm())
	}
}

// probe asks for tokens and looks at what the API server makes of them.
func (e *enroller) probe(ctx context.Context, keys jwks.Set, issuer string) error {
	ctx, cancel := context.WithTimeout(ctx, enrollTimeout)
	defer cancel()
	client, err := kubernetes.NewForConfig(e.config)
	if err != nil {
		return err
	}
	claims, keyID, err := e.token(ctx, client, nil, probeShort)
	if err != nil {
		e.report.Warn("not checked", true, "signing key, default audience and longest token: no token of %s could be had (%v)", e.account, err)
		return nil
	}
	if _, listed := keys.ByID(keyID); !listed {
		return fmt.Errorf("the API server signs with the key %s, which its own JWKS does not list, so nobody can verify its tokens: add its public half as a --service-account-key-file", keyID)
	}
	for _, audience := range claims.Audience {
		cloud := strings.Contains(audience, "amazonaws") || strings.Contains(audience, "AzureADTokenExchange") || strings.Contains(audience, "googleapis")
		e.report.Warn("--api-audiences", cloud, "%q is an audience of every pod's default token, so every pod's token works at that cloud, some for a year: take it out", audience)
		e.report.Warn("--api-audiences", audience == issuer, "the issuer is an audience of every pod's default token: never register it as a client ID or audience at a cloud")
	}
	claims, _, err = e.token(ctx, client, []string{throwAway}, tenYears)
	if err == nil && claims.Expiry != nil && claims.IssuedAt != nil {
		life := claims.Expiry.Time().Sub(claims.IssuedAt.Time())
		e.report.Warn("--service-account-max-token-expiration", life > dayOfLife, "tokens may live %s, longer than a removed key stays published: set it to 24h", life)
	}
	return nil
}

func (e *enroller) token(ctx context.Context, client kubernetes.Interface, audiences []string, seconds int64) (claims jwt.Claims, keyID string, err error) {
	namespace, name, _ := strings.Cut(e.account, "/")
	answer, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authentication.TokenRequest{
		Spec: authentication.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		return claims, "", err
	}
	parsed, err := jwt.ParseSigned(answer.Status.Token, token.Algorithms)
	if err != nil {
		return claims, "", errors.New("its signature is of an unsupported kind")
	}
	return claims, parsed.Headers[0].KeyID, parsed.UnsafeClaimsWithoutVerification(&claims)
}
