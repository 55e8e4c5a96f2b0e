package publishers

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/smithy-go"
)

const token = "eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmVk"

// behind is a web door before a handler.
func behind(t *testing.T, handler http.HandlerFunc) web {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	client := newClient()
	client.Transport = bounded{server.Client().Transport}
	return web{client: client, url: server.URL + "/door", right: "ask the owner", token: func(context.Context) (string, error) { return token, nil }}
}

// Every answer of a platform or of a publisher is one decision.
func TestAnswers(t *testing.T) {
	t.Parallel()
	const problem = "application/problem+json"
	for name, test := range map[string]struct {
		status      int
		contentType string
		body        string
		want        error
		says        string
	}{
		"an outcome":             {200, "application/json", `{"status":"planned"}`, nil, ""},
		"the platform: who?":     {401, "text/html", "<html>", ErrForbidden, "ask the owner"},
		"the platform: not you":  {403, "text/html", "<html>", ErrForbidden, "ask the owner"},
		"the door: who?":         {401, problem, `{"code":"token","detail":"no valid access token"}`, ErrForbidden, "no valid access token"},
		"the door: not you":      {403, problem, `{"code":"not-operator","detail":"the object ID"}`, ErrForbidden, "(not-operator): the object ID: ask the owner"},
		"the door is shut":       {403, problem, `{"code":"shut"}`, ErrForbidden, "shut"},
		"the publisher refuses":  {403, problem, `{"code":"unknown-cluster","detail":"cluster is not enrolled"}`, ErrRefused, "cluster is not enrolled"},
		"it does not say why":    {400, problem, `{"code":"statement","instance":"i-1"}`, ErrRefused, `the function's log has the reason as "i-1"`},
		"the state is lost":      {503, problem, `{"code":"unavailable","detail":"state is lost"}`, ErrRefused, "state is lost"},
		"lost races":             {503, problem, `{"code":"retry"}`, ErrUnreachable, "503"},
		"the platform is down":   {503, "text/html", "<html>", ErrUnreachable, "503"},
		"too many":               {429, "text/plain", "", ErrUnreachable, "429"},
		"nothing there":          {404, "text/html", "<html>", ErrNoDoor, "operate_url"},
		"another place":          {302, "text/html", "", ErrNoDoor, "a token follows no redirect"},
		"more than anybody says": {200, "application/json", strings.Repeat(" ", maxOutcome+1), ErrNoDoor, "more than"},
	} {
		w := behind(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer "+token || r.Method != http.MethodPost {
				t.Errorf("%s: %s with %q", name, r.Method, r.Header)
			}
			w.Header().Set("Content-Type", test.contentType)
			w.Header().Set("Location", "https://elsewhere.example.com/")
			w.WriteHeader(test.status)
			_, _ = io.WriteString(w, test.body)
		})
		_, err := w.send(t.Context(), []byte(`{}`))
		if !errors.Is(err, test.want) || err != nil && (!strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), token)) {
			t.Errorf("%s: %v, want %v: %s", name, err, test.want, test.says)
		}
	}
}

