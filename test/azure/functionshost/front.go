package functionshost

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// ServeHTTP is the app's front door. Routes have no parameters here, and meet a path in any case, as the host's do.
func (h *Host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	called, ok := h.route(r)
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	limit := int64(bodyLimit)
	if set, err := strconv.ParseInt(h.options.Settings["FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"], 10, 64); err == nil {
		limit = set
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	metadata := map[string]any{"Query": query(r), "Headers": headers(r)}
	answer, err := h.invoke(r.Context(), called, map[string]any{called.trigger.Name: request(r, body)}, metadata)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	if err := respond(w, answer.Outputs[called.response]); err != nil {
		w.WriteHeader(http.StatusInternalServerError)
	}
}

func (h *Host) route(r *http.Request) (function, bool) {
	prefix := "api"
	if h.config.Extensions.HTTP.RoutePrefix != nil {
		prefix = *h.config.Extensions.HTTP.RoutePrefix
	}
	for _, f := range h.functions {
		if f.trigger.Type != "httpTrigger" || len(f.trigger.Methods) > 0 && !slices.Contains(f.trigger.Methods, strings.ToLower(r.Method)) {
			continue
		}
		route := strings.Trim(prefix+"/"+*f.trigger.Route, "/")
		if strings.EqualFold(strings.Trim(r.URL.Path, "/"), route) {
			return f, true
		}
	}
	return function{}, false
}

// request is the trigger's value. The host leaves out a body that has no length, and takes two media types for bytes and every other for
// text.
func request(r *http.Request, body []byte) map[string]any {
	value := map[string]any{
		"Url": "https://" + r.Host + r.URL.RequestURI(), "Method": r.Method, "Query": query(r), "Headers": headers(r), "Params": map[string]any{},
		"Identities": []any{map[string]any{
			"AuthenticationType": nil, "IsAuthenticated": false, "Actor": nil, "BootstrapContext": nil, "Claims": []any{}, "Label": nil, "Name": nil,
			"NameClaimType": "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name",
			"RoleClaimType": "http://schemas.microsoft.com/ws/2008/06/identity/claims/role",
		}},
	}
	if r.ContentLength <= 0 {
		return value
	}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if media == "application/octet-stream" || strings.HasPrefix(media, "multipart/") {
		value["Body"] = base64.StdEncoding.EncodeToString(body)
	} else {
		value["Body"] = string(body)
	}
	return value
}

func query(r *http.Request) map[string]string {
	all := map[string]string{}
	for name, values := range r.URL.Query() {
		all[name] = strings.Join(values, ",")
	}
	return all
}

func headers(r *http.Request) map[string][]string {
	all := map[string][]string{"Host": {r.Host}}
	for name, values := range r.Header {
		all[name] = values
	}
	return all
}

// respond writes the HTTP output. A body that is text goes out as it is, anything else as JSON.
func respond(w http.ResponseWriter, output json.RawMessage) error {
	if output == nil {
		return fmt.Errorf("%w: there is no output for the response", ErrInvocation)
	}
	var told struct {
		StatusCode, Status json.RawMessage
		Headers            map[string]any
		Body               json.RawMessage
	}
	if err := json.Unmarshal(output, &told); err != nil {
		return fmt.Errorf("%w: the output is not in the expected format: %w", ErrInvocation, err)
	}
	status := http.StatusOK
	for _, said := range []json.RawMessage{told.Status, told.StatusCode} {
		if number, err := strconv.Atoi(strings.Trim(string(said), `"`)); err == nil {
			status = number
		}
	}
	for name, value := range told.Headers {
		w.Header().Set(name, fmt.Sprint(value))
	}
	body := []byte(told.Body)
	var said string
	if json.Unmarshal(told.Body, &said) == nil {
		body = []byte(said)
	}
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}
