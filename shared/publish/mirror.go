package publish

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// compareOthers looks at the documents that other publishers have of an issuer. Each judges by itself, so while a key comes or goes
// they differ for minutes; one that goes on to differ did not hear of the cluster, or heard something else.
func (p *Publisher) compareOthers(ctx context.Context, iss *issuer) {
	if len(iss.others) == 0 {
		return
	}
	object, _, err := p.readDocument(ctx, iss.names.JWKS)
	if err != nil {
		return // the next reconcile says so
	}
	own, err := jwks.Parse(object.Body)
	if err != nil {
		return // somebody's hand: it is repaired
	}
	for _, other := range iss.others {
		difference, err := p.differs(ctx, iss, other, own)
		switch {
		case err != nil:
			p.event(ctx, mirrorFailed, "issuer", iss.url, "url", other, "detail", err.Error())
		case difference != "":
			p.event(ctx, mirrorDiffers, "issuer", iss.url, "url", other, "detail", difference)
		}
	}
}

// differs says in which way another publisher's documents are not what they are here: the same discovery document, and the same keys
// in whatever order.
func (p *Publisher) differs(ctx context.Context, iss *issuer, other string, own jwks.Set) (string, error) {
	discovery, err := p.fetch(ctx, iss, other+"/"+discoveryPath)
	if err != nil {
		return "", fmt.Errorf("%s: %w", discoveryPath, err)
	}
	document, err := p.fetch(ctx, iss, other+"/"+jwksPath)
	if err != nil {
		return "", fmt.Errorf("%s: %w", jwksPath, err)
	}
	keys, err := jwks.Parse(document)
	switch {
	case err != nil:
		return fmt.Sprintf("its JWKS is none of a publisher: %v", err), nil
	case !bytes.Equal(keys.Canonical(), own.Canonical()):
		return fmt.Sprintf("keys only there: %s; only here: %s", without(keys, own), without(own, keys)), nil
	case !bytes.Equal(discovery, iss.discovery.Body):
		return "its discovery document is another: the issuers' settings differ", nil
	}
	return "", nil
}

// without lists the IDs of the keys that are not in the other set.
func without(keys, others jwks.Set) string {
	var ids []string
	for _, key := range keys {
		if !slices.ContainsFunc(others, key.Equal) {
			ids = append(ids, key.ID())
		}
	}
	if len(ids) == 0 {
		return "none"
	}
	return strings.Join(ids, ", ")
}
