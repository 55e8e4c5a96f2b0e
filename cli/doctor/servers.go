package doctor

import (
	"errors"
	"net/http"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kube-iam-assume/kube-iam-assume/cli/apiserver"
)

func serverChecks() []check {
	return []check{{
		id: "cluster.reachable", question: "Can the cluster be reached with this kubeconfig?",
		how:    "Lists the EndpointSlice of the service kubernetes, by which the exporter finds the API servers too.",
		remedy: "Try `kubectl get endpointslices -n default`; give --kubeconfig or --context; without access to the cluster give --issuer, and the rest is checked.",
		look:   reachable,
	}, {
		id: "cluster.each", question: "Does every API server answer?", needs: []string{"cluster.reachable"},
		how:    "Dials each address of the EndpointSlice. One that does not answer makes every snapshot additive: no key can retire.",
		remedy: "Start the API server, or wait (at most 15 s) until its address is dropped. If only this machine can't reach it, run doctor where nodes can be reached.",
		look:   eachAnswers,
	}, {
		id: "cluster.direct", question: "Is it known which API server said what?", needs: []string{"cluster.each"},
		how:    "Each address of the EndpointSlice is one API server. Through a balancer all look alike, and a difference between them can be missed.",
		remedy: "Run doctor on a node, or in the cluster. The exporter needs apiServers.addresses, or apiServers.expect for a virtual address.",
		look:   clusterDirect,
	}, {
		id: "cluster.discovery", question: "Does every API server have a discovery document?", needs: []string{"cluster.each"},
		how:  "GET /.well-known/openid-configuration with your credentials. Kubernetes answers 404 when the first issuer is not an https URL, and only its log says so.",
		look: haveDiscovery, remedy: "Look at the API server's log for service-account-issuer.",
	}, {
		id: "cluster.clock", question: "Do the API servers' clocks agree with this machine's?", needs: []string{"cluster.discovery"},
		how:    "Compares the Date of each answer. Tokens carry the API server's time: one that is ahead makes tokens that clouds find not yet valid, and snapshots over 5 minutes ahead are refused.",
		remedy: "Run a time service (chrony, systemd-timesyncd) on every control plane node, and on this machine.",
		look:   clocksAgree,
	}}
}

func reachable(e *evidence) finding {
	switch {
	case errors.Is(e.clusterErr, apiserver.ErrNoKubeconfig):
		if e.options.Issuer != "" {
			return skip("no kubeconfig; the documents alone are looked at")
		}
		return broken("%v", e.clusterErr)
	case apierrors.IsUnauthorized(e.clusterErr):
		return broken("the API server does not accept the kubeconfig's credentials").doing("Log in again; after a key rotation a service account's token must be issued anew.")
	case apierrors.IsForbidden(e.clusterErr):
		return broken("these credentials may not list endpointslices in the namespace default").doing("Use an account that may: doctor needs no more than to list them, and to create tokens of the exporter's account.")
	case e.clusterErr != nil:
		return broken("%v", withoutURL(e.clusterErr))
	case len(e.cluster.Listed) == 0:
		return broken("the EndpointSlice of the service kubernetes lists no API server, so the exporter finds none").doing("Is --endpoint-reconciler-type=none set? Then name the API servers in the exporter's apiServers.addresses.")
	}
	return ok("%d API servers are listed: %s", len(e.cluster.Listed), strings.Join(e.cluster.Listed, ", "))
}

func eachAnswers(e *evidence) finding {
	return unless(e.perServer(func(r apiserver.Reading) string {
		if r.Reached {
			return ""
		}
		return "it does not answer: " + withoutURL(r.Err).Error()
	}), "all of them")
}

func haveDiscovery(e *evidence) finding {
	var status *apiserver.StatusError
	remedy := ""
	f := unless(e.perServer(func(r apiserver.Reading) string {
		if r.Err == nil {
			return ""
		}
		if errors.As(r.Err, &status) {
			remedy = discoveryRemedy(status.Status)
		}
		return r.Err.Error()
	}), "all of them")
	if remedy != "" {
		f.remedy = remedy
	}
	return f
}

func discoveryRemedy(status int) string {
	switch status {
	case http.StatusNotFound:
		return "Make an https URL without query and fragment the first --service-account-issuer of every API server."
	case http.StatusForbidden:
		return "Your account may not read it: bind it to the ClusterRole system:service-account-issuer-discovery. Service accounts are bound by default: check that binding too."
	case http.StatusUnauthorized:
		return "This API server does not accept credentials that another one accepts: do all have the same --client-ca-file and service account keys?"
	}
	return ""
}

func clocksAgree(e *evidence) finding {
	worst := time.Duration(0)
	for _, r := range e.readings {
		if r.Skew.Abs() > worst.Abs() {
			worst = r.Skew
		}
	}
	complaints := e.perServer(func(r apiserver.Reading) string {
		if r.Skew.Abs() <= maxSkew {
			return ""
		}
		return "its clock is " + ahead(r.Skew)
	})
	f := unless(complaints, "within %s", worst.Abs()+time.Second)
	if worst.Abs() < 5*time.Minute {
		return softly(f)
	}
	return f
}

// maxSkew is what most verifiers forgive.
const maxSkew = time.Minute

func ahead(d time.Duration) string {
	if d < 0 {
		return (-d).String() + " behind"
	}
	return d.String() + " ahead"
}

func clusterDirect(e *evidence) finding {
	if !e.direct {
		return warn("none of %v can be reached from here; %d fresh connections to %s were read instead", e.cluster.Listed, len(e.readings), e.readings[0].Address)
	}
	return ok("%d API servers, each read at its own address", len(e.readings))
}