// A token goes to its own door: what redirects, gets it once and never elsewhere. What is no token goes nowhere.
func TestTokensStay(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int64
	other := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	var asked atomic.Int64
	w := behind(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	if _, err := w.send(t.Context(), nil); !errors.Is(err, ErrNoDoor) || elsewhere.Load() != 0 || asked.Load() != 1 {
		t.Errorf("%v; asked %d times, elsewhere %d", err, asked.Load(), elsewhere.Load())
	}
	for _, wrong := range []string{"", "a.b", "a.b.c\nX-Evil: 1", strings.Repeat("a", maxToken) + ".b.c", "ERROR: log in"} {
		w.token = func(context.Context) (string, error) { return wrong, nil }
		if _, err := w.send(t.Context(), nil); !errors.Is(err, ErrLogin) || asked.Load() != 1 {
			t.Errorf("%.20q: %v, asked %d times", wrong, err, asked.Load())
		}
	}
}

// What was not clearly answered is sent again; what was judged is not.
func TestAgain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answers []error
		want    error
		asked   int
	}{
		"at once":      {[]error{nil}, nil, 1},
		"the second":   {[]error{ErrUnreachable, nil}, nil, 2},
		"never":        {[]error{ErrUnreachable, ErrUnreachable, ErrUnreachable}, ErrUnreachable, attempts},
		"judged":       {[]error{ErrRefused}, ErrRefused, 1},
		"not let in":   {[]error{ErrForbidden}, ErrForbidden, 1},
		"judged later": {[]error{ErrUnreachable, ErrRefused}, ErrRefused, 2},
	} {
		s := &scripted{answers: test.answers}
		if _, err := patiently(t.Context(), s, nil); !errors.Is(err, test.want) || s.asked != test.asked {
			t.Errorf("%s: %v, asked %d times", name, err, s.asked)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	began := time.Now()
	if _, err := patiently(ctx, &scripted{answers: []error{ErrUnreachable, ErrUnreachable, ErrUnreachable}}, nil); !errors.Is(err, ErrUnreachable) || time.Since(began) > firstPause {
		t.Errorf("a person who has enough: %v after %s", err, time.Since(began))
	}
}

type scripted struct {
	answers []error
	asked   int
}

func (s *scripted) send(context.Context, []byte) ([]byte, error) {
	s.asked++
	return nil, s.answers[s.asked-1]
}

// Nothing goes out in the clear, whatever the environment says.
func TestClear(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(server.Close)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_LAMBDA": server.URL, "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s", "AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
	} {
		t.Setenv(name, value)
	}
	p := Publisher{Name: "p", Lambda: &Lambda{Function: "arn:aws:lambda:eu-central-1:111122223333:function:f"}}
	if _, err := p.Send(t.Context(), Order{}); !errors.Is(err, ErrNoDoor) || asked.Load() != 0 {
		t.Errorf("%v, asked %d times", err, asked.Load())
	}
}

// What Lambda answers in the function's place is told apart from what the function says.
func TestLambdaErrors(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]error{
		"AccessDeniedException": ErrForbidden, "ExpiredTokenException": ErrLogin, "ResourceNotFoundException": ErrNoDoor,
		"TooManyRequestsException": ErrUnreachable, "ServiceException": ErrUnreachable, "RequestTooLargeException": ErrRefused,
	} {
		if err := (invoker{function: "arn"}).explain(&smithy.GenericAPIError{Code: code, Message: "m"}); !errors.Is(err, want) {
			t.Errorf("%s: %v", code, err)
		}
	}
	if err := (invoker{}).explain(io.ErrUnexpectedEOF); !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
	for payload, want := range map[string]error{
		`{"errorType":"wrapError","errorMessage":"revoke: cluster is not enrolled"}`:           ErrRefused,
		`{"errorType":"Sandbox.Timedout","errorMessage":"Task timed out after 30.00 seconds"}`: ErrUnreachable,
		`{"errorType":"Runtime.ExitError","errorMessage":"RequestId: 1 Error: exit status 2"}`: ErrUnreachable,
		`{"errorMessage":"2026-11-21T00:00:00Z 1 Task timed out after 3.00 seconds"}`:          ErrUnreachable,
		`null`: ErrUnreachable, `no JSON`: ErrUnreachable,
	} {
		if err := functionError([]byte(payload)); !errors.Is(err, want) {
			t.Errorf("%s: %v", payload, err)
		}
	}
}

// A command's output is a token, and nobody sees it; what it complains of is shown.
func TestTokenCommand(t *testing.T) {
	t.Parallel()
	if got, err := run(t.Context(), []string{"echo", token}); err != nil || got != token {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := run(t.Context(), []string{"head", "-c", "100000", "/dev/zero"}); err != nil || len(got) != maxToken+1 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	_, err := run(t.Context(), []string{"sh", "-c", "echo " + token + "; echo log in first >&2; exit 3"})
	if !errors.Is(err, ErrLogin) || !strings.Contains(err.Error(), "log in first") || strings.Contains(err.Error(), token) {
		t.Error(err)
	}
	if _, err := run(t.Context(), []string{"no-such-program-anywhere"}); !errors.Is(err, ErrLogin) {
		t.Error(err)
	}
}

func FuzzParseOutcome(f *testing.F) {
	f.Add([]byte(`{"status":"accepted","publication":3,"changes":[{"event":"key.revoked","keyID":"a"}],"published":[{"cluster":"c","keyID":"k","algorithm":"RS256","status":"current"}]}`))
	f.Add([]byte(`{"status":"done"}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		o, err := parseOutcome(answer)
		if err != nil {
			if !errors.Is(err, ErrNoDoor) {
				t.Errorf("got %v", err)
			}
			return
		}
		if o.Status == "" {
			t.Errorf("%+v", o)
		}
	})
}
