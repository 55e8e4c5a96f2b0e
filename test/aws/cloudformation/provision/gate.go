package provision

import (
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
)

// denial is a deny statement of a bucket policy for everybody whose condition versitygw can't judge. There are two: on who asks, and on
// whether a write is conditional.
type denial struct {
	actions, resources any
	except             []string // roles it is not for; nil: it is for unconditional requests
}

// unjudged are the condition keys that are judged here.
var unjudged = []string{"aws:PrincipalArn", "s3:if-match", "s3:if-none-match"}

// split divides a bucket policy into what is judged here, and the statements for versitygw. A statement with both kinds of conditions, or
// with others on these keys, is refused.
func split(document any) (gate []denial, rest []any, err error) {
	object, _ := document.(map[string]any)
	for _, each := range listOf(object["Statement"]) {
		statement, _ := each.(map[string]any)
		condition, _ := statement["Condition"].(map[string]any)
		keys := conditionKeys(condition)
		if !slices.ContainsFunc(keys, func(key string) bool { return slices.Contains(unjudged, key) }) {
			rest = append(rest, statement)
			continue
		}
		d := denial{actions: statement["Action"], resources: statement["Resource"]}
		except, byPrincipal := condition["ArnNotEquals"].(map[string]any)
		null, byHeader := condition["Null"].(map[string]any)
		unconditional := byHeader && null["s3:if-match"] == "true" && null["s3:if-none-match"] == "true" && len(keys) == 2
		switch {
		case statement["Effect"] != "Deny" || len(condition) != 1 || statement["Principal"] != "*" && !everyone(statement["Principal"]):
			return nil, nil, fmt.Errorf("a statement of the bucket policy can't be judged here: %v", statement)
		case byPrincipal && len(keys) == 1:
			d.except = textsOf(except["aws:PrincipalArn"])
		case !unconditional:
			return nil, nil, fmt.Errorf("a condition of the bucket policy can't be judged here: %v", condition)
		}
		gate = append(gate, d)
	}
	return gate, rest, nil
}

func everyone(principal any) bool {
	object, _ := principal.(map[string]any)
	return object["AWS"] == "*"
}

func conditionKeys(condition map[string]any) []string {
	var keys []string
	for _, of := range condition {
		object, _ := of.(map[string]any)
		keys = append(keys, slices.Collect(maps.Keys(object))...)
	}
	return keys
}

// serveS3 is the gate before versitygw: bucket policies as above, and Block Public Access for strangers.
func (a *Account) serveS3(w http.ResponseWriter, r *http.Request) {
	name, key := a.bucketOf(r)
	if reason := a.denied(name, key, r); reason != "" {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusForbidden)
		_ = xml.NewEncoder(w).Encode(struct { // whoever hangs up gets nothing
			XMLName       xml.Name `xml:"Error"`
			Code, Message string
		}{Code: "AccessDenied", Message: reason})
		return
	}
	proxy := httputil.ReverseProxy{
		Transport: a.upstream,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "https", Host: r.Host})
			p.Out.Host = r.Host // it is signed
		},
	}
	proxy.ServeHTTP(w, r)
}

func (a *Account) bucketOf(r *http.Request) (name, key string) {
	host, _, _ := strings.Cut(r.Host, ":")
	path := strings.TrimPrefix(r.URL.Path, "/")
	if name, ok := strings.CutSuffix(host, "."+a.host("s3")); ok {
		return name, path
	}
	name, key, _ = strings.Cut(path, "/")
	return name, key
}

// denied says why a request is refused, if it is.
func (a *Account) denied(name, key string, r *http.Request) string {
	caller := a.caller(r)
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.buckets[name]
	if known == nil {
		return ""
	}
	if r.Header.Get("Authorization") == "" && (known.block.Buckets || a.blocked.Buckets) {
		return "Access Denied: the bucket or its account restricts public buckets"
	}
	action, resource := actionOf(r), "arn:aws:s3:::"+name+"/"+key
	for _, d := range known.gate {
		if !matches(d.actions, action) || !matches(d.resources, resource) {
			continue
		}
		conditional := r.Header.Get("If-Match") != "" || r.Header.Get("If-None-Match") != ""
		if d.except != nil && !slices.Contains(d.except, caller) || d.except == nil && !conditional {
			return fmt.Sprintf("%q is not authorized to perform: %s on resource: %s with an explicit deny in a resource-based policy", caller, action, resource)
		}
	}
	return ""
}

// actionOf names the actions on objects that bucket policies here deny.
func actionOf(r *http.Request) string {
	switch {
	case r.Method == http.MethodPut && !r.URL.Query().Has("tagging") && !r.URL.Query().Has("acl"):
		return "s3:PutObject"
	case r.Method == http.MethodPost && (r.URL.Query().Has("uploads") || r.URL.Query().Has("uploadId")):
		return "s3:PutObject"
	case r.Method == http.MethodDelete && r.URL.Query().Has("versionId"):
		return "s3:DeleteObjectVersion"
	case r.Method == http.MethodDelete:
		return "s3:DeleteObject"
	}
	return "s3:" + r.Method
}

// caller is the ARN of the role whose credentials signed a request, if it was given them here; empty for everybody else.
func (a *Account) caller(r *http.Request) string {
	_, rest, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	key, _, _ := strings.Cut(rest, "/")
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sessions[key]
}
