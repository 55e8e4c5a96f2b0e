package doctor

import (
	"bytes"
	"context"
	"net/http"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/cli/stranger"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// mirror is another publisher's documents of the issuer.
type mirror struct {
	base            string
	discovery, jwks view
}

func mirrorChecks() []check {
	return []check{{
		id: "mirrors.reachable", question: "Does every mirror answer?", needs: []string{"jwks.read"},
		how:    "Fetches the documents of each --mirror, and of the mirrors in the publisher's settings.",
		remedy: "Correct the URL, or let everybody read the mirror's documents.",
		look:   mirrorsReachable,
	}, {
		id: "mirrors.discovery", question: "Is every mirror's discovery document the same?", needs: []string{"mirrors.reachable", "discovery.json"},
		how:    "Compares the bytes. A mirror names the original's issuer; it takes over when DNS leads to it.",
		remedy: "Give both publishers the same settings of the issuer; on the mirror url is the issuer and servedAt its own URL.",
		look:   mirrorsDiscovery,
	}, {
		id: "mirrors.keys", question: "Does every mirror publish the same keys?", needs: []string{"mirrors.reachable"},
		how:    "Compares the keys in canonical form. Each publisher judges by itself, so while a key comes or goes they differ for minutes.",
		remedy: "Is the mirror's publisher among the exporter's destinations, and does it accept? Run doctor again in ten minutes.",
		look:   mirrorsKeys,
	}}
}

func list(ids []string) string {
	if len(ids) == 0 {
		return "none"
	}
	return strings.Join(ids, ", ")
}

func (e *evidence) mirrorComplaints(of func(mirror) string) []string {
	var all []string
	for _, m := range e.mirrors {
		if said := of(m); said != "" {
			all = append(all, m.base+": "+said)
		}
	}
	return all
}

func (e *evidence) gatherMirrors(ctx context.Context) {
	urls := e.options.Mirrors
	for _, p := range e.publishers {
		if issuer, found := e.issuerAt(p); found {
			urls = append(urls, issuer.Mirrors...)
		}
	}
	if e.discovery.err != nil || e.discovery.status != http.StatusOK {
		return
	}
	asked := map[string]bool{e.issuer: true}
	for _, base := range urls {
		base = strings.TrimSuffix(base, "/")
		if asked[base] {
			continue
		}
		asked[base] = true
		e.mirrors = append(e.mirrors, mirror{base, e.look(ctx, base+stranger.DiscoveryPath), e.look(ctx, base+stranger.JWKSPath)})
	}
}

func mirrorsReachable(e *evidence) finding {
	if len(e.mirrors) == 0 {
		return skip("no --mirror")
	}
	return unless(e.mirrorComplaints(func(m mirror) string {
		for _, v := range []view{m.discovery, m.jwks} {
			if f := v.reachedWith(); f.status == Broken {
				return f.detail
			}
		}
		return ""
	}), "%d", len(e.mirrors))
}

func mirrorsDiscovery(e *evidence) finding {
	return unless(e.mirrorComplaints(func(m mirror) string {
		if !bytes.Equal(bytes.TrimSpace(m.discovery.body), bytes.TrimSpace(e.discovery.body)) {
			return "its discovery document is another"
		}
		return ""
	}), "byte for byte")
}

func mirrorsKeys(e *evidence) finding {
	return unless(e.mirrorComplaints(func(m mirror) string {
		keys, err := jwks.Parse(m.jwks.body)
		if err != nil {
			return err.Error()
		}
		if bytes.Equal(keys.Canonical(), e.published.Canonical()) {
			return ""
		}
		return "only there: " + list(without(keys, e.published)) + "; only at the issuer: " + list(without(e.published, keys))
	}), "in canonical form")
}

// publishedAt are the places whose documents list a key.
func (e *evidence) publishedAt(id string) []string {
	var places []string
	if _, listed := e.published.ByID(id); listed {
		places = append(places, e.issuer)
	}
	for _, m := range e.mirrors {
		if keys, err := jwks.Parse(m.jwks.body); err == nil {
			if _, listed := keys.ByID(id); listed {
				places = append(places, m.base)
			}
		}
	}
	return places
}
