package exporter_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/cluster-exporter/exporter"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

func TestASnapshotIsBelieved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	before := time.Now().UnixMilli()
	e, _ := w.start(w.settings())
	got := w.publisher.wait(anySnapshot) // and was believed
	if !says(of(3, 3), a)(got) || len(got.Attestations) != 3 || got.Exporter != "1.2.3" || got.Key.ID() != e.SnapshotKeyID() {
		t.Errorf("got %+v", got)
	}
	if got.Seq < before || got.Seq > time.Now().UnixMilli() || got.Expires.Sub(got.IssuedAt) > snapshot.Lifetime {
		t.Errorf("seq %d, %s to %s", got.Seq, got.IssuedAt, got.Expires)
	}
	w.publisher.silent(t, 100*time.Millisecond) // nothing changes
	w.waitMetric(e, "api_servers_listed 3")
	w.waitMetric(e, "api_servers_read 3")
	w.waitMetric(e, `api_server_keys{server="`+w.Servers[1].Advertised()+`"} 1`)
	w.waitMetric(e, `api_server_signing_key_info{key_id="`+a.ID()+`",server="`+w.Servers[2].Advertised()+`"} 1`)
	w.waitMetric(e, `deliveries_total{code="",publisher="test",result="accepted"} 1`)
	w.waitMetric(e, `build_info{version="1.2.3"} 1`)
	if events := w.Events(); len(events) != 0 {
		t.Errorf("Events when all is well: %v", w.reasons())
	}
}

func TestRotationServerByServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	e, _ := w.start(w.settings())
	w.publisher.wait(says(of(3, 3), a))
	for _, s := range w.Servers {
		s.SetKeys(a, a, b)
	}
	w.publisher.wait(says(of(3, 3), a, b))
	w.waitEvent("KeyAdded", b.ID())
	for _, s := range w.Servers {
		s.SetKeys(b, b, a) // the union stays, so nothing is sent
	}
	for i, s := range w.Servers {
		if i == 0 {
			w.renewToken(0)
		}
		s.SetKeys(b, b)
	}
	got := w.publisher.wait(says(of(3, 3), b))
	if len(got.Attestations) != 3 {
		t.Errorf("%d attestations", len(got.Attestations))
	}
	w.waitEvent("KeyGone", a.ID())
	w.waitEvent("RotationSeen", a.ID(), b.ID())
	w.waitMetric(e, `api_server_signing_key_info{key_id="`+b.ID()+`",server="`+w.Servers[0].Advertised()+`"} 1`)
}

func TestServersThatDisagreeAreUnited(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	e, _ := w.start(w.settings())
	w.publisher.wait(says(of(3, 3), a))
	w.Servers[1].SetKeys(b, a, b)
	got := w.publisher.wait(says(of(3, 3), a, b))
	belief := must(got.Believe(snapshot.Trust{Issuer: issuer, ServiceAccount: namespace + "/" + account, Vouchers: got.Keys}, time.Now()))
	if len(belief.Signing) != 2 {
		t.Errorf("seen to sign: %v", belief.Signing)
	}
	w.waitEvent("APIServersDisagree", "normal during a rotation")
	w.waitMetric(e, `problem{about="",reason="APIServersDisagree"} 1`)
	w.waitMetric(e, "disagreeing_keys 1")
	for _, s := range w.Servers {
		s.SetKeys(b, a, b)
	}
	w.waitEvent("APIServersDisagreeResolved")
	w.waitMetric(e, `problem{about="",reason="APIServersDisagree"} 0`)
	w.waitMetric(e, "disagreeing_keys 0")
}

