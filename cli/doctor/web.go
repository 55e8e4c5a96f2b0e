package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/cli/stranger"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

const (
	// slow is when a check warns, tooSlow when AWS gives up.
	slow    = 2 * time.Second
	tooSlow = 5 * time.Second

	// renewal is how long before its end a certificate should have been renewed.
	renewal = 14 * 24 * time.Hour
)

// view is what was found at a URL.
type view struct {
	url     string
	status  int
	header  http.Header
	body    []byte
	took    time.Duration
	skew    time.Duration // how far the server's clock is ahead of ours
	dated   bool          // it told its time
	expires time.Time     // of its certificate
	err     error         // there was no answer
}

// document is what a discovery document says, read loosely: what is wrong with it is for the checks to say.
type document struct {
	Issuer     string   `json:"issuer"`
	JWKSURI    string   `json:"jwks_uri"`
	Responses  []string `json:"response_types_supported"`
	Subjects   []string `json:"subject_types_supported"`
	Algorithms []string `json:"id_token_signing_alg_values_supported"`

	err error
}

func webChecks() []check {
	return []check{{
		id: "web.dns", question: "Does the issuer's host have an address?", needs: []string{"issuer.public"},
		how:    "Asks DNS. A name that is gone but still registered at clouds can be taken over by others.",
		remedy: "Create the DNS record or the bucket; if the host is gone for good, delete the identity providers that name it: who takes the name over can forge every identity.",
		look:   webDNS,
	}, {
		id: "web.public-address", question: "Is it a public address?", needs: []string{"web.dns"},
		how:    "Clouds come from the internet; a name that leads to a private address here may lead to nothing there.",
		remedy: "Publish a public address, or give --internal if every consumer is in the same network.",
		look:   webPublicAddress,
	}, {
		id: "web.connect", question: "Does the host answer on its port?", needs: []string{"issuer.public"},
		how:    "Connects from here, as a cloud does from elsewhere.",
		remedy: "Start the web server, or open its firewall for everybody: clouds publish no addresses to allow.",
		look:   webConnect,
	}, {
		id: "web.tls", question: "Is its certificate one that clouds accept?", needs: []string{"web.connect"},
		how:    "TLS 1.2 or newer, the host's name, a public authority (or that of --ca-bundle), not expired.",
		remedy: "Use a certificate of a public authority for this very name, with its intermediates. Thumbprints at AWS can't repair it for the other clouds.",
		look:   webTLS,
	}, {
		id: "web.certificate", question: "Is the certificate renewed in time?", needs: []string{"web.tls"},
		how:    "The end of the certificate that ends first in the chain.",
		remedy: "Renew it, and see why nothing did: automatic renewal has usually happened 30 days before the end.",
		look:   webCertificate,
	}, {
		id: "web.clock", question: "Do the API servers' clocks agree with the world's?", needs: []string{"web.tls", "cluster.discovery"},
		how:    "Compares the Date of the API servers with that of the issuer's host.",
		remedy: "Run a time service on every control plane node: a clock that is ahead makes tokens that clouds find not yet valid.",
		look:   worldClock,
	}}
}

func worldClock(e *evidence) finding {
	if !e.discovery.dated {
		return skip("the issuer's host does not tell its time")
	}
	for _, r := range e.readings {
		if difference := r.Skew - e.discovery.skew; difference.Abs() > maxSkew {
			return broken("%s is %s of %s", r.Address, ahead(difference), e.host())
		}
	}
	return ok("within %s", maxSkew)
}

func isTLS(err error) bool {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	return errors.As(err, &authority) || errors.As(err, &name) || errors.As(err, &invalid) || errors.As(err, &verification) ||
		errors.As(err, &record) || errors.As(err, &alert) || strings.Contains(err.Error(), "tls: ")
}

func tlsTrouble(err error) error {
	var record tls.RecordHeaderError
	if errors.As(err, &record) {
		return errors.New("it does not speak TLS on this port")
	}
	return withoutURL(err)
}

// gatherWeb looks at the issuer's documents as a stranger.
func (e *evidence) gatherWeb(ctx context.Context) {
	if e.host() == "" {
		return
	}
	if !e.options.Proxied {
		e.addresses, e.resolveErr = e.options.Resolve(ctx, e.host())
	}
	base := strings.TrimSuffix(e.issuer, "/") // a slash at the end has been told of; most consumers strip it
	e.discovery = e.look(ctx, base+stranger.DiscoveryPath)
	e.document.err = json.Unmarshal(e.discovery.body, &e.document)
	where := e.document.JWKSURI
	if u, err := url.Parse(where); err != nil || u.Scheme != "https" {
		where = base + stranger.JWKSPath
	}
	if e.discovery.err == nil {
		e.jwks, e.again = e.look(ctx, where), e.look(ctx, where)
	}
	e.published, e.parseErr = jwks.Parse(e.jwks.body)
}

