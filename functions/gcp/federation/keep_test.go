package federation

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	googleiam "google.golang.org/api/iam/v1"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/test/gcp/iam"
)

// What Keep is for: tokens are exchanged by the keys that were given, and by no other, with no document anywhere.
func TestRotation(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	accepts := func(key signingKey, want bool) {
		t.Helper()
		if err := r.google.Exchange(r.name, key.token(t, r.name)); (err == nil) != want {
			t.Fatalf("accepted: %v, want %t", err, want)
		}
	}
	accepts(rsaKey, false)
	r.keep(t, true, set(rsaKey), set(rsaKey))
	accepts(rsaKey, true)
	accepts(ecKey, false)
	r.keep(t, true, set(rsaKey, ecKey), set(rsaKey, ecKey))
	accepts(rsaKey, true)
	accepts(ecKey, true)
	r.keep(t, true, set(ecKey), set(ecKey)) // the other was revoked
	accepts(rsaKey, false)
	accepts(ecKey, true)
	r.keep(t, true, nil, nil) // and now all: not "ask the public documents"
	accepts(ecKey, false)
	if got := r.google.Keys(r.name); got != `{"keys":[]}` {
		t.Errorf("no key is uploaded as %q", got)
	}
}

func TestWritesOnlyWhatDiffers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	backwards := set(rsaKey, ecKey)
	slices.SortFunc(backwards, func(a, b jwks.Key) int { return strings.Compare(b.ID(), a.ID()) })
	r.keep(t, true, backwards, set(rsaKey, ecKey))
	uploaded := r.google.Keys(r.name)
	if want := string(backwards.Canonical()); uploaded != want || want == string(backwards.Encode()) {
		t.Errorf("uploaded %s, want the canonical form %s", uploaded, want)
	}
	for name, layout := range layouts(t, uploaded) {
		r.google.Edit(t, r.name, func(p *googleiam.WorkloadIdentityPoolProvider) { p.Oidc.JwksJson = layout })
		r.keep(t, false, set(ecKey, rsaKey), set(rsaKey, ecKey))
		if r.google.Keys(r.name) != layout {
			t.Errorf("%s: written, though it says the same", name)
		}
	}
	if n := r.google.Count(iam.Patch); n != 1 {
		t.Errorf("%d writes, want the first only", n)
	}
}

// layouts are the same set in other bytes.
func layouts(t *testing.T, canonical string) map[string]string {
	t.Helper()
	var w struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.Unmarshal([]byte(canonical), &w); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(w.Keys)
	indented, err := json.MarshalIndent(w, "\t", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"canonical": canonical, "reversed, sorted members, indented": string(indented), "with a newline": canonical + "\n"}
}

// Only the keys are ours: what the provider trusts, and how it maps it, is not.
func TestWritesOnlyTheKeys(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.google.Edit(t, r.name, func(p *googleiam.WorkloadIdentityPoolProvider) {
		p.Description, p.AttributeCondition, p.Oidc.AllowedAudiences = "by hand", "assertion.sub != ''", []string{"mine"}
	})
	want := r.google.Provider(r.name)
	r.keep(t, true, set(rsaKey), set(rsaKey))
	want.Oidc.JwksJson = r.google.Keys(r.name)
	if diff := cmp.Diff(want, r.google.Provider(r.name)); diff != "" {
		t.Error(diff)
	}
}

