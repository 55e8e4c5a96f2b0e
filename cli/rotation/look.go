package rotation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/cli/apiserver"
	"github.com/kube-iam-assume/kube-iam-assume/cli/stranger"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

const (
	// probeAudience is an audience that nobody accepts.
	probeAudience = "kube-iam-assume:rotation-probe"

	probeSeconds = 600
	tenYears     = 10 * 365 * 24 * 3600
)

// Round is one look at everything. What it shows was so at some moment between Began and Ended.
type Round struct {
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended"`
	Listed  int       `json:"listed"` // API servers that there are
	Direct  bool      `json:"direct"` // each was read at its own address
	Servers []Server  `json:"servers"`
	URLs    []URL     `json:"urls"`

	ran time.Duration // how long this program had run at the end, sleep of the machine not counted
}

// hidden reports whether a balancer was between, so that nobody knows which API servers answered.
func (r Round) hidden() bool { return !r.Direct && len(r.Servers) > 1 }

// Server is what one API server lists and signs with.
type Server struct {
	Address string   `json:"address"`
	Issuer  string   `json:"issuer,omitempty"`
	Keys    []string `json:"keys,omitempty"`
	Signs   string   `json:"signs,omitempty"` // ID of the key of a fresh token
	Problem string   `json:"problem,omitempty"`

	longest time.Duration // life of the longest token that it gives
}

// URL is what a stranger sees at one place.
type URL struct {
	URL      string        `json:"url"`
	Keys     []string      `json:"keys,omitempty"`
	Modified *time.Time    `json:"modified,omitempty"` // Last-Modified: its keys are there since then at the latest
	Problem  string        `json:"problem,omitempty"`
	MaxAge   time.Duration `json:"-"`
}

func (u URL) has(keyID string) bool { return u.Problem == "" && slices.Contains(u.Keys, keyID) }

// sources are what a round looks at.
type sources struct {
	cluster  *apiserver.Cluster
	account  string // whose tokens tell the signing key
	probe    bool   // ask also for long tokens
	stranger stranger.Client
	urls     []string             // base URLs
	now      func() time.Time     // by the wall clock, which goes on while the machine sleeps
	ran      func() time.Duration // by the machine's, which does not
}

func (s *sources) look(ctx context.Context) Round {
	r := Round{Began: s.now(), URLs: make([]URL, len(s.urls))}
	var all sync.WaitGroup
	for i, base := range s.urls {
		all.Go(func() { r.URLs[i] = Fetch(ctx, s.stranger, base) })
	}
	if s.cluster != nil {
		s.servers(ctx, &r)
	}
	all.Wait()
	r.Ended, r.ran = s.now(), s.ran()
	return r
}

// servers reads the list anew each time: API servers come and go during a rotation.
func (s *sources) servers(ctx context.Context, r *Round) {
	if err := s.cluster.Relist(ctx); err != nil {
		r.Servers = []Server{{Address: "(all)", Problem: "they can't be listed: " + err.Error()}}
		return
	}
	r.Listed = len(s.cluster.Listed)
	readings, direct, err := s.cluster.Read(ctx)
	if err != nil {
		r.Servers = []Server{{Address: "(all)", Problem: err.Error()}}
		return
	}
	r.Direct = direct
	tokens := apiserver.Tokens(ctx, readings, s.account, []string{probeAudience}, probeSeconds)
	long := make([]apiserver.Token, len(readings))
	if s.probe {
		long = apiserver.Tokens(ctx, readings, s.account, []string{probeAudience}, tenYears)
	}
	for i, reading := range readings {
		server := Server{Address: reading.Address, Issuer: reading.Issuer, Keys: reading.Keys.IDs(), Signs: tokens[i].KeyID, longest: max(tokens[i].Life(), long[i].Life())}
		for _, err := range []error{reading.Err, reading.KeysErr, tokens[i].Err, long[i].Err} {
			if err != nil && server.Problem == "" {
				server.Problem = err.Error()
			}
		}
		r.Servers = append(r.Servers, server)
	}
}

// Fetch is what a stranger sees below the URL of an issuer or a mirror.
func Fetch(ctx context.Context, client stranger.Client, base string) URL {
	u := URL{URL: base + stranger.JWKSPath}
	a, err := client.Ask(ctx, u.URL)
	var keys jwks.Set
	switch {
	case err != nil:
	case a.Status != http.StatusOK:
		err = fmt.Errorf("%d %s", a.Status, http.StatusText(a.Status))
	case len(a.Body) > stranger.MaxDocument:
		err = errors.New("it is too long")
	default:
		keys, err = jwks.Parse(a.Body)
	}
	if err != nil {
		u.Problem = err.Error()
		return u
	}
	u.Keys, u.MaxAge = keys.IDs(), maxAge(a.Header.Values("Cache-Control"))
	if modified, err := http.ParseTime(a.Header.Get("Last-Modified")); err == nil {
		u.Modified = &modified
	}
	return u
}

// longestAge is what a larger max-age means (RFC 9111 §1.2.2).
const longestAge = 1 << 31 * time.Second

// maxAge is the longest freshness that Cache-Control's lines give; 0 if they give none.
func maxAge(headers []string) time.Duration {
	var longest time.Duration
	for part := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(part)), "=")
		if name = strings.TrimSpace(name); name != "max-age" && name != "s-maxage" {
			continue
		}
		seconds, err := strconv.ParseUint(strings.Trim(value, ` "`), 10, 64)
		switch {
		case errors.Is(err, strconv.ErrRange) || seconds > uint64(longestAge/time.Second):
			longest = longestAge
		case err == nil:
			longest = max(longest, time.Duration(seconds)*time.Second)
		}
	}
	return longest
}
