// Package vectors is the attack catalogue: what a publisher must refuse, as envelopes in files, with the code it must give.
package vectors

import (
	"bytes"
	"encoding/base64"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/memory"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

var update = flag.Bool("update", false, "make the envelopes anew, with new keys")

// vector is one file of testdata.
type vector struct {
	Row      int    `json:"row,omitzero"` // of the catalogue of attack classes that the project began with
	Attack   string `json:"attack"`
	Before   []step `json:"before,omitzero"`
	Log      string `json:"log"`            // code or event in the log
	Told     string `json:"told,omitzero"`  // code that the sender gets; none if the snapshot is accepted or unchanged
	Status   int    `json:"status"`         // of HTTP
	Keeps    string `json:"keeps,omitzero"` // key ID that must stay published
	Envelope string `json:"envelope"`
}

// step is what happened before an attack.
type step struct {
	Envelope   string              `json:"envelope,omitzero"`
	Statement  *rotation.Statement `json:"statement,omitzero"`
	Generation int                 `json:"generation,omitzero"` // of prod in the settings at that time
}

// base is what all vectors begin with.
type base struct {
	Settings settings `json:"settings"`
	Before   []step   `json:"before"`
}

type settings struct {
	Publisher string   `json:"publisher"`
	Issuers   []issuer `json:"issuers"`
}

type issuer struct {
	URL      string    `json:"url"`
	Path     string    `json:"path"`
	Clusters []cluster `json:"clusters"`
}

type cluster struct {
	ID             string   `json:"id"`
	Generation     int      `json:"generation"`
	ServiceAccount string   `json:"exporterServiceAccount"`
	BootstrapKeys  jwks.Set `json:"bootstrapKeys"`
	ExternalKeyIDs bool     `json:"externalKeyIDs,omitzero"`
}

func (s settings) enrollment(generation int) enrollment.Publisher {
	p := enrollment.Publisher{Name: s.Publisher}
	for _, i := range s.Issuers {
		out := enrollment.Issuer{URL: i.URL, Path: i.Path, Retention: 48 * time.Hour, Shared: len(i.Clusters) > 1}
		for _, c := range i.Clusters {
			if c.ID == "prod" {
				c.Generation = max(c.Generation, generation)
			}
			out.Clusters = append(out.Clusters, enrollment.Cluster{
				ID: c.ID, Generation: c.Generation, ExporterServiceAccount: c.ServiceAccount, BootstrapKeys: c.BootstrapKeys,
				ExternalKeyIDs: c.ExternalKeyIDs,
			})
		}
		p.Issuers = append(p.Issuers, out)
	}
	return p
}

// world is a publisher with its stores and its log.
type world struct {
	settings           settings
	documents, private *memory.Bucket
	log                bytes.Buffer
}

func (w *world) publisher(t *testing.T, generation int) *publish.Publisher {
	t.Helper()
	p, err := publish.New(publish.Config{
		Settings: w.settings.enrollment(generation), Documents: w.documents, Private: w.private,
		Logger: slog.New(slog.NewJSONHandler(&w.log, nil)), Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (w *world) do(t *testing.T, steps []step) {
	t.Helper()
	for i, s := range steps {
		var err error
		if p := w.publisher(t, s.Generation); s.Statement != nil {
			_, err = p.Operate(t.Context(), *s.Statement)
		} else {
			_, err = p.Accept(t.Context(), []byte(s.Envelope))
		}
		if err != nil {
			t.Fatalf("before[%d]: %v", i, err)
		}
	}
}

func (w *world) stored() map[string]bucket.Object {
	all := w.documents.Snapshot()
	for name, object := range w.private.Snapshot() {
		all["private/"+name] = object
	}
	return all
}

func TestVectors(t *testing.T) {
	if *update {
		write(t)
	}
	b := read[base](t, "base.json")
	for _, a := range attacks() {
		t.Run(a.file, func(t *testing.T) {
			t.Parallel()
			v := read[vector](t, a.file+".json")
			if diff := cmp.Diff(a.vector, vector{Row: v.Row, Attack: v.Attack, Log: v.Log, Told: v.Told, Status: v.Status, Keeps: a.Keeps}); diff != "" {
				t.Errorf("the file is of an older attack; run with -update:\n%s", diff)
			}
			w := &world{settings: b.Settings, documents: memory.New(memory.ContentVersions), private: memory.New(memory.ContentVersions)}
			if err := w.publisher(t, 0).Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.do(t, slices.Concat(b.Before, v.Before))
			w.log.Reset()
			w.attack(t, v)
		})
	}
}

func (w *world) attack(t *testing.T, v vector) {
	t.Helper()
	before, p := w.stored(), w.publisher(t, 0)
	if v.Status != http.StatusOK {
		_, err := p.Accept(t.Context(), []byte(v.Envelope))
		var refusal *publish.Refusal
		if !errors.As(err, &refusal) || refusal.Code != v.Told {
			t.Errorf("Accept: got %v, want a refusal that tells %q", err, v.Told)
		}
		w.checkRefusal(t, v)
	}
	answer := httptest.NewRecorder()
	publish.NewHandler(p).ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/v1/snapshots", strings.NewReader(v.Envelope)))
	var problem publish.Problem
	if err := json.Unmarshal(answer.Body.Bytes(), &problem); answer.Code != v.Status || v.Told != "" && (err != nil || problem.Code != v.Told) {
		t.Errorf("got %d %s, want %d and the code %q", answer.Code, answer.Body, v.Status, v.Told)
	}
	if stranger := v.Told == "not-believed" || v.Told == "malformed" || v.Told == "too-large"; stranger && v.Log != v.Told && problem.Detail != "" {
		t.Errorf("a stranger is told %q", problem.Detail)
	}
	if v.Status != http.StatusOK || v.Log == "unchanged" {
		if diff := cmp.Diff(before, w.stored()); diff != "" {
			t.Errorf("something that is stored changed:\n%s", diff)
		}
	}
	if !strings.Contains(w.log.String(), `"`+v.Log+`"`) {
		t.Errorf("the log does not say %q:\n%s", v.Log, &w.log)
	}
	if document := w.documents.Snapshot()["prod/openid/v1/jwks"]; !bytes.Contains(document.Body, []byte(v.Keeps)) {
		t.Errorf("key %s is not published any more", v.Keeps)
	}
	w.checkSecrecy(t, v)
}

// checkRefusal finds exactly one line, with the code.
func (w *world) checkRefusal(t *testing.T, v vector) {
	t.Helper()
	var codes []string
	for line := range bytes.Lines(w.log.Bytes()) {
		var event struct {
			Event string         `json:"event"`
			Code  string         `json:"code"`
			Told  string         `json:"told"`
			Rest  jsontext.Value `json:",inline"`
		}
		if err := json.Unmarshal(line, &event); err != nil {
			t.Fatal(err)
		}
		if event.Event == "snapshot.refused" || event.Event == "request.rejected" {
			codes = append(codes, event.Code, event.Told)
		}
	}
	if diff := cmp.Diff([]string{v.Log, v.Told}, codes); diff != "" {
		t.Errorf("refusals in the log (-want +got):\n%s%s", diff, &w.log)
	}
}

// checkSecrecy makes sure that the log quotes neither the envelope nor a token in it.
func (w *world) checkSecrecy(t *testing.T, v vector) {
	t.Helper()
	secrets := strings.FieldsFunc(v.Envelope, func(r rune) bool { return strings.ContainsRune(". \n\",", r) })
	for _, part := range secrets {
		data, _ := base64.RawURLEncoding.DecodeString(part)
		var payload struct {
			Attestations []string `json:"attestations"`
		}
		if json.Unmarshal(data, &payload) == nil {
			for _, token := range payload.Attestations {
				secrets = append(secrets, strings.Split(token, ".")...)
			}
		}
	}
	for _, secret := range secrets {
		if len(secret) > 20 && strings.Contains(w.log.String(), secret) {
			t.Errorf("the log quotes %s", secret)
		}
	}
}

// TestEveryRow makes sure that the catalogue is whole. Row 19, concurrent writers, is every interleaving in shared/publish.
func TestEveryRow(t *testing.T) {
	t.Parallel()
	covered := map[int]bool{}
	for _, a := range attacks() {
		covered[a.Row] = true
	}
	for row := 1; row <= 18; row++ {
		if !covered[row] {
			t.Errorf("no vector for row %d", row)
		}
	}
}

func read[T any](t *testing.T, name string) (v T) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err == nil {
		err = json.Unmarshal(data, &v, json.RejectUnknownMembers(true))
	}
	if err != nil {
		t.Fatalf("%s: %v; run with -update", name, err)
	}
	return v
}

// write makes all files anew. The private keys are forgotten.
func write(t *testing.T) {
	t.Helper()
	l := newLab()
	save(t, "base.json", base{Settings: l.settings(), Before: l.begin()})
	for _, a := range attacks() {
		l.steps = nil
		v := a.vector
		v.Envelope = string(a.make(l))
		v.Before = l.steps
		if v.Keeps != "" {
			v.Keeps = l.a.ID()
		}
		save(t, a.file+".json", v)
	}
}

func save(t *testing.T, name string, v any) {
	t.Helper()
	data, err := json.Marshal(v, jsontext.WithIndent("  "))
	if err == nil {
		err = os.WriteFile(filepath.Join("testdata", name), append(data, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