func TestDriftIsRepaired(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.keep(t, true, set(rsaKey), set(rsaKey))
	good := r.google.Keys(r.name)
	for name, drifted := range map[string]string{
		"cleared":        "",
		"no key":         `{"keys":[]}`,
		"other keys":     string(set(otherKey).Encode()),
		"one more":       string(set(rsaKey, otherKey).Encode()),
		"listed twice":   string(set(rsaKey, rsaKey).Encode()),
		"not JSON":       "{",
		"null":           "null",
		"null keys":      `{"keys":null}`,
		"no alg":         strings.Replace(good, `"alg":"RS256",`, "", 1),
		"one member":     strings.Replace(good, `"use":"sig"`, `"use":"sig","x5t":"AAAA"`, 1),
		"member of set":  strings.Replace(good, `{"keys"`, `{"x":1,"keys"`, 1),
		"member twice":   strings.Replace(good, `"use":"sig"`, `"use":"sig","use":"sig"`, 1),
		"not text":       `{"keys":[{"kid":1}]}`,
		"half a set":     good[:len(good)/2],
		"something huge": strings.Repeat(" ", maxAnswer/4) + good[:len(good)-1],
	} {
		t.Run(name, func(t *testing.T) {
			if drifted == good {
				t.Fatal("this is no drift")
			}
			r.google.Edit(t, r.name, func(p *googleiam.WorkloadIdentityPoolProvider) { p.Oidc.JwksJson = drifted })
			r.keep(t, true, set(rsaKey), set(rsaKey))
			r.keep(t, false, set(rsaKey), set(rsaKey))
		})
	}
}

// What is no set is not the set of no key, and Google would ask the public documents.
func TestNoSetIsNotTheEmptySet(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, held := range []string{"", "{}", "null", `{"keys":null}`} {
		r.google.Edit(t, r.name, func(p *googleiam.WorkloadIdentityPoolProvider) { p.Oidc.JwksJson = held })
		r.keep(t, true, jwks.Set{}, nil)
	}
	r.keep(t, false, jwks.Set{}, nil)
}

func TestKeysGoogleDoesNotVerifyWith(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	said := func(want ...string) {
		t.Helper()
		if got := r.log.take(); !slices.Equal(got, want) {
			t.Fatalf("said %q, want %q", got, want)
		}
	}
	r.keep(t, true, set(rsaKey, p384Key), set(rsaKey))
	said("WARN target.incomplete")
	if err := r.google.Exchange(r.name, rsaKey.token(t, r.name)); err != nil {
		t.Errorf("the key that Google knows suffers for the one it does not: %v", err)
	}
	r.keep(t, false, set(p384Key, rsaKey), set(rsaKey))
	said()
	r.keep(t, false, set(rsaKey, p384Key, p521Key), set(rsaKey))
	said("WARN target.incomplete")
	r.keep(t, false, set(rsaKey), set(rsaKey))
	said()
	r.keep(t, true, set(p384Key), nil) // rsaKey was revoked: it must go, whatever is left
	said("ERROR target.incomplete")
}

func TestDisabledProviderIsKept(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	disable := func(disabled bool) {
		r.google.Edit(t, r.name, func(p *googleiam.WorkloadIdentityPoolProvider) { p.Disabled = disabled })
	}
	r.keep(t, true, set(rsaKey, ecKey), set(rsaKey, ecKey))
	disable(true)
	r.keep(t, true, set(ecKey), set(ecKey))
	r.keep(t, false, set(ecKey), set(ecKey))
	if got := r.log.take(); !slices.Equal(got, []string{"WARN target.disabled"}) {
		t.Errorf("said %q, want it once", got)
	}
	disable(false)
	if err := r.google.Exchange(r.name, rsaKey.token(t, r.name)); err == nil {
		t.Error("enabled again, it accepts the key that was revoked meanwhile")
	}
	r.keep(t, false, set(ecKey), set(ecKey))
	disable(true)
	r.keep(t, false, set(ecKey), set(ecKey))
	if got := r.log.take(); !slices.Equal(got, []string{"WARN target.disabled"}) {
		t.Errorf("disabled a second time: said %q", got)
	}
}

