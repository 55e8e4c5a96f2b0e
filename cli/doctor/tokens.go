package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kube-iam-assume/kube-iam-assume/cli/apiserver"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

func tokenChecks() []check {
	return []check{{
		id: "tokens.issued", question: "Does every API server issue tokens of the exporter's service account?", needs: []string{"cluster.discovery"},
		how:    "Asks each for a token of 10 minutes with an audience that nobody accepts. The token is never shown. The chart's admission policies keep it from everybody; then this is skipped.",
		remedy: "Install the chart, which makes the account, or name it with --exporter-service-account; and use an account that may create serviceaccounts/token there.",
		look:   issued,
	}, {
		id: "tokens.form", question: "Is a token what Kubernetes makes of such a request?", needs: []string{"tokens.issued"},
		how:    "Exactly the audience asked for, the subject of the account, 10 minutes, bound to no pod: else no publisher takes it as an attestation.",
		remedy: "Something between rewrites TokenRequests: an admission webhook, or an API server that is not Kubernetes'.",
		look:   tokenForm,
	}, {
		id: "tokens.issuer", question: "Do tokens carry the issuer of the discovery document?", needs: []string{"tokens.issued"},
		how:    "Compares the iss of the token with the issuer that the same API server publishes.",
		remedy: "The API server was changed between two questions, or they were answered by different ones: run doctor again when the change is over.",
		look:   tokensIssuer,
	}, {
		id: "tokens.signing-key", question: "Does every API server list the key it signs with?", needs: []string{"tokens.issued", "keys.strict"},
		how:    "The header of a token names the key. Kubernetes does not list the signing key by itself; an API server that lacks it refuses its own tokens, and so does everybody.",
		remedy: "Name the public half of --service-account-signing-key-file with --service-account-key-file on that API server.",
		look:   tokensSigningKey,
	}, {
		id: "tokens.mutual", question: "Does every API server accept the others' tokens?", needs: []string{"tokens.signing-key", "cluster.direct"},
		how:    "Each must list the keys that the others sign with; else pods are refused in turns (401).",
		remedy: "Give every API server every --service-account-key-file before any of them signs with a new key: `kube-iam-assume rotation plan`.",
		look:   tokensMutual,
	}, {
		id: "tokens.one-key", question: "Do all API servers sign with the same key?", needs: []string{"tokens.signing-key"},
		how:    "Compares the key IDs in the headers of tokens.",
		remedy: "Normal during a rotation: finish it with the next API server. Otherwise copy the signing key to every control plane node.",
		look:   tokensOneKey,
	}, {
		id: "tokens.default-audience", question: "Is a pod's default token useless outside the cluster?", needs: []string{"tokens.issued"},
		how:    "Asks for a token without naming an audience. If --api-audiences names a cloud's, every pod's default token works there, some for a year.",
		remedy: "Take the cloud's audience out of --api-audiences, and never register the issuer's URL as an audience; workloads project a token with the cloud's audience instead.",
		look:   defaultAudience,
	}, {
		id: "tokens.lifetime", question: "Does a removed key stay published longer than any token lives?", needs: []string{"tokens.issued"},
		how:    "Asks for a token of ten years with an audience that nobody accepts and reads what the API server makes of it; compares with the retention.",
		remedy: "Set --service-account-max-token-expiration=24h on every API server, or a longer retention at the publisher.",
		look:   tokensLifetime,
	}, {
		id: "tokens.attestation", question: "May the exporter get the API servers' word for its snapshots?", needs: []string{"cluster.discovery"},
		how:    "Asks the API server whether the account may create tokens of itself (SubjectAccessReview).",
		remedy: "Install the chart's Role: create on serviceaccounts/token, resourceNames: [the account].",
		look:   func(e *evidence) finding { return e.may("attest") },
	}, {
		id: "tokens.rights", question: "May the exporter find and read the API servers?", needs: []string{"cluster.discovery"},
		how:    "Asks the API server whether the account may list endpointslices in default and get /openid/v1/jwks.",
		remedy: "Install the chart's Role in the namespace default; bind the ClusterRole system:service-account-issuer-discovery to the group system:serviceaccounts again.",
		look:   func(e *evidence) finding { return e.may("list", "read") },
	}}
}

func issued(e *evidence) finding {
	var remedy, policy string
	f := unless(e.tokenComplaints(func(_ apiserver.Reading, t apiserver.Token) string {
		switch {
		case t.Err == nil:
			return ""
		case refusal(t.Err) != "":
			policy = refusal(t.Err)
			return ""
		case apierrors.IsNotFound(t.Err):
			return "there is no service account " + e.options.Account
		case apierrors.IsForbidden(t.Err):
			remedy = "Use an account that may create serviceaccounts/token of " + e.options.Account + "; the exporter's own may."
			return "you may not create tokens of " + e.options.Account
		case apierrors.IsUnauthorized(t.Err):
			remedy = "The kubeconfig's credentials are refused by this API server alone: it lacks the others' keys or authority."
		}
		return withoutURL(t.Err).Error()
	}), "of %s", e.options.Account)
	if f.status == OK && policy != "" {
		return skip("%s. What holds for every account is checked with --exporter-service-account default/default", policy)
	}
	if remedy != "" {
		f.remedy = remedy
	}
	return f
}

