package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

// Vanished names the clusters that have reported at some time, have keys left, and are not in the settings: their keys would stay
// published with nobody to answer for them. It looks at the issuers of the settings and at those given, which settings before these
// may have had. A cluster that never reported may vanish: the deploy that added it was rolled back.
func (p *Publisher) Vanished(ctx context.Context, issuerURLs ...string) ([]string, error) {
	urls := slices.Clone(issuerURLs)
	for _, iss := range p.issuers {
		urls = append(urls, iss.url)
	}
	return p.reportedTo(ctx, urls, func(_, cluster string) bool {
		_, err := p.byCluster(cluster)
		return err != nil
	})
}

// Moved names the clusters that have reported to one of the given issuers, which settings before these may have had, have keys left, and have
// another issuer in the settings: whoever trusts the one that they have now would refuse their tokens.
func (p *Publisher) Moved(ctx context.Context, issuerURLs ...string) ([]string, error) {
	return p.reportedTo(ctx, issuerURLs, func(url, cluster string) bool {
		now, err := p.byCluster(cluster)
		return err == nil && now.url != url
	})
}

// reportedTo names those clusters of issuers that have reported, are not removed to the last key, and are what is asked for.
func (p *Publisher) reportedTo(ctx context.Context, urls []string, asked func(url, cluster string) bool) ([]string, error) {
	var found []string
	for _, url := range slices.Compact(slices.Sorted(slices.Values(urls))) {
		state, err := p.stateOf(ctx, url)
		if err != nil {
			return nil, err
		}
		for _, c := range state.Clusters {
			if !c.Done() && reported(c) && asked(url, c.ID) {
				found = append(found, c.ID)
			}
		}
	}
	return found, nil
}

// stateOf reads the state of an issuer that need not be in the settings; the zero State where there is none.
func (p *Publisher) stateOf(ctx context.Context, url string) (rotation.State, error) {
	iss, err := newIssuer(enrollment.Issuer{URL: url})
	if err != nil {
		return rotation.State{}, err
	}
	object, _, err := p.private.Get(ctx, iss.names.State)
	if errors.Is(err, bucket.ErrNotFound) {
		return rotation.State{}, nil
	}
	if err != nil {
		return rotation.State{}, err
	}
	state, err := decodeState(object.Body)
	if err != nil {
		return rotation.State{}, fmt.Errorf("%w: object %s is unreadable: %w", ErrStateLost, iss.names.State, err)
	}
	return state, nil
}

// reported tells a cluster that a snapshot was ever accepted of. A re-enrollment forgets the snapshot, but not the keys it listed.
func reported(c rotation.Cluster) bool {
	return !c.Received.IsZero() || slices.ContainsFunc(c.Keys, func(key rotation.Key) bool { return !key.Listed.IsZero() })
}
