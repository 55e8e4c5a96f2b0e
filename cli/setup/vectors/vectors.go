// Package vectors holds what `setup` sends, and the stand-ins of clouds in its tests, to the clouds' documented requests and answers. A vector is a file with a
// command's arguments and the exchanges that it must come to, in their order; each exchange names the page of the documentation that its shape is from.
// The command is run against exactly these answers, and the stand-in is sent exactly these requests, so that neither can drift to suit the other.
package vectors

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Vector is one run of a command.
type Vector struct {
	Name      string     `json:"-"`               // of the file, without .json
	Comment   string     `json:"comment"`         // what it shows
	After     []string   `json:"after,omitempty"` // vectors whose requests a stand-in gets first
	Arguments string     `json:"arguments"`
	Says      []string   `json:"says"`            // parts of the output
	Error     string     `json:"error,omitempty"` // a part of the error; "" for success
	Exchanges []Exchange `json:"exchanges"`
}

// Exchange is a request and its answer.
type Exchange struct {
	Comment string            `json:"comment"` // address of the documentation's page
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Query   map[string]string `json:"query,omitempty"`
	Body    any               `json:"body,omitempty"`
	Fault   bool              `json:"fault,omitempty"` // not of the stand-in's own accord: it is told to answer so
	Answer  Answer            `json:"answer"`
}

// Answer is a cloud's.
type Answer struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    any               `json:"body,omitempty"` // HOST in a text of it is the server's URL
}

// Load reads every vector of a folder.
func Load(t *testing.T, folder string) map[string]Vector {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors in %s: %v", folder, err)
	}
	all := map[string]Vector{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		v := Vector{Name: strings.TrimSuffix(filepath.Base(file), ".json")}
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&v); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if v.Comment == "" || len(v.Exchanges) == 0 {
			t.Fatalf("%s: want a comment and exchanges", file)
		}
		for _, e := range v.Exchanges {
			if !strings.HasPrefix(e.Comment, "https://") || e.Answer.Status == 0 {
				t.Fatalf("%s: %s %s: want the documentation's page as comment, and an answer", file, e.Method, e.Path)
			}
		}
		all[v.Name] = v
	}
	return all
}