func (e *evidence) look(ctx context.Context, url string) view {
	a, err := e.options.Stranger.Ask(ctx, url)
	v := view{url: url, status: a.Status, header: a.Header, body: a.Body, took: a.Took, expires: a.Expires, err: err}
	if date, err := http.ParseTime(a.Header.Get("Date")); err == nil {
		v.skew, v.dated = date.Add(500*time.Millisecond).Sub(a.Asked).Truncate(time.Second), true
	}
	return v
}

// reachedWith judges the status of a document.
func (v view) reachedWith() finding {
	switch {
	case v.err != nil:
		return broken("%s: %v", v.url, withoutURL(v.err))
	case v.status == http.StatusOK:
		return ok("%s", v.url)
	case v.status >= 300 && v.status < 400:
		return broken("%s: %d, to %s", v.url, v.status, v.header.Get("Location")).
			doing("Serve the document itself at the issuer's URL: clouds follow no redirects.")
	case v.status == http.StatusForbidden || v.status == http.StatusUnauthorized:
		return broken("%s: %d", v.url, v.status).
			doing("Let everybody read the two documents. S3: Block Public Access is on, or the bucket policy is missing; use CloudFront or allow s3:GetObject on just these keys. Azure: public access is forbidden by policy; use Front Door. A firewall: clouds publish no addresses to allow. S3 also answers 403 for what does not exist.")
	case v.status == http.StatusConflict:
		return broken("%s: 409", v.url).doing("Azure answers so where the storage account, or a policy above it, forbids public access: allow blob public access on the account, or put Front Door before it.")
	case v.status == http.StatusNotFound:
		return broken("%s: 404", v.url).doing("Nothing is published there yet, or at another path: compare the issuer's path with the publisher's settings, and see its log for document.written.")
	case v.status == http.StatusTooManyRequests || v.status >= 500:
		return broken("%s: %d", v.url, v.status).doing("The host is overloaded or broken. Put a CDN in front: clouds ask often, and from many places.")
	}
	return broken("%s: %d %s", v.url, v.status, http.StatusText(v.status))
}

func (v view) prompt() finding {
	switch took := v.took.Round(time.Millisecond); {
	case took > tooSlow:
		return broken("it took %s; AWS gives up after %s", took, tooSlow)
	case took > slow:
		return warn("it took %s; AWS gives up after %s", took, tooSlow)
	}
	return ok("faster than %s", slow)
}

func (v view) mediaType(want ...string) finding {
	got, _, _ := strings.Cut(v.header.Get("Content-Type"), ";")
	for _, w := range want {
		if strings.EqualFold(strings.TrimSpace(got), w) {
			return ok("%s", w)
		}
	}
	return warn("Content-Type is %q, want %s", v.header.Get("Content-Type"), want[0])
}

// maxAge is the freshness that a Cache-Control gives, and whether it gives any.
func (v view) maxAge() (time.Duration, bool) {
	for part := range strings.SplitSeq(v.header.Get("Cache-Control"), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return 0, true
		case "max-age":
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 64)
			if err == nil || errors.Is(err, strconv.ErrRange) {
				return time.Duration(min(seconds, 1<<31)) * time.Second, true // what a larger one means (RFC 9111 §1.2.2)
			}
		}
	}
	return 0, false
}

func webDNS(e *evidence) finding {
	switch {
	case e.options.Proxied:
		return skip("a proxy resolves it")
	case e.resolveErr != nil:
		return broken("%s: %v", e.host(), e.resolveErr)
	}
	return ok("%s: %s", e.host(), strings.Join(e.addresses, ", "))
}

func webPublicAddress(e *evidence) finding {
	var private []string
	for _, a := range e.addresses {
		if address, err := netip.ParseAddr(a); err == nil && !public(address) {
			private = append(private, a)
		}
	}
	if e.options.Internal {
		return ok("--internal: its consumers are in the same network")
	}
	return unless(private, "%s", strings.Join(e.addresses, ", "))
}

func webConnect(e *evidence) finding {
	var dns *net.DNSError
	if e.discovery.err != nil && !isTLS(e.discovery.err) {
		if errors.As(e.discovery.err, &dns) {
			return broken("%s has no address", e.host())
		}
		return broken("%v", withoutURL(e.discovery.err))
	}
	return ok("yes")
}

func webTLS(e *evidence) finding {
	if e.discovery.err != nil {
		return broken("%v", tlsTrouble(e.discovery.err))
	}
	return ok("yes")
}

func webCertificate(e *evidence) finding {
	left := e.discovery.expires.Sub(e.options.Now())
	if left < renewal {
		return warn("it ends in %s", left.Round(time.Hour))
	}
	return ok("until %s", e.discovery.expires.UTC().Format(time.DateOnly))
}
