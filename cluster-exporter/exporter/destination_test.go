package exporter_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/cluster-exporter/exporter"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

func TestHeartbeat(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	s := w.settings()
	s.HeartbeatInterval = 50 * time.Millisecond
	w.start(s)
	first := w.publisher.wait(anySnapshot)
	second := w.publisher.wait(anySnapshot)
	if second.Seq <= first.Seq || !says(of(1, 1), a)(second) || first.Key.ID() != second.Key.ID() {
		t.Errorf("%+v after %+v", second.APIServers, first.APIServers)
	}
}

// What a publisher refuses is explained to a person: in an Event, and not at every poll.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer func(http.ResponseWriter, snapshot.Opened) bool
		words  []string
		metric string
	}{
		"not-believed": {
			problem(403, "not-believed", ""),
			[]string{"HTTP 403 not-believed", "kube-iam-assume operate enroll", "treat it as an incident", "I1", a.ID()},
			"not-believed",
		},
		"private-key":   {problem(400, "private-key", ""), []string{"INCIDENT"}, "private-key"},
		"with a detail": {problem(403, "owned", `,"detail":"key X is dev's"`), []string{"key X is dev's", "cloned"}, "owned"},
		"too-many-keys": {problem(403, "too-many-keys", ""), []string{"retiring"}, "too-many-keys"},
		"of a code that nobody knows": {
			problem(418, "teapot", ""), []string{"HTTP 418 teapot", "/v1/snapshots"}, "http-4xx",
		},
		"redirect": {
			func(w http.ResponseWriter, _ snapshot.Opened) bool {
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(http.StatusTemporaryRedirect)
				return true
			}, []string{"HTTP 307", "is the URL right"}, "http-3xx",
		},
		"a page that is not there": {
			func(w http.ResponseWriter, _ snapshot.Opened) bool {
				http.Error(w, "<html>", http.StatusNotFound)
				return true
			},
			[]string{"HTTP 404", "is the URL right"},
			"http-4xx",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			w.publisher.answers(test.answer)
			e, _ := w.start(w.settings())
			w.publisher.wait(anySnapshot)
			w.waitEvent("SnapshotRefused", test.words...)
			w.waitMetric(e, `deliveries_total{code="`+test.metric+`",publisher="test",result="refused"} 1`)
			w.publisher.silent(t, 100*time.Millisecond)
			w.publisher.answers(nil)
			w.SetKeys(a, a, b) // news does not wait for the pause to end
			w.publisher.wait(says(of(1, 1), a, b))
			w.waitEvent("SnapshotRefusedResolved")
		})
	}
}

func TestNotBelievedNamesBothKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.start(w.settings())
	w.publisher.wait(says(of(1, 1), a))
	w.publisher.answers(problem(403, "not-believed", ""))
	w.SetKeys(b)
	w.renewToken(0)
	w.waitEvent("SnapshotRefused", "last accepted: "+a.ID(), "sign with "+b.ID())
}

// What may pass is tried again without anybody's help, and told meanwhile.
func TestRetries(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(http.ResponseWriter, snapshot.Opened) bool{
		"retry":     problem(503, "retry", ""),
		"throttled": problem(429, "", ""),
		"gateway": func(w http.ResponseWriter, _ snapshot.Opened) bool {
			http.Error(w, "<html>bad gateway</html>", http.StatusBadGateway)
			return true
		},
		"hangs up": func(http.ResponseWriter, snapshot.Opened) bool { panic(http.ErrAbortHandler) },
		"a portal": func(w http.ResponseWriter, _ snapshot.Opened) bool {
			_, _ = io.WriteString(w, "<html>log in")
			return true
		},
		"empty": func(w http.ResponseWriter, _ snapshot.Opened) bool { _, _ = io.WriteString(w, "{}"); return true },
		"endless": func(w http.ResponseWriter, _ snapshot.Opened) bool {
			_, _ = io.WriteString(w, strings.Repeat(" ", 100<<10))
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			w.publisher.answers(answer)
			w.start(w.settings())
			first := w.publisher.wait(anySnapshot)
			w.waitEvent("DeliveryFailed", "it is tried again")
			w.publisher.answers(nil)
			again := w.publisher.wait(anySnapshot)
			if again.Seq <= first.Seq {
				t.Errorf("seq %d after %d", again.Seq, first.Seq)
			}
			w.waitEvent("DeliveryFailedResolved")
			if n := strings.Count(w.log.String(), `"event":"DeliveryFailed"`); n != 1 {
				t.Errorf("told %d times", n)
			}
		})
	}
}

