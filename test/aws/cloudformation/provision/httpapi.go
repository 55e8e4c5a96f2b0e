package provision

import (
	"context"
	"net/http"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation"
)

// api is an HTTP API. Throttling plays no part.
type api struct {
	host  string
	parts map[string]map[string]any // properties of its integrations, routes and stages, by kind and ID
}

type apis struct{ *Account }

func (k apis) Create(_ context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	id := shortID()
	made := &api{id + "." + k.host("execute-api"), map[string]map[string]any{}}
	k.mu.Lock()
	k.apis[id] = made
	k.mu.Unlock()
	k.serve(made.host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { k.serveAPI(w, r, made) }))
	return cloudformation.Made{ID: id, Attributes: map[string]any{"ApiId": id, "ApiEndpoint": "https://" + made.host}}, nil
}

func (k apis) Update(_ context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	return cloudformation.Made{ID: r.ID}, nil
}

func (k apis) Delete(_ context.Context, r cloudformation.Request) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if known := k.apis[r.ID]; known != nil {
		clear(known.parts) // its name answers, and knows nothing
		delete(k.apis, r.ID)
	}
	return nil
}

// apiParts are what an API consists of.
type apiParts struct {
	*Account
	kind string
}

func (k apiParts) put(apiID, id string, properties map[string]any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if known := k.apis[apiID]; known != nil {
		known.parts[k.kind+"/"+id] = properties
	}
}

func (k apiParts) Create(_ context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	id := shortID()
	k.put(r.Text("ApiId"), id, r.Properties)
	return cloudformation.Made{ID: id, Attributes: map[string]any{"IntegrationId": id, "RouteId": id}}, nil
}

func (k apiParts) Update(_ context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	k.put(r.Text("ApiId"), r.ID, r.Properties)
	return cloudformation.Made{ID: r.ID}, nil
}

func (k apiParts) Delete(_ context.Context, r cloudformation.Request) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if known := k.apis[r.Text("ApiId")]; known != nil {
		delete(known.parts, k.kind+"/"+r.ID)
	}
	return nil
}

// serveAPI finds the route of a request, and its function.
func (a *Account) serveAPI(w http.ResponseWriter, r *http.Request, of *api) {
	a.mu.Lock()
	staged, target := false, ""
	for id, properties := range of.parts {
		switch kind, _, _ := strings.Cut(id, "/"); {
		case kind == "stage" && properties["StageName"] == "$default":
			staged = true
		case kind == "route" && properties["RouteKey"] == r.Method+" "+r.URL.Path:
			target, _ = properties["Target"].(string)
		}
	}
	integration := of.parts["integration/"+strings.TrimPrefix(target, "integrations/")]
	a.mu.Unlock()
	if !staged || integration == nil {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"message":"Not Found"}`))
		return
	}
	uri, _ := integration["IntegrationUri"].(string)
	f, err := a.find(uri)
	if err != nil || integration["PayloadFormatVersion"] != "2.0" || !f.lets("apigateway.amazonaws.com") {
		http.Error(w, `{"message":"Internal Server Error"}`, http.StatusInternalServerError)
		return
	}
	host, err := f.running(r.Context())
	if err != nil {
		http.Error(w, `{"message":"Internal Server Error"}`, http.StatusInternalServerError)
		return
	}
	host.ServeHTTP(w, r)
}