func TestLargestSet(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var keys jwks.Set
	for i := range jwks.MaxKeys {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key, err := jwks.NewWithID(&private.PublicKey, fmt.Sprintf("%03d%s", i, strings.Repeat(`"`, 310)))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	if n := len(keys.Encode()); n > jwks.MaxBytes || n < jwks.MaxBytes*9/10 {
		t.Fatalf("%d bytes are not the largest set of %d", n, jwks.MaxBytes)
	}
	r.keep(t, true, keys, keys)
	r.keep(t, false, keys, keys)
}

func TestSlowOperation(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.google.SetPolls(7)
	r.keep(t, true, set(rsaKey), set(rsaKey))
	if n := r.google.Count(iam.Operation); n != 7 {
		t.Errorf("asked %d times, want 7", n)
	}
}

func TestOperationWithoutEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.google.SetPolls(1 << 30)
	r.limit, r.pause = 2*time.Second, func(int) time.Duration { return time.Hour } // the time ends between two questions, not within one
	changed, err := r.Keep(t.Context(), set(rsaKey))
	if changed || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "may well succeed") {
		t.Fatalf("%t, %v", changed, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	r.limit, r.pause = Limit, func(int) time.Duration { cancel(); return time.Hour }
	changed, err = r.Keep(ctx, set(rsaKey))
	if changed || !errors.Is(err, context.Canceled) {
		t.Fatalf("given up by the caller: %t, %v", changed, err)
	}
}

// Google takes a request and never answers.
func TestSilence(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	r.limit = 100 * time.Millisecond
	r.google.After(iam.Get, func() { <-release })
	changed, err := r.Keep(t.Context(), set(rsaKey))
	if changed || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer of Google in time") {
		t.Fatalf("%t, %v", changed, err)
	}
}

// The API may show for a while what was there before.
func TestOldReadings(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.google.After(iam.Patch, func() { r.google.Stale(r.name, readsBack-1) })
	r.keep(t, true, set(rsaKey), set(rsaKey))
	r.google.After(iam.Patch, func() { r.google.Stale(r.name, readsBack) })
	if changed, err := r.Keep(t.Context(), set(ecKey)); changed || !errors.Is(err, ErrContested) {
		t.Fatalf("%t, %v", changed, err)
	}
	r.keep(t, false, set(ecKey), set(ecKey))
}

// An older publisher writes last: ours must not report success, and the next reconcile heals.
func TestAnotherPublisherInBetween(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	older := string(set(rsaKey).Encode())
	r.google.After(iam.Operation, func() {
		r.google.Edit(t, r.name, func(p *googleiam.WorkloadIdentityPoolProvider) { p.Oidc.JwksJson = older })
	})
	if changed, err := r.Keep(t.Context(), set(ecKey)); changed || !errors.Is(err, ErrContested) {
		t.Fatalf("%t, %v", changed, err)
	}
	r.keep(t, true, set(ecKey), set(ecKey))
}

// The provider is given to another issuer between the write and the reading back.
func TestTakenAwayInBetween(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.google.After(iam.Operation, func() {
		r.google.Edit(t, r.name, func(p *googleiam.WorkloadIdentityPoolProvider) { p.Oidc.IssuerUri = "https://other.example" })
	})
	changed, err := r.Keep(t.Context(), set(ecKey))
	if changed || err == nil || !strings.Contains(err.Error(), "not read back") {
		t.Fatalf("%t, %v", changed, err)
	}
}

func TestManyPublishers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	sets := []jwks.Set{set(rsaKey), set(ecKey), set(rsaKey, ecKey)}
	var all sync.WaitGroup
	for i := range 12 {
		p := r.open(t)
		all.Go(func() {
			if _, err := p.Keep(t.Context(), sets[i%len(sets)]); err != nil && !errors.Is(err, ErrContested) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	found, err := jwks.Parse([]byte(r.google.Keys(r.name)))
	if err != nil || len(found) == 0 {
		t.Fatalf("a mixture was uploaded: %v, %v", found.IDs(), err)
	}
	if _, err := r.Keep(t.Context(), set(rsaKey, ecKey)); err != nil {
		t.Fatal(err)
	}
	r.keep(t, false, set(rsaKey, ecKey), set(rsaKey, ecKey))
}