// Another replica, or this one before its restart, was ahead.
func TestSupersededGoesOnFromThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	ahead := time.Now().Add(time.Minute).UnixMilli()
	var answers atomic.Int32
	w.publisher.answers(func(rw http.ResponseWriter, got snapshot.Opened) bool {
		return answers.Add(1) == 1 && problem(409, "superseded", fmt.Sprintf(`,"seq":%d`, ahead))(rw, got)
	})
	s := w.settings()
	s.PollInterval = time.Hour // it does not wait for the next poll
	e, _ := w.start(s)
	w.publisher.wait(anySnapshot)
	if got := w.publisher.wait(anySnapshot); got.Seq != ahead+1 {
		t.Errorf("seq %d, want %d", got.Seq, ahead+1)
	}
	w.waitMetric(e, `deliveries_total{code="superseded",publisher="test",result="superseded"} 1`)
}

// Two replicas that read in the same millisecond: not an incident the first time.
func TestForkIsToldOnlyIfItHappensAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	var answers atomic.Int32
	w.publisher.answers(func(rw http.ResponseWriter, got snapshot.Opened) bool {
		return answers.Add(1) == 1 && problem(409, "fork", "")(rw, got)
	})
	w.start(w.settings())
	w.publisher.wait(anySnapshot)
	w.publisher.wait(anySnapshot)
	w.publisher.answers(problem(409, "fork", ""))
	w.SetKeys(a, a, b)
	w.waitEvent("SnapshotRefused", "fork", "incident")
}

func TestADestinationThatIsDownHoldsNoOtherUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	s := w.settings()
	hangs := make(chan struct{})
	t.Cleanup(func() { close(hangs) })
	silent := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hangs }))
	t.Cleanup(silent.CloseClientConnections)
	s.Destinations = append(s.Destinations,
		exporter.Destination{Publisher: "nobody", Webhook: &exporter.Webhook{URL: "https://127.0.0.1:1/v1/snapshots"}},
		exporter.Destination{Publisher: "silent", Webhook: &exporter.Webhook{URL: silent.URL}})
	e, _ := w.start(s)
	w.publisher.wait(says(of(1, 1), a))
	w.SetKeys(a, a, b)
	w.publisher.wait(says(of(1, 1), a, b))
	w.waitEvent("DeliveryFailed", "publisher nobody", "refused")
	w.waitMetric(e, `problem{about="destination nobody",reason="DeliveryFailed"} 1`)
}

// Only the newest reading matters: what changed while a publisher did not answer is sent once.
func TestBacklogOfOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	asked, release := make(chan struct{}), make(chan struct{})
	var answers atomic.Int32
	w.publisher.answers(func(http.ResponseWriter, snapshot.Opened) bool {
		if answers.Add(1) == 1 {
			asked <- struct{}{}
			<-release
		}
		return false
	})
	e, _ := w.start(w.settings())
	<-asked
	for i, keys := range [][]string{{a.ID(), b.ID()}, {a.ID(), c.ID()}} {
		if i == 0 {
			w.SetKeys(a, a, b)
		} else {
			w.SetKeys(a, a, c)
		}
		w.waitMetric(e, "keys 2")
		w.eventually("the change is seen", func() bool { return strings.Contains(w.log.String(), "new key "+keys[1]) })
	}
	close(release)
	w.publisher.wait(says(of(1, 1), a))
	if got := w.publisher.wait(anySnapshot); !says(of(1, 1), a, c)(got) {
		t.Errorf("got %v", got.Keys.IDs())
	}
}

// Destinations are reached through the proxy of the settings, API servers never.
func TestProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	var through atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || "https://"+r.Host != w.publisher.URL {
			t.Errorf("through the proxy: %s %s", r.Method, r.Host)
		}
		through.Add(1)
		tunnel(rw, r.Host)
	}))
	t.Cleanup(proxy.Close)
	s := w.settings()
	s.Proxy = proxy.URL
	w.start(s)
	w.publisher.wait(says(of(1, 1), a))
	if through.Load() == 0 {
		t.Error("not through the proxy")
	}
}

func tunnel(w http.ResponseWriter, to string) {
	there, err := net.Dial("tcp", to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusOK)
	here, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	go copyAndClose(there, buffered.Reader)
	go copyAndClose(here, bufio.NewReader(there))
}

func copyAndClose(to net.Conn, from io.Reader) {
	defer to.Close()
	_, _ = io.Copy(to, from)
}
