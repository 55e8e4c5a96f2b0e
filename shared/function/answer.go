package function

import (
	"bytes"
	"net/http"
	"strings"
)

// Answer collects what a handler answers, where a cloud wants that in a message of its own. The zero value is ready.
type Answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (a *Answer) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}

// WriteHeader implements http.ResponseWriter.
func (a *Answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *Answer) Write(data []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(data)
}

// Finish does what a server does last, and returns the answer. Several values of a header are joined.
func (a *Answer) Finish() (status int, headers map[string]string, body []byte) {
	a.WriteHeader(http.StatusOK)
	if a.Header().Get("Content-Type") == "" && a.body.Len() > 0 {
		a.Header().Set("Content-Type", http.DetectContentType(a.body.Bytes()))
	}
	headers = map[string]string{}
	for name, values := range a.header {
		headers[name] = strings.Join(values, ", ")
	}
	return a.status, headers, a.body.Bytes()
}