func TestAnAPIServerThatDies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	e, _ := w.start(w.settings())
	w.publisher.wait(says(of(3, 3), a))
	dead := w.Servers[1].Advertised()
	w.Servers[1].Kill()
	w.publisher.wait(says(of(2, 3), a)) // which is additive
	w.waitEvent("APIServerUnreachable", dead, "no key can retire")
	w.waitMetric(e, `problem{about="`+dead+`",reason="APIServerUnreachable"} 1`)
	w.waitMetric(e, `api_servers_skipped{reason="unreachable"} 1`)
	w.Servers[1].Stop() // its lease is over
	w.publisher.wait(says(of(2, 2), a))
	w.eventually("series of the dead server are gone", func() bool {
		_, body := get(e, "/metrics")
		return !strings.Contains(body, dead)
	})
	if err := w.Servers[1].Start(); err != nil {
		t.Fatal(err)
	}
	w.publisher.wait(says(of(3, 3), a))
}

func TestAnotherIssuer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	e, _ := w.start(w.settings())
	w.publisher.wait(says(of(2, 2), a))
	// A real API server goes on accepting tokens of the issuer before, which is its second one.
	other := func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/.well-known/openid-configuration" {
			return false
		}
		_, _ = rw.Write([]byte(`{"issuer":"https://other.example.com"}`))
		return true
	}
	w.Servers[0].Intercept(other)
	w.publisher.wait(says(of(1, 2), a))
	w.waitEvent("IssuerDiffers", w.Servers[0].Advertised(), "https://other.example.com", issuer)
	w.waitMetric(e, `api_servers_skipped{reason="other-issuer"} 1`)
	w.Servers[1].Intercept(other)
	w.waitEvent("NoAPIServerHasTheIssuer", issuer, "--service-account-issuer")
	if status, _ := get(e, "/readyz"); status != http.StatusOK {
		t.Errorf("readyz: %d", status)
	}
	w.publisher.silent(t, 100*time.Millisecond)
	w.Servers[0].Intercept(nil)
	w.Servers[1].Intercept(nil)
	w.waitEvent("NoAPIServerHasTheIssuerResolved")
	w.publisher.wait(says(of(2, 2), a))
}

func TestAClockThatIsWrong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.Servers[1].Intercept(func(rw http.ResponseWriter, _ *http.Request) bool {
		rw.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		return false
	})
	e, _ := w.start(w.settings())
	for i, want := range map[int]string{0: "-?[01]", 1: "-360[01]"} {
		line := regexp.MustCompile(`(?m)^kube_iam_assume_exporter_api_server_clock_skew_seconds{server="` + w.Servers[i].Advertised() + `"} ` + want + `$`)
		w.eventually("the clock of "+w.Servers[i].Advertised(), func() bool { _, body := get(e, "/metrics"); return line.MatchString(body) })
	}
}

func TestASigningKeyThatIsNotListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	s := w.settings()
	s.HeartbeatInterval = 50 * time.Millisecond
	e, _ := w.start(s)
	w.publisher.wait(says(of(2, 2), a))
	wrong := w.Servers[1].Advertised()
	w.Servers[1].SetKeys(c, a) // accepts the exporter's token, and makes tokens that it would itself refuse
	w.waitEvent("SigningKeyNotListed", wrong, c.ID(), "--service-account-key-file")
	w.waitMetric(e, `problem{about="`+wrong+`",reason="SigningKeyNotListed"} 1`)
	w.Servers[1].SetKeys(c, a, c)
	w.waitEvent("SigningKeyNotListedResolved", wrong)
	w.publisher.wait(says(of(2, 2), a, c))
}

func TestAPrivateKeyIsAnIncident(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.Servers[1].Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/openid/v1/jwks" {
			return false
		}
		_, _ = rw.Write([]byte(`{"keys":[{"kty":"RSA","d":"AQAB","kid":"x","n":"AQAB","e":"AQAB"}]}`))
		return true
	})
	w.start(w.settings())
	w.publisher.wait(says(of(1, 2), a))
	w.waitEvent("PrivateKeyListed", "INCIDENT", w.Servers[1].Advertised())
}

