package doctor

import (
	"net/url"
	"slices"

	"github.com/kube-iam-assume/kube-iam-assume/cli/stranger"
)

func discoveryChecks() []check {
	return []check{{
		id: "discovery.status", question: "Can a stranger read the discovery document?", needs: []string{"web.tls"},
		how:  "GET ISSUER" + stranger.DiscoveryPath + " without credentials, following no redirect.",
		look: func(e *evidence) finding { return e.discovery.reachedWith() }, remedy: "See what the host answers: `curl -i` the URL.",
	}, {
		id: "discovery.prompt", question: "Is it served fast enough?", needs: []string{"discovery.status"},
		how:    "Times the request. AWS gives up after 5 seconds, and Vault at start.",
		remedy: "Serve it from a bucket or a CDN, not from a function that must start first.",
		look:   func(e *evidence) finding { return e.discovery.prompt() },
	}, {
		id: "discovery.type", question: "Is its media type right?", needs: []string{"discovery.status"},
		how:    "application/json. Some buckets say application/octet-stream or text/html, which strict consumers refuse.",
		remedy: "Let the publisher write it, which sets the type; a CDN must not change it.",
		look:   func(e *evidence) finding { return e.discovery.mediaType("application/json") },
	}, {
		id: "discovery.json", question: "Is it strict JSON?", needs: []string{"discovery.status"},
		how:    "No repeated members, nothing after the end, no byte order mark. An error page with status 200 is none.",
		remedy: "Something else than the publisher writes this document, or a page of an error or login is served in its place.",
		look:   discoveryJSON,
	}, {
		id: "discovery.issuer", question: "Does it name the issuer, byte for byte?", needs: []string{"discovery.json"},
		how:    "Compares its issuer with the URL that it was fetched from. Vault, Google, Entra and every OpenID library refuse another.",
		remedy: "Make the issuer's URL in the publisher's settings equal to --service-account-issuer, to the byte. A copy under another host is no issuer: mirrors serve the original's document.",
		look:   discoveryIssuer,
	}, {
		id: "discovery.jwks-uri", question: "Does its jwks_uri lead to keys on the same host?", needs: []string{"discovery.json"},
		how:    "https, and the issuer's host. An API server's own document names an address inside the cluster.",
		remedy: "Let the publisher write the document; do not copy the API server's.",
		look:   discoveryJWKSURI,
	}, {
		id: "discovery.members", question: "Does it have what consumers require?", needs: []string{"discovery.json"},
		how:    "OpenID Connect Discovery requires response_types_supported, subject_types_supported and the algorithms.",
		remedy: "Let the publisher write the document.",
		look:   discoveryMembers,
	}}
}

func discoveryJSON(e *evidence) finding {
	switch {
	case len(e.discovery.body) > stranger.MaxDocument:
		return broken("more than %d bytes", stranger.MaxDocument)
	case e.document.err != nil:
		return broken("no: it begins with %q", firstLine(e.discovery.body))
	}
	return ok("%d bytes", len(e.discovery.body))
}

func discoveryIssuer(e *evidence) finding {
	if e.document.Issuer != e.issuer {
		return broken("it says %q, wanted is %q%s", e.document.Issuer, e.issuer, difference(e.document.Issuer, e.issuer))
	}
	return ok("%s", e.document.Issuer)
}

func discoveryJWKSURI(e *evidence) finding {
	u, err := url.Parse(e.document.JWKSURI)
	issuer, _ := url.Parse(e.issuer)
	switch {
	case e.document.JWKSURI == "":
		return broken("it has none")
	case err != nil || u.Scheme != "https":
		return broken("%q is not an https URL", e.document.JWKSURI)
	case u.Host != issuer.Host:
		return broken("%s is on another host: whether clouds go there is not documented, and AWS needs the thumbprints of both", e.document.JWKSURI)
	}
	return ok("%s", e.document.JWKSURI)
}

func discoveryMembers(e *evidence) finding {
	var lacking []string
	for name, list := range map[string][]string{
		"response_types_supported with id_token": slices.DeleteFunc(slices.Clone(e.document.Responses), func(s string) bool { return s != "id_token" }),
		"subject_types_supported":                e.document.Subjects,
		"id_token_signing_alg_values_supported":  e.document.Algorithms,
	} {
		if len(list) == 0 {
			lacking = append(lacking, "no "+name)
		}
	}
	slices.Sort(lacking)
	return unless(lacking, "yes")
}
