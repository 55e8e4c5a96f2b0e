package doctor

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/cli/apiserver"
	"github.com/kube-iam-assume/kube-iam-assume/cli/token"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

const (
	// googleSubject is the longest google.subject, in bytes.
	googleSubject = 127

	exchangeSeconds = 3600
)

func exchangeChecks() []check {
	return []check{{
		id: "exchange.token", question: "Does every API server issue the workload's token?", needs: []string{"cluster.discovery"},
		how:    "Asks each for an hour's token of --service-account with --audience; without them, of the exporter's account for nobody.",
		remedy: "Does the service account exist, and may you create its tokens?",
		look:   exchangeToken,
	}, {
		id: "exchange.verified", question: "Would a cloud accept the workload's token?", needs: []string{"exchange.token", "jwks.read"},
		how:    "Verifies a fresh token of every API server against the published documents alone, as a cloud does: issuer, key, algorithm, signature, audience, times.",
		remedy: "The check that failed says which link it is; `kube-iam-assume verify` shows all of them.",
		look:   exchangeVerified,
	}, {
		id: "exchange.subject", question: "Is the workload's subject short enough?", needs: []string{"exchange.token"},
		how:    fmt.Sprintf("google.subject takes %d bytes; Kubernetes allows names that are longer.", googleSubject),
		remedy: "Map another claim to google.subject, such as the service account's uid, or shorten its name.",
		look:   exchangeSubject,
	}}
}

// workload is whose token is tried, namespace/name.
func (e *evidence) workload() string {
	if e.options.Workload != "" {
		return e.options.Workload
	}
	return e.options.Account
}

func (e *evidence) audiences() []string {
	if len(e.options.Audiences) > 0 {
		return e.options.Audiences
	}
	return []string{probeAudience}
}

func (e *evidence) gatherExchange(ctx context.Context) {
	if e.jwks.status != http.StatusOK {
		return
	}
	for _, audience := range e.audiences() {
		for _, t := range apiserver.Tokens(ctx, e.readings, e.workload(), []string{audience}, exchangeSeconds) {
			x := exchange{address: t.Address, audience: audience, err: t.Err}
			if t.Err == nil {
				x.report = token.Verify(ctx, e.options.Stranger, t.Text, e.issuer, audience, e.options.Now())
			}
			e.exchange = append(e.exchange, x)
		}
	}
}

func exchangeToken(e *evidence) finding {
	var all []string
	var policy string
	for _, x := range e.exchange {
		switch said := refusal(x.err); {
		case said != "":
			policy = said
		case x.err != nil:
			all = append(all, fmt.Sprintf("%s: %v", x.address, withoutURL(x.err)))
		}
	}
	if len(all) == 0 && policy != "" {
		return skip("%s. Name a workload's account with --service-account", policy)
	}
	slices.Sort(all)
	return unless(slices.Compact(all), "%s for %s", e.workload(), strings.Join(e.audiences(), ", "))
}

func exchangeVerified(e *evidence) finding {
	var all []string
	for _, x := range e.exchange {
		for _, c := range x.report.Checks {
			if c.Result == "failed" {
				all = append(all, fmt.Sprintf("token of %s for %s: %s: %s", x.address, x.audience, c.Name, c.Detail))
			}
		}
	}
	return unless(all, "%d tokens verified", len(e.exchange))
}

func exchangeSubject(e *evidence) finding {
	subject := snapshot.Subject(e.workload())
	if len(subject) <= googleSubject || !slices.Contains(e.consumers(), "google") {
		return ok("%d bytes", len(subject))
	}
	f := broken("%d bytes: %s", len(subject), subject)
	if len(e.options.For) == 0 {
		return softly(f)
	}
	return f
}
