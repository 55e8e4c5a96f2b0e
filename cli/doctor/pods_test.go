package doctor_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-iam-assume/kube-iam-assume/cli/doctor"
)

// replica is a pod of the exporter, and what the API server answers who asks it.
type replica struct {
	phase           core.PodPhase
	waits           string
	ready           int
	metrics         string
	forbidden, gone bool
}

// runs is one that is well.
func runs() *replica {
	return &replica{phase: core.PodRunning, ready: http.StatusOK, metrics: exporterMetrics}
}

// servePods has the API server list pods as the exporter's and lead to them.
func (w *world) servePods(replicas map[string]*replica) {
	const pods = "/api/v1/namespaces/kube-iam-assume/pods"
	status := func(rw http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
		reply(rw, code, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message})
	}
	server := w.servers[0]
	routes := http.NewServeMux()
	routes.HandleFunc("/", server.answer)
	routes.HandleFunc("GET /api/v1/namespaces/{namespace}/pods", func(rw http.ResponseWriter, r *http.Request) {
		list := core.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}}
		for name, p := range replicas {
			if r.PathValue("namespace") == "kube-iam-assume" && r.URL.Query().Get("fieldSelector") == "spec.serviceAccountName=cluster-exporter" {
				list.Items = append(list.Items, p.pod(name))
			}
		}
		reply(rw, http.StatusOK, list)
	})
	routes.HandleFunc("GET "+pods+"/{pod}/proxy/{path}", func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer admin" {
			status(rw, http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized")
			return
		}
		name, _ := strings.CutSuffix(r.PathValue("pod"), ":8080")
		p := replicas[name]
		switch {
		case p == nil || p.gone:
			status(rw, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "error trying to reach service: dial tcp 10.0.0.9:8080: i/o timeout")
		case p.forbidden:
			status(rw, http.StatusForbidden, metav1.StatusReasonForbidden, `pods "`+name+`" is forbidden: User "me" cannot get resource "pods/proxy"`)
		case r.PathValue("path") == "readyz":
			rw.WriteHeader(p.ready)
			_, _ = io.WriteString(rw, "not yet")
		default:
			_, _ = io.WriteString(rw, strings.ReplaceAll(p.metrics, "NOW", strconv.FormatInt(time.Now().Unix(), 10)))
		}
	})
	server.Config.Handler = routes
	w.options.ExporterURL = ""
}

func (p *replica) pod(name string) core.Pod {
	pod := core.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "kube-iam-assume"}, Status: core.PodStatus{Phase: p.phase}}
	pod.Spec.Containers = []core.Container{{Ports: []core.ContainerPort{{Name: "metrics", ContainerPort: 8080}}}}
	if p.waits != "" {
		pod.Status.ContainerStatuses = []core.ContainerStatus{{State: core.ContainerState{Waiting: &core.ContainerStateWaiting{Reason: p.waits}}}}
	}
	return pod
}

// Without --exporter-url every pod of the exporter is looked at through the API server.
func TestExportersAreSeenThroughTheAPIServer(t *testing.T) {
	t.Parallel()
	old := func(name string) func(*replica) { // a metric is from long ago
		return func(p *replica) { p.metrics = strings.Replace(p.metrics, name+" NOW", name+" 1.7e+09", 1) }
	}
	cases := map[string]struct {
		harm   func(a *replica) // one of the two
		want   string
		status doctor.Status
		says   string
	}{
		"both well":         {func(*replica) {}, "exporter.reads", doctor.OK, "s ago; b: 2 of 2, "},
		"one not ready":     {func(p *replica) { p.ready = http.StatusServiceUnavailable }, "exporter.ready", doctor.Broken, "a: GET /readyz answers 503: not yet"},
		"one has no image":  {func(p *replica) { p.phase, p.waits = core.PodPending, "ImagePullBackOff" }, "exporter.ready", doctor.Broken, "a: it is Pending: ImagePullBackOff"},
		"no phase yet":      {func(p *replica) { p.phase = "" }, "exporter.ready", doctor.Broken, "a: it is Pending"},
		"another program":   {func(p *replica) { p.metrics = "go_goroutines 1\n" }, "exporter.metrics", doctor.Broken, "a: no metric of the exporter"},
		"reads one":         {func(p *replica) { p.metrics = strings.Replace(p.metrics, "read 2", "read 1", 1) }, "exporter.reads", doctor.Broken, "a: it reads 1 of 2"},
		"hangs":             {old("reading_timestamp_seconds"), "exporter.reads", doctor.Broken, "a: its last reading began"},
		"sees a problem":    {func(p *replica) { p.metrics = strings.Replace(p.metrics, "} 0", "} 1", 1) }, "exporter.problems", doctor.Broken, "APIServerUnreachable 10.0.0.1:6443"},
		"delivers no more":  {old(`"p"}`), "exporter.accepted", doctor.OK, "p"},
		"out of reach":      {func(p *replica) { p.gone = true }, "exporter.ready", doctor.Warn, "a: the API server does not reach it: error trying to reach service"},
		"of the other only": {func(p *replica) { p.gone = true }, "exporter.reads", doctor.OK, "b: 2 of 2"},
		"no right":          {func(p *replica) { p.forbidden = true }, "exporter.ready", doctor.Skipped, `cannot get resource "pods/proxy"; give --exporter-url`},
		"ended":             {func(p *replica) { p.phase, p.ready = core.PodFailed, http.StatusServiceUnavailable }, "exporter.ready", doctor.OK, "yes"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, a := newWorld(t), runs()
			c.harm(a)
			w.servePods(map[string]*replica{"a": a, "b": runs()})
			report := run(w)
			got, _ := report.Check(c.want)
			if got.Status != c.status || !strings.Contains(got.Detail, c.says) {
				t.Errorf("%s: %s: %s", got.ID, got.Status, got.Detail)
			}
			if first := report.First; (c.status == doctor.Broken) != (first == c.want) {
				t.Errorf("the first broken link is %q", first)
			}
		})
	}
}

// Where there is nothing to look at, doctor says what would help.
func TestExportersThatCannotBeLookedAt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		harm   func(*world)
		ready  doctor.Status
		says   string
		metric doctor.Status
	}{
		"no pod": {func(w *world) { w.servePods(nil) }, doctor.Skipped, "no pod runs as " + account + "; give --exporter-url", doctor.Skipped},
		"no right": {func(w *world) {
			w.servers[0].status["/api/v1/namespaces/kube-iam-assume/pods"] = http.StatusForbidden
			w.options.ExporterURL = ""
		}, doctor.Skipped, "its pods cannot be listed", doctor.Skipped},
		"none reached": {func(w *world) { w.servePods(map[string]*replica{"a": {phase: core.PodRunning, gone: true}}) }, doctor.Warn, "i/o timeout", doctor.Skipped},
		"other account": {func(w *world) {
			w.servePods(map[string]*replica{"a": runs()})
			w.options.ExporterSettings, w.options.Account = nil, "default/default"
		}, doctor.OK, "yes", doctor.OK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c.harm(w)
			report := run(w)
			if got, _ := report.Check("exporter.ready"); got.Status != c.ready || !strings.Contains(got.Detail, c.says) {
				t.Errorf("%s: %s", got.Status, got.Detail)
			}
			if got, _ := report.Check("exporter.metrics"); got.Status != c.metric {
				t.Errorf("%s: %s", got.Status, got.Detail)
			}
		})
	}
}
