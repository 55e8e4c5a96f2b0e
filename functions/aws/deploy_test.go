package main

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

// resource is an event of CloudFormation for these clusters' issuers, or prod's.
func (r *rig) resource(request string, clusters ...string) map[string]any {
	if clusters == nil {
		clusters = []string{"prod"}
	}
	issuers := []string{}
	for _, id := range clusters {
		issuers = append(issuers, r.issuer(id))
	}
	event := map[string]any{
		"RequestType": request, "ResponseURL": r.clouds.URL + "/answer?X-Amz-Signature=secret", "StackId": "arn:stack", "RequestId": "q",
		"ResourceType": resourceType, "LogicalResourceId": "Documents", "ServiceToken": "arn:function",
		"ResourceProperties": map[string]any{"ServiceToken": "arn:function", "Settings": "5f", "Issuers": issuers},
	}
	if request != "Create" {
		event["PhysicalResourceId"] = "arn:stack/Documents"
	}
	if request == "Update" {
		event["OldResourceProperties"] = map[string]any{"ServiceToken": "arn:function", "Settings": "5e", "Issuers": []string{r.issuer("prod"), r.issuer("test")}}
	}
	return event
}

// told sends an event, with some seconds for what is waited for, and returns what CloudFormation was told.
func (r *rig) told(event any, seconds ...int) (status, reason string) {
	r.Helper()
	limit := time.Minute
	if len(seconds) > 0 {
		limit = deployReserve + time.Duration(seconds[0])*time.Second
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	before := len(r.answers)
	if _, err := r.Invoke(ctx, encode(event)); err != nil {
		r.Fatal(err)
	}
	if len(r.answers) != before+1 {
		r.Fatalf("CloudFormation got %d answers", len(r.answers)-before)
	}
	answer := r.answers[before]
	if answer["PhysicalResourceId"] != "arn:stack/Documents" || answer["StackId"] != "arn:stack" || answer["RequestId"] != "q" || answer["LogicalResourceId"] != "Documents" {
		r.Errorf("CloudFormation was told %v", answer)
	}
	reason, _ = answer["Reason"].(string)
	return answer["Status"].(string), reason
}

func (r *rig) succeeds(event any) {
	r.Helper()
	if status, reason := r.told(event); status != "SUCCESS" || reason != "" {
		r.Errorf("CloudFormation was told %s: %s\n%s", status, reason, r.log)
	}
}

func (r *rig) fails(event any, want string, seconds ...int) {
	r.Helper()
	if status, reason := r.told(event, seconds...); status != "FAILED" || !strings.Contains(reason, want) || strings.Contains(reason, "secret") {
		r.Errorf("CloudFormation was told %s: %s, want %s\n%s", status, reason, want, r.log)
	}
}

// A stack that is made, changed and unmade: the keys are published before it goes on, and stay when it is gone.
func TestDeploy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.succeeds(r.resource("Create"))
	if !r.publishes(r.key) {
		t.Error("the enrolled key is not published")
	}
	r.untouched("the same again", func() { r.succeeds(r.resource("Update")) })
	r.untouched("the end", func() { r.succeeds(r.resource("Delete")) })
	r.deployed(r.cluster("prod"), r.cluster("test"))
	r.succeeds(r.resource("Update", "prod", "test"))
	r.deployed(r.cluster("prod"))
	r.succeeds(r.resource("Update")) // rolled back: test never reported
	r.untouched("a resource of another type", func() {
		event := r.resource("Create")
		event["ResourceType"] = "Custom::Other"
		r.fails(event, "Custom::Other")
	})
	for _, wrong := range []any{nil, "https://example.com", []any{}, []any{1}} {
		event := r.resource("Create")
		event["ResourceProperties"] = map[string]any{"Issuers": wrong}
		r.fails(event, "Issuers")
	}
	r.fails(r.resource("Create", "other"), "is no issuer of the publisher")
}

// A deploy waits until the world sees the documents, and says what is likely wrong if it never does.
func TestDeployWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	looks := 0
	documents := http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		switch looks++; {
		case looks < 3:
			w.WriteHeader(http.StatusForbidden)
		case looks < 6:
			_, _ = w.Write([]byte("something else"))
		default:
			object, _, _ := r.documents.Get(request.Context(), strings.TrimPrefix(request.URL.Path, "/"))
			_, _ = w.Write(object.Body)
		}
	})
	r.serve = documents
	r.succeeds(r.resource("Create"))
	if looks != 7 {
		t.Errorf("%d looks", looks)
	}
	for want, serve := range map[string]http.HandlerFunc{
		"Block Public Access": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"another region":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusMovedPermanently) },
		"another path":        func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"a cache":             func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("something else")) },
	} {
		r.mu.Lock()
		r.serve = serve
		r.mu.Unlock()
		r.fails(r.resource("Update"), want, 1)
	}
}