// refusal is what a ValidatingAdmissionPolicy says in an error, which is empty if none refused. RBAC may refuse with the same status and
// reason; only the API server's cause of a policy begins with its name.
func refusal(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return ""
	}
	for _, cause := range status.Status().Details.Causes {
		if strings.HasPrefix(cause.Message, "ValidatingAdmissionPolicy '") {
			return cause.Message
		}
	}
	return ""
}

func tokenForm(e *evidence) finding {
	return unless(e.tokenComplaints(func(_ apiserver.Reading, t apiserver.Token) string {
		switch {
		case !slices.Equal(t.Claims.Audience, jwt.Audience{probeAudience}):
			return fmt.Sprintf("the audience is %q", t.Claims.Audience)
		case t.Claims.Subject != snapshot.Subject(e.options.Account):
			return "the subject is " + t.Claims.Subject
		case t.PodUID != "":
			return "it is bound to a pod"
		case t.Life() > snapshot.MaxAttestationLifetime || t.Life() <= 0:
			return fmt.Sprintf("it is valid for %s", t.Life())
		}
		return ""
	}), "one audience, the account's subject, 10 minutes, no pod")
}

func defaultAudience(e *evidence) finding {
	var cloud, issuer []string
	for _, t := range e.plain {
		for _, audience := range t.Claims.Audience {
			for _, known := range []string{"amazonaws.com", "AzureADTokenExchange", "googleapis.com", "vault"} {
				if strings.Contains(audience, known) {
					cloud = append(cloud, audience)
				}
			}
			if audience == e.issuer {
				issuer = append(issuer, audience)
			}
		}
	}
	switch {
	case len(cloud) > 0:
		return broken("%q is an audience of every pod's default token", cloud[0])
	case len(issuer) > 0:
		return ok("yes, unless a cloud lists the issuer's URL as an audience: it is one of every pod's default token")
	}
	return ok("yes")
}

func longest(tokens []apiserver.Token) time.Duration {
	var life time.Duration
	for _, t := range tokens {
		life = max(life, t.Life())
	}
	return life
}

func (e *evidence) longComplaints() []string {
	var all []string
	for _, t := range e.long {
		if t.Err == nil && t.Life() > e.retention {
			all = append(all, fmt.Sprintf("%s issues tokens for %s; a key that left stays published for %s", t.Address, years(t.Life()), e.retention))
		}
	}
	return all
}

func years(d time.Duration) string {
	const year = 365 * 24 * time.Hour
	if d >= 2*year {
		return fmt.Sprintf("%d years", d/year)
	}
	return d.String()
}

// may tells what an account may do, as far as the API server told.
func (e *evidence) may(what ...string) finding {
	var denied []string
	for _, w := range what {
		switch right := e.rights[w]; {
		case right.err != nil:
			return skip("you may not ask for others' rights (SubjectAccessReview): %v", withoutURL(right.err))
		case !right.allowed:
			denied = append(denied, fmt.Sprintf("%s may not %s", e.options.Account, right.what))
		}
	}
	return unless(denied, "yes")
}

func tokensIssuer(e *evidence) finding {
	return unless(e.tokenComplaints(func(r apiserver.Reading, t apiserver.Token) string {
		if e.direct && t.Claims.Issuer != r.Issuer || !slices.Contains(e.issuers(), t.Claims.Issuer) {
			return fmt.Sprintf("its tokens have the issuer %q", t.Claims.Issuer)
		}
		return ""
	}), "yes")
}

func tokensSigningKey(e *evidence) finding {
	return unless(e.tokenComplaints(func(r apiserver.Reading, t apiserver.Token) string {
		keys := r.Keys
		if !e.direct {
			keys = e.union()
		}
		if _, listed := keys.ByID(t.KeyID); !listed {
			return fmt.Sprintf("it signs with %s, which its JWKS does not list", t.KeyID)
		}
		return ""
	}), "%s", strings.Join(e.signers(), ", "))
}

func tokensMutual(e *evidence) finding {
	return unless(e.perServer(func(r apiserver.Reading) string {
		for _, id := range e.signers() {
			if _, listed := r.Keys.ByID(id); !listed && e.direct {
				return "it does not list " + id + ", with which another signs"
			}
		}
		return ""
	}), "yes")
}

func tokensOneKey(e *evidence) finding {
	if len(e.signers()) > 1 {
		return warn("they sign with %s", strings.Join(e.signers(), ", "))
	}
	return ok("%s", e.signers()[0])
}

func tokensLifetime(e *evidence) finding {
	return softly(unless(e.longComplaints(), "tokens live at most %s, the retention is %s", longest(e.long), e.retention))
}
