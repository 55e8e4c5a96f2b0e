package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-iam-assume/kube-iam-assume/shared/function"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

// A statement is planned without a trace, carried out once, and answered with what it changed.
func TestOperator(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must(`{"reconcile": true}`)
	next := snapshottest.NewKey()
	announce := rotation.Statement{Issuer: r.issuer("prod"), Cluster: "prod", Action: rotation.Announce, Keys: jwks.Set{next.Key}, Reason: "rotation"}
	revoke := rotation.Statement{Issuer: r.issuer("prod"), Cluster: "prod", Action: rotation.Revoke, KeyIDs: []string{r.key.ID()}, Reason: "stolen"}
	for _, test := range []struct {
		name      string
		statement rotation.Statement
		dryRun    bool
		status    string
		changes   []string
		published map[string]string
	}{
		{"a plan", announce, true, "planned", []string{"key.announced"}, map[string]string{r.key.ID(): "current", next.ID(): "announced"}},
		{"the act", announce, false, "accepted", []string{"key.announced"}, map[string]string{r.key.ID(): "current", next.ID(): "announced"}},
		{"the act again", announce, false, "unchanged", nil, map[string]string{r.key.ID(): "current", next.ID(): "announced"}},
		{"a plan of nothing", announce, true, "planned", nil, map[string]string{r.key.ID(): "current", next.ID(): "announced"}},
		{"another act", revoke, false, "accepted", []string{"key.revoked"}, map[string]string{next.ID(): "announced"}},
	} {
		before := r.stored()
		event := map[string]any{"statement": json.RawMessage(must(json.Marshal(test.statement)))}
		if test.dryRun {
			event["dryRun"] = true
		}
		data, err := r.Invoke(t.Context(), must(json.Marshal(event)))
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		var got struct {
			Status      string
			Publication uint32
			Changes     []rotation.Change
			Published   []struct{ KeyID, Status string }
		}
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		var changes []string
		for _, change := range got.Changes {
			changes = append(changes, change.Event)
		}
		published := map[string]string{}
		for _, key := range got.Published {
			published[key.KeyID] = key.Status
		}
		if got.Status != test.status || got.Publication == 0 || !cmp.Equal(changes, test.changes) || !cmp.Equal(published, test.published) {
			t.Errorf("%s: %s", test.name, data)
		}
		if changed := !cmp.Equal(before, r.stored()); changed != (test.status == "accepted") {
			t.Errorf("%s: something that is stored changed: %t", test.name, changed)
		}
	}
	if r.publishes(r.key) || !r.publishes(next) {
		t.Error("the key that was revoked is published, or the one that was announced is not")
	}
}

func TestRefusedStatements(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must(`{"reconcile": true}`)
	for name, test := range map[string]struct {
		event string
		want  error
	}{
		"no statement":       {`{"statement": null}`, rotation.ErrStatement},
		"text":               {`{"statement": "revoke"}`, rotation.ErrStatement},
		"an unknown member":  {`{"statement": {"issuer": "ISSUER", "cluster": "prod", "action": "remove", "reason": "r", "force": true}}`, rotation.ErrStatement},
		"no reason":          {`{"statement": {"issuer": "ISSUER", "cluster": "prod", "action": "remove"}}`, rotation.ErrStatement},
		"an unknown action":  {`{"statement": {"issuer": "ISSUER", "cluster": "prod", "action": "drop", "reason": "r"}}`, rotation.ErrStatement},
		"an unknown issuer":  {`{"statement": {"issuer": "https://example.com", "cluster": "prod", "action": "remove", "reason": "r"}}`, rotation.ErrStatement},
		"an unknown cluster": {`{"statement": {"issuer": "ISSUER", "cluster": "test", "action": "remove", "reason": "r"}}`, rotation.ErrUnknownCluster},
		"a plan of none":     {`{"statement": {"issuer": "ISSUER", "cluster": "test", "action": "remove", "reason": "r"}, "dryRun": true}`, rotation.ErrUnknownCluster},
		"a dry run of text":  {`{"statement": {"issuer": "ISSUER", "cluster": "prod", "action": "remove", "reason": "r"}, "dryRun": "no"}`, function.ErrOrder},
		"another case":       {`{"statement": {"issuer": "ISSUER", "cluster": "prod", "action": "remove", "reason": "r"}, "dryrun": true}`, errEvent},
		"nothing is lost":    {`{"statement": {"issuer": "ISSUER", "action": "recover", "reason": "r"}}`, nil},
	} {
		r.untouched(name, func() {
			_, err := r.invoke(strings.ReplaceAll(test.event, "ISSUER", r.issuer("prod")))
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("%s: %v, want %v", name, err, test.want)
			}
		})
	}
}