// A cluster that has reported can't just vanish; one that is removed can, once its keys are gone.
func TestVanishedCluster(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	test := r.cluster("test")
	r.deployed(r.cluster("prod"), test)
	r.succeeds(r.resource("Create", "prod", "test"))
	r.accept(r.key)
	r.deployed(test)
	r.untouched("a cluster vanished", func() {
		r.fails(r.resource("Update", "test"), "missing from the settings: prod. Put its file back with removed: true")
	})
	removed := r.cluster("prod")
	removed.Removed = true
	r.deployed(removed, test)
	r.succeeds(r.resource("Update", "prod", "test"))
	r.deployed(test)
	r.untouched("keys were left", func() {
		r.fails(r.resource("Update", "test"), "take it out after the retention")
	})
	r.deployed(removed, test)
	for range 49 {
		r.now = r.now.Add(time.Hour)
		r.succeeds(r.resource("Update", "prod", "test"))
	}
	r.deployed(test)
	r.succeeds(r.resource("Update", "test"))
}

// An issuer that changes has its identity provider replaced, which nobody wants of a cluster that has reported.
func TestMovedCluster(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deployed(r.cluster("prod"), r.cluster("test"))
	r.succeeds(r.resource("Create", "prod", "test"))
	r.accept(r.key)
	before := r.resource("Update", "prod", "test")["ResourceProperties"]
	r.path = "/elsewhere"
	r.deployed(r.cluster("prod"), r.cluster("test"))
	event := r.resource("Update", "prod", "test")
	event["OldResourceProperties"] = before
	r.untouched("the issuers changed", func() {
		r.fails(event, "the issuer of a cluster that has reported would change: prod. Its identity provider would be replaced")
	})
	after := event["ResourceProperties"]
	r.path = ""
	r.deployed(r.cluster("prod"), r.cluster("test"))
	event = r.resource("Update", "prod", "test")
	event["OldResourceProperties"] = after
	r.succeeds(event) // rolled back
}

// Settings that are deployed again never bring back what left: a key that retired, one that was revoked, an older generation.
func TestDeployBringsNothingBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	revoked, second, third := snapshottest.NewKey(), snapshottest.NewKey(), snapshottest.NewKey()
	settings := r.cluster("prod")
	settings.BootstrapKeys = append(settings.BootstrapKeys, revoked.Key)
	settings.AnnouncedKeys = jwks.Set{third.Key}
	again := func() {
		t.Helper()
		r.deployed(settings)
		r.succeeds(r.resource("Update"))
	}
	r.deployed(settings)
	r.succeeds(r.resource("Create"))
	r.accept(r.key, revoked, second)
	r.must(map[string]any{"statement": rotation.Statement{
		Issuer: r.issuer("prod"), Cluster: "prod", Action: rotation.Revoke, KeyIDs: []string{revoked.ID(), third.ID()}, Reason: "stolen",
	}})
	again()
	if r.publishes(revoked) || r.publishes(third) || !r.publishes(second) {
		t.Error("a revoked key is back")
	}
	r.now = r.now.Add(time.Minute)
	r.accept(second) // the first is missing
	for range 3 {    // two days later, and again: the clock may have jumped
		r.now = r.now.Add(49 * time.Hour)
		r.accept(second)
		r.now = r.now.Add(11 * time.Minute)
		r.accept(second)
	}
	if r.publishes(r.key) {
		t.Fatal("the first key is still published")
	}
	again()
	if r.publishes(r.key) || r.publishes(revoked) || r.publishes(third) || !r.publishes(second) {
		t.Error("a retired or revoked key is back")
	}
	newer := settings
	newer.Generation, newer.BootstrapKeys, newer.AnnouncedKeys = 2, jwks.Set{second.Key}, nil
	r.deployed(newer)
	r.succeeds(r.resource("Update"))
	r.untouched("an older generation", again)
	if !r.saw("generation.old") {
		t.Errorf("the log does not raise it:\n%s", r.log)
	}
}

// CloudFormation must be told, or the invocation fails, so that Lambda repeats it. The signature stays out of every word.
func TestDeployUnheard(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, url := range map[string]string{"nobody listens": "https://127.0.0.1:1/?X-Amz-Signature=secret", "it is refused": r.world.URL + "/?X-Amz-Signature=secret"} {
		event := r.resource("Delete")
		event["ResponseURL"] = url
		if _, err := r.invoke(event); err == nil || !strings.Contains(err.Error(), "could not be told SUCCESS") || strings.Contains(err.Error()+r.log.String(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.broken = func(context.Context) error { return errors.New("AccessDenied: " + strings.Repeat("x", 5000)) }
	r.fails(r.resource("Create"), "AccessDenied")
}