func TestAnAPIServerThatTalksTooMuchOrNonsense(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"too large": `{"keys":[` + strings.Repeat(" ", 70<<10) + `]}`,
		"HTML":      "<html>",
		"no keys":   "{}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 2)
			w.Servers[0].Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/openid/v1/jwks" {
					return false
				}
				_, _ = rw.Write([]byte(body))
				return true
			})
			w.start(w.settings())
			w.publisher.wait(says(of(1, 2), a))
			w.waitEvent("APIServerUnreachable", w.Servers[0].Advertised())
		})
	}
}

// A one-step swap: the token by the old key is refused until the kubelet has brought one by the new.
func TestATokenThatIsRefusedIsReadAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.start(w.settings())
	w.publisher.wait(says(of(1, 1), a))
	w.SetKeys(b)
	w.eventually("the refusal is told", func() bool { return strings.Contains(w.log.String(), "the kubelet brings a new token") })
	w.publisher.silent(t, 50*time.Millisecond)
	w.renewToken(0)
	w.publisher.wait(says(of(1, 1), b))
	w.waitEvent("APIServerUnreachable", "the kubelet brings a new token") // nobody took the Event before
	w.waitEvent("APIServerUnreachableResolved")
}

// The same, but the new token comes while the old one is being refused: it is tried at once.
func TestATokenThatComesMeanwhileIsTriedAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.write(w.token, []byte("old"))
	refusals := 0
	w.Servers[0].Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Bearer old" {
			refusals++
			w.renewToken(0)
		}
		return false
	})
	w.start(w.settings())
	w.publisher.wait(says(of(1, 1), a))
	if refusals != 1 || strings.Contains(w.log.String(), "ReadFailed") {
		t.Errorf("%d refusals:\n%s", refusals, w.log)
	}
}

func TestTheListSurvivesAnAPIServerThatRefusesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.start(w.settings())
	w.publisher.wait(says(of(2, 2), a))
	refuse := func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "endpointslices") {
			rw.WriteHeader(http.StatusInternalServerError)
			return true
		}
		return false
	}
	w.Servers[0].Intercept(refuse)
	w.SetKeys(a, a, b)
	w.publisher.wait(says(of(2, 2), a, b)) // the other one lists both
	w.Servers[1].Intercept(refuse)
	w.publisher.wait(says(of(2, 3), a, b)) // nobody does: there may be more
	w.waitEvent("ListFailed", "there may be others")
}

func TestAddressesOfTheSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	s := w.settings()
	s.APIServers.Addresses = []string{w.Servers[0].Address(), w.Servers[1].Address()}
	s.APIServers.CAFile = w.ca
	options := w.options()
	options.Access.Address, options.Access.CAFile = "", "missing"
	w.Servers[0].SetKeys(a, a, b)
	e := must(exporter.New(s, options))
	go e.Run(t.Context())
	w.publisher.wait(says(of(2, 2), a, b))
}

func TestBehindAVirtualAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.Servers[1].SetKeys(b, a, b)
	s := w.settings()
	s.APIServers.Expect = 2
	w.start(s)
	w.publisher.wait(says(of(1, 2), a, b)) // additive until ten minutes have been seen
	w.Servers[1].SetKeys(a, a)
	w.Servers[0].SetKeys(a, a, c)
	w.publisher.wait(says(of(1, 2), a, b, c))
}

func TestTheAuthorityIsReadAgain(t *testing.T) {
	t.Parallel()
	w, other := newWorld(t, 1), newWorld(t, 1)
	w.write(w.ca, other.CA)
	w.start(w.settings())
	w.eventually("it is refused", func() bool { return strings.Contains(w.log.String(), "ReadFailed") })
	w.write(w.ca, w.CA)
	w.publisher.wait(says(of(1, 1), a))
}

func TestNewRefusesWhatCanNotWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*exporter.Settings, *exporter.Options){
		"no authority":    func(_ *exporter.Settings, o *exporter.Options) { o.Access.CAFile = "missing" },
		"no address":      func(_ *exporter.Settings, o *exporter.Options) { o.Access.Address = "" },
		"empty authority": func(_ *exporter.Settings, o *exporter.Options) { o.Access.CAFile = empty },
	} {
		s, o := w.settings(), w.options()
		change(&s, &o)
		if _, err := exporter.New(s, o); !errors.Is(err, exporter.ErrAccess) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bundle := range []string{"missing", empty} {
		s := w.settings()
		s.CABundle = bundle
		if _, err := exporter.New(s, w.options()); err == nil || !strings.Contains(err.Error(), "caBundle") {
			t.Errorf("bundle %s: %v", bundle, err)
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	clock := make(chan time.Duration, 1)
	clock <- 0
	o := w.options()
	o.Now = func() time.Time { d := <-clock; clock <- d; return time.Now().Add(d) }
	e := must(exporter.New(w.settings(), o))
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/metrics": 200, "/else": 404} {
		if got, _ := get(e, path); got != want {
			t.Errorf("before: %s %d, want %d", path, got, want)
		}
	}
	<-clock
	clock <- 3 * time.Minute // without a turn of the loop
	if got, _ := get(e, "/healthz"); got != 503 {
		t.Errorf("a loop that hangs is healthy: %d", got)
	}
	<-clock
	clock <- 0
	go e.Run(t.Context())
	w.eventually("ready", func() bool { got, _ := get(e, "/readyz"); return got == 200 })
}

// Events are a courtesy: an API server that does not take them holds nothing up.
func TestEventsHoldNothingUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	asked := make(chan struct{}, 100)
	w.Servers[0].Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/events") {
			return false
		}
		asked <- struct{}{}
		<-r.Context().Done()
		return true
	})
	w.start(w.settings())
	w.publisher.wait(says(of(1, 1), a))
	w.SetKeys(a, a, b)
	w.publisher.wait(says(of(1, 1), a, b))
	<-asked
	w.SetKeys(a, a, c)
	w.publisher.wait(says(of(1, 1), a, c))
}

func TestEventsAreAboutTheDeployment(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.start(w.settings())
	w.publisher.wait(says(of(1, 1), a))
	w.SetKeys(a, a, b)
	w.waitEvent("KeyAdded")
	event := w.Events()[0]
	if about := event.InvolvedObject; about.Kind != "Deployment" || about.APIVersion != "apps/v1" || about.Name != account || about.Namespace != namespace {
		t.Errorf("about %+v", about)
	}
	if pod := event.Related; pod == nil || pod.Kind != "Pod" || pod.Name != "exporter-0" || pod.UID != "uid-0" || pod.Namespace != namespace {
		t.Errorf("by %+v", pod)
	}
}

// An API server that has just begun knows no Roles for a moment. What it is told then is not lost.
func TestAnEventThatIsForbiddenAtFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	refused := make(chan struct{}, 1)
	w.Servers[0].Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/events") {
			return false
		}
		select {
		case refused <- struct{}{}:
			rw.WriteHeader(http.StatusForbidden)
			return true
		default:
			return false
		}
	})
	w.start(w.settings())
	w.publisher.wait(says(of(1, 1), a))
	w.SetKeys(a, a, b)
	w.waitEvent("KeyAdded", b.ID())
	if len(refused) != 1 {
		t.Error("nothing was refused")
	}
}

// Nothing that Run started is left when it has returned. Not parallel: it looks at every goroutine.
func TestRunEndsCleanly(t *testing.T) {
	w := newWorld(t, 2)
	s := w.settings()
	w.publisher.answers(problem(http.StatusServiceUnavailable, "retry", ""))
	_, stop := w.start(s)
	w.publisher.wait(anySnapshot)
	stop()
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if strings.Contains(stack, "cluster-exporter/exporter.") && !strings.Contains(stack, "testing.tRunner") {
			t.Errorf("left running:\n%s", stack)
		}
	}
	if strings.Contains(w.log.String(), `"context canceled"`) {
		t.Errorf("the end is reported as a fault:\n%s", w.log)
	}
}
