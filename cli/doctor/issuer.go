package doctor

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/cli/apiserver"
)

func issuerChecks() []check {
	return []check{{
		id: "issuer.same", question: "Do all API servers have the same issuer?", needs: []string{"cluster.discovery"},
		how:    "Compares the issuer in the discovery document of each. Tokens of a server with another issuer are refused by every cloud, in turns.",
		remedy: "Give every API server the same first --service-account-issuer; keep the other as the second until no token of it is left.",
		look:   issuerSame,
	}, {
		id: "issuer.known", question: "Which issuer is to be checked?",
		how:    "It is --issuer; else the exporter's or the publisher's settings say it; else the API servers.",
		remedy: "Give --issuer URL.",
		look:   issuerKnown,
	}, {
		id: "issuer.expected", question: "Is it the issuer that clouds, exporter and publisher are told?", needs: []string{"issuer.same", "issuer.known"},
		how:    "Compares, byte for byte, the API servers' issuer with --issuer or the settings. Case and a trailing slash count: AWS, Google, Entra and Vault compare in the same way.",
		remedy: "Make the registered URL the first --service-account-issuer of every API server, or register theirs.",
		look:   issuerExpected,
	}, {
		id: "issuer.form", question: "Is the issuer a URL that every consumer accepts?", needs: []string{"issuer.known"},
		how:    "https, no query, no fragment, no trailing slash, no white space, lower-case host, no port (AWS).",
		remedy: "Choose a plain https://HOST/PATH and make it the first --service-account-issuer; the present one stays as the second.",
		look:   issuerForm,
	}, {
		id: "issuer.public", question: "Can a cloud reach the issuer's host at all?", needs: []string{"issuer.form"},
		how:    "The default issuer, https://kubernetes.default.svc, and names such as *.local mean something inside one network only.",
		remedy: "Make the URL of your documents the first --service-account-issuer. Changing it later breaks every registration: choose a host that you will keep.",
		look:   issuerPublic,
	}}
}

func difference(a, b string) string {
	switch {
	case strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/"):
		return ": a trailing slash"
	case strings.EqualFold(a, b):
		return ": upper and lower case"
	case strings.TrimSpace(a) == strings.TrimSpace(b):
		return ": white space"
	}
	return ""
}

func issuerForm(e *evidence) finding {
	u, err := url.Parse(e.issuer)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "":
		return broken("%q is not an https URL", e.issuer)
	case u.User != nil || strings.ContainsAny(e.issuer, "?#"):
		return broken("%q has a query, a fragment or credentials", e.issuer)
	case strings.TrimSpace(e.issuer) != e.issuer:
		return broken("%q begins or ends with white space, which Entra refuses", e.issuer)
	case strings.HasSuffix(e.issuer, "/"):
		return broken("%q ends with a slash: consumers differ in whether it belongs to the issuer", e.issuer)
	case strings.ToLower(u.Host) != u.Host:
		return broken("the host %q has upper-case letters, which consumers compare as they are", u.Host)
	case u.Port() != "":
		return warn("%q has a port: AWS says it should not, and refuses some", e.issuer).doing("Serve the documents on port 443 if AWS is among the consumers.")
	}
	return ok("%s", e.issuer)
}

func issuerPublic(e *evidence) finding {
	host := e.host()
	address, err := netip.ParseAddr(host)
	private := err == nil && !public(address)
	for _, suffix := range []string{".svc", ".local", ".internal", ".localhost", ".lan"} {
		private = private || strings.HasSuffix(host, suffix)
	}
	switch {
	case strings.HasPrefix(host, "kubernetes.default"):
		return broken("%s is the default issuer of Kubernetes, which no cloud can reach", e.issuer)
	case e.options.Internal:
		return ok("--internal: its consumers are in the same network")
	case private || err != nil && !strings.Contains(host, "."):
		return broken("%s means something inside one network only; with consumers there, give --internal", host)
	}
	return ok("%s", host)
}

func public(address netip.Addr) bool {
	address = address.Unmap()
	return address.IsGlobalUnicast() && !address.IsPrivate()
}

func issuerSame(e *evidence) finding {
	if issuers := e.issuers(); len(issuers) > 1 {
		return broken("there are %d: %s", len(issuers), strings.Join(e.perServer(func(r apiserver.Reading) string { return r.Issuer }), "; "))
	}
	return ok("%s", e.issuers()[0])
}

func issuerKnown(e *evidence) finding {
	if e.issuer == "" {
		return broken("nobody says: no --issuer, no settings, and no API server could be asked")
	}
	return ok("%s", e.issuer)
}

func issuerExpected(e *evidence) finding {
	if theirs := e.issuers()[0]; theirs != e.issuer {
		return broken("the API servers have %q, wanted is %q%s", theirs, e.issuer, difference(theirs, e.issuer))
	}
	return ok("byte for byte")
}
