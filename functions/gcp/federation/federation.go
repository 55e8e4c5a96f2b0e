// Package federation keeps the keys of a Google Workload Identity Federation provider equal to those a publisher renders, so that Google
// needs neither a public bucket nor another cloud.
//
// A provider whose oidc.jwksJson is set verifies tokens with the keys in it alone and asks nobody else. Google looks at them only when a
// token comes, and then blames whatever is wrong with them on the issuer ("Error connecting to the given credential's issuer"); so the
// promise of this package is that what it uploads is right.
//
// # What is uploaded
//
// The canonical form of package jwks, sorted by ID, which has no member that Google does not allow. Google verifies RS256 and ES256 and
// says nothing of a set with other keys. Such a key is left out, and the event target.incomplete says so: to upload it could break the
// exchange for the keys that work, and to refuse the whole set would keep a revoked key in use for as long as the other is around. It is
// no error: nothing that is tried again would help, and the publisher's other consumers are well. A set of no key is uploaded as one:
// an empty jwksJson would send Google back to the public documents.
//
// # What it promises
//
// The API has no conditional write. Keep reads, compares meanings (order and white space don't count), writes only what differs and only
// that field, waits for Google's operation, and reads back. Of two publishers at once the older may be the last: whoever sees another's
// keys in place of its own says ErrContested, and the next reconcile makes it right. Keep never writes to a provider of another issuer. To
// one that is disabled it does: a person may enable it at any moment, and must not find the keys of the day it was disabled, a revoked one
// among them. The event target.disabled reminds of it.
//
// # What it needs
//
// The API iam.googleapis.com enabled in the function's project, and a custom role with iam.workloadIdentityPoolProviders.get and
// iam.workloadIdentityPoolProviders.update (so written; no predefined role is as small), given to the function's service account in the
// policy of the pool. The operation is read by the right to read the provider. Whoever has the second right can become any workload of the
// pool, so nobody else should have it, and the pool should hold nothing but clusters' providers. Whatever else manages the provider must leave
// the field alone (Terraform: lifecycle { ignore_changes = [oidc[0].jwks_json] }).
package federation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"time"

	"google.golang.org/api/iam/v1"
	"google.golang.org/api/option"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// ErrContested means that after a write other keys than ours were in the provider: another publisher wrote at the same time, or something
// else manages the field. Trying again is right; if it lasts, find the other writer.
var ErrContested = errors.New("the provider holds other keys than were just written")

const (
	// Limit is how long one Keep may take. Google is mostly done within a few seconds; who sent a snapshot is answered within 25.
	Limit = 15 * time.Second

	getPermission    = "iam.workloadIdentityPoolProviders.get"
	updatePermission = "iam.workloadIdentityPoolProviders.update"

	readsBack = 4 // the API is eventually consistent: an old answer is not yet somebody else's keys
)

// Settings say whose keys go where.
type Settings struct {
	Issuer   string       // the issuer's URL, which must be the provider's to the letter
	Provider string       // projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER
	Logger   *slog.Logger // takes the events target.incomplete and target.disabled, each once for each cause; nil discards
}

// Provider is one provider of one issuer. It is safe for concurrent use.
type Provider struct {
	name, issuer string
	service      *iam.ProjectsLocationsWorkloadIdentityPoolsProvidersService
	findings     findings
	limit        time.Duration
	pause        func(attempt int) time.Duration
}

var resourceName = regexp.MustCompile(
	`^projects/[a-z0-9][-.:a-z0-9]{0,99}/locations/global/workloadIdentityPools/[-a-z0-9]{4,32}/providers/[-a-z0-9]{4,32}$`)

// New makes a Provider. It asks Google nothing yet. Without options it uses application default credentials.
func New(ctx context.Context, settings Settings, options ...option.ClientOption) (*Provider, error) {
	if err := settings.check(); err != nil {
		return nil, err
	}
	service, err := newService(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("workload identity provider %s: %w", settings.Provider, err)
	}
	logger := settings.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Provider{
		name: settings.Provider, issuer: settings.Issuer, service: service.Projects.Locations.WorkloadIdentityPools.Providers,
		findings: findings{logger: logger.With("issuer", settings.Issuer, "target", settings.Provider), said: map[string]string{}},
		limit:    Limit, pause: pause,
	}, nil
}

func (s Settings) check() error {
	if u, err := url.Parse(s.Issuer); err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("issuer %q: want the issuer's https URL", s.Issuer)
	}
	if !resourceName.MatchString(s.Provider) {
		return fmt.Errorf("workload identity provider %q of issuer %s: want projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER; "+
			"`gcloud iam workload-identity-pools providers list` has it", s.Provider, s.Issuer)
	}
	return nil
}

// Name is the provider's resource name.
func (p *Provider) Name() string { return p.name }

// Keep makes the provider's keys these. It reports whether it had to write. Every error may be gone when it is tried again, and then says
// what a person can do; after one it is open what the provider holds.
func (p *Provider) Keep(ctx context.Context, keys jwks.Set) (changed bool, err error) {
	limited, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	usable, others := split(keys)
	p.findings.leftOut(ctx, usable, others)
	if changed, err = p.keep(limited, string(usable.Canonical())); err != nil {
		return false, fmt.Errorf("workload identity provider %s: %w", p.name, err)
	}
	return changed, nil
}

func (p *Provider) keep(ctx context.Context, wanted string) (changed bool, err error) {
	current, err := p.read(ctx)
	if err != nil {
		return false, err
	}
	if equivalent(current, wanted) {
		return false, nil
	}
	if err := p.write(ctx, wanted); err != nil {
		return false, err
	}
	for attempt := range readsBack {
		if current, err = p.read(ctx); err != nil {
			return false, fmt.Errorf("written, but not read back: %w", err)
		}
		if equivalent(current, wanted) {
			return true, nil
		}
		if attempt < readsBack-1 && !p.rest(ctx, attempt) {
			break
		}
	}
	return false, fmt.Errorf("%w: another publisher wrote at the same time and the next reconcile will decide; if it goes on, "+
		"look for another writer of oidc.jwksJson in the audit log (Terraform: ignore_changes)", ErrContested)
}

// read is what the provider holds, if it is one whose keys may be written.
func (p *Provider) read(ctx context.Context) (string, error) {
	var found *iam.WorkloadIdentityPoolProvider
	err := p.try(ctx, func() (err error) {
		found, err = p.service.Get(p.name).Context(ctx).Do()
		return err
	})
	if err != nil {
		return "", explain(ctx, err, getPermission)
	}
	if err := p.check(found); err != nil {
		return "", err
	}
	p.findings.disabled(ctx, found.Disabled)
	return found.Oidc.JwksJson, nil
}

// check refuses to touch what is not this issuer's.
func (p *Provider) check(found *iam.WorkloadIdentityPoolProvider) error {
	switch {
	case found.State == "DELETED":
		return fmt.Errorf("it was deleted and will be gone for good at %s: restore it with `gcloud iam workload-identity-pools providers undelete`, "+
			"or take workloadIdentityProvider out of the publisher's settings", shorten(found.ExpireTime))
	case found.Oidc == nil:
		return errors.New("it is not an OIDC provider (but AWS, SAML or X.509): name the one that was made for this issuer in the publisher's settings")
	case found.Oidc.IssuerUri != p.issuer:
		return fmt.Errorf("it is for issuer %q and these are the keys of %q, so nothing was written: correct workloadIdentityProvider in the publisher's "+
			"settings, or the provider's issuer URI (the two must be equal to the letter, a slash at the end too)", shorten(found.Oidc.IssuerUri), p.issuer)
	}
	return nil
}