// Run runs a command against exactly a vector's answers, with httptest.NewServer or httptest.NewTLSServer, and compares what it asks and says.
func (v Vector) Run(t *testing.T, start func(http.Handler) *httptest.Server, command func(*httptest.Server, string) (string, error)) {
	t.Helper()
	r := &replay{left: v.Exchanges}
	r.server = start(r)
	defer r.server.Close()
	out, err := command(r.server, v.Arguments)
	if (err != nil) != (v.Error != "") || err != nil && !strings.Contains(err.Error(), v.Error) {
		t.Errorf("%v, want %q", err, v.Error)
	}
	for _, text := range v.Says {
		if !strings.Contains(out, text) {
			t.Errorf("it says nothing of %q:\n%s", text, out)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, problem := range r.wrong {
		t.Error(problem)
	}
	for _, e := range r.left {
		t.Errorf("it did not come to %s %s", e.Method, e.Path)
	}
}

// replay answers with a vector's answers, and only to its requests in their order.
type replay struct {
	server *httptest.Server

	mu    sync.Mutex
	left  []Exchange
	wrong []string
}

// ServeHTTP answers, or with 400 and a message of what was expected.
func (r *replay) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	problem := fmt.Sprintf("%s %s: nothing more was expected", request.Method, request.URL)
	if len(r.left) > 0 {
		problem = r.left[0].differs(request)
	}
	if problem != "" {
		r.wrong = append(r.wrong, problem)
		http.Error(w, problem, http.StatusBadRequest)
		return
	}
	answer := r.left[0].Answer
	r.left = r.left[1:]
	answer.write(w, r.server.URL)
}

func (a Answer) write(w http.ResponseWriter, host string) {
	for name, value := range a.Headers {
		w.Header().Set(name, value)
	}
	if a.Body == nil {
		w.WriteHeader(a.Status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.Status)
	text, _ := json.Marshal(a.Body)
	_, _ = w.Write(bytes.ReplaceAll(text, []byte("HOST"), []byte(host)))
}

// differs says in what a request is another than this one.
func (e Exchange) differs(request *http.Request) string {
	query := map[string]string{}
	for name, values := range request.URL.Query() {
		if name != "alt" && name != "prettyPrint" { // of Google's clients, and of no call's own
			query[name] = strings.Join(values, ",")
		}
	}
	data, err := io.ReadAll(io.LimitReader(request.Body, 1<<20))
	if err != nil {
		return err.Error()
	}
	var body any
	if len(bytes.TrimSpace(data)) > 0 {
		if err := json.Unmarshal(data, &body); err != nil {
			return fmt.Sprintf("%s %s: its body is no JSON: %v", request.Method, request.URL, err)
		}
	}
	if o, empty := body.(map[string]any); empty && len(o) == 0 {
		body = nil // Google's clients send {} for nothing
	}
	if request.Method != e.Method || request.URL.Path != e.Path || len(query)+len(e.Query) > 0 && !reflect.DeepEqual(query, e.Query) || !reflect.DeepEqual(body, e.Body) {
		return fmt.Sprintf("asked\n  %s %s %v %s\nwant\n  %s %s %v %s", request.Method, request.URL.Path, query, data, e.Method, e.Path, e.Query, text(e.Body))
	}
	return ""
}

func text(body any) string {
	if body == nil {
		return ""
	}
	data, _ := json.Marshal(body)
	return string(data)
}

// Hold sends a stand-in the requests of a vector, after those of the ones before, and compares its answers' codes and shapes. A stand-in is told of a fault
// before the request that it is for.
func (v Vector) Hold(t *testing.T, all map[string]Vector, standIn http.Handler, host, login string, fault func(Answer)) {
	t.Helper()
	for _, name := range v.After {
		before, known := all[name]
		if !known {
			t.Fatalf("there is no vector %s", name)
		}
		before.Hold(t, all, standIn, host, login, fault)
	}
	for _, e := range v.Exchanges {
		if e.Fault {
			fault(e.Answer)
		}
		got := e.send(t, standIn, login)
		var body any
		if got.Body.Len() > 0 {
			if err := json.Unmarshal(bytes.ReplaceAll(got.Body.Bytes(), []byte(host), []byte("HOST")), &body); err != nil {
				t.Fatalf("%s %s: the stand-in answers %q", e.Method, e.Path, got.Body)
			}
		}
		if want, is := shape(e.Answer.Body), shape(body); got.Code != e.Answer.Status || !slices.Equal(want, is) {
			t.Errorf("%s: %s %s: the stand-in answers %d\n  %s\ndocumented is %d\n  %s", v.Name, e.Method, e.Path, got.Code, strings.Join(is, "\n  "), e.Answer.Status, strings.Join(want, "\n  "))
		}
	}
}

func (e Exchange) send(t *testing.T, standIn http.Handler, login string) *httptest.ResponseRecorder {
	request := httptest.NewRequestWithContext(t.Context(), e.Method, "https://stand-in.example.com"+e.Path, strings.NewReader(text(e.Body)))
	query := request.URL.Query()
	for name, value := range e.Query {
		query.Set(name, value)
	}
	request.URL.RawQuery = query.Encode()
	request.Header.Set("Authorization", "Bearer "+login)
	request.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	standIn.ServeHTTP(w, request)
	return w
}

// shape is every member of a body with its kind, and what is in a list once.
func shape(body any) []string {
	var all []string
	var walk func(path string, value any)
	walk = func(path string, value any) {
		switch value := value.(type) {
		case map[string]any:
			all = append(all, path+" object")
			for name, member := range value {
				walk(path+"."+name, member)
			}
		case []any:
			all = append(all, path+" list")
			for _, member := range value {
				walk(path+"[]", member)
			}
		default:
			all = append(all, fmt.Sprintf("%s %T", path, value))
		}
	}
	if body != nil {
		walk("", body)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
