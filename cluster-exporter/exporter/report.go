package exporter

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// What can be wrong. The names are reasons of Events and labels of the metric "problem".
const (
	readFailed              = "ReadFailed"
	listFailed              = "ListFailed"
	unreachable             = "APIServerUnreachable"
	issuerDiffers           = "IssuerDiffers"
	noAPIServerHasTheIssuer = "NoAPIServerHasTheIssuer"
	apiServersDisagree      = "APIServersDisagree"
	privateKeyListed        = "PrivateKeyListed"
	attestationFailed       = "AttestationFailed"
	signingKeyNotListed     = "SigningKeyNotListed"
	deliveryFailed          = "DeliveryFailed"
	snapshotRefused         = "SnapshotRefused"
	queueRefused            = "QueueRefused"
)

// reporter tells people what the exporter sees: in the log, in metrics and as Kubernetes Events.
type reporter struct {
	*conditions

	issuer  string
	virtual bool // nobody knows which API server said what
	logger  *slog.Logger
	events  *events
	metrics *metrics

	mu       sync.Mutex
	polled   time.Time           // when the loop last turned
	answered bool                // some API server was read since the start
	keys     jwks.Set            // of the last reading
	servers  map[string]bool     // addresses of the last reading
	signers  map[string][]string // address → IDs of the keys that sign there
	vouched  map[string][]string // publisher → IDs of the keys that signed when it last accepted
}

func newReporter(settings Settings, options Options, m *metrics) *reporter {
	r := &reporter{
		issuer: settings.Issuer, virtual: settings.APIServers.Expect > 0, logger: options.Logger, events: newEvents(settings, options), metrics: m, polled: options.Now(),
		signers: map[string][]string{}, vouched: map[string][]string{},
	}
	r.conditions = &conditions{now: options.Now, metrics: m, tell: r.tell, wrong: map[condition]trouble{}}
	return r
}

func (r *reporter) tell(eventType, reason, message string) {
	if eventType == core.EventTypeWarning {
		r.logger.Warn(message, "event", reason)
	} else {
		r.logger.Info(message, "event", reason)
	}
	r.events.add(eventType, reason, message)
}

// reading tells what a reading showed.
func (r *reporter) reading(reading *Reading, err error) {
	r.mu.Lock()
	r.polled = r.now()
	r.mu.Unlock()
	r.check(err != nil, condition{reason: readFailed}, "", func() string { return readProblem(err) })
	if err != nil {
		r.metrics.reads.WithLabelValues(readNothing).Inc()
		return
	}
	r.check(reading.ListErr != nil, condition{reason: listFailed}, "", func() string {
		return "the API servers of before are read, and there may be others: " + readProblem(reading.ListErr)
	})
	answered := r.eachServer(reading)
	r.check(answered && reading.APIServers.Read == 0, condition{reason: noAPIServerHasTheIssuer}, "", func() string {
		return fmt.Sprintf("no API server has the issuer %q: nothing is sent until one has. Make it the first --service-account-issuer, or correct the exporter's settings and the enrollment", r.issuer)
	})
	r.disagreement(reading)
	r.metrics.listed.Set(float64(reading.APIServers.Listed))
	r.metrics.read.Set(float64(reading.APIServers.Read))
	if reading.APIServers.Read > 0 {
		r.metrics.began.Set(float64(reading.Began.UnixMilli()) / 1000)
		r.metrics.union.Set(float64(len(reading.Keys)))
		r.changed(reading.Keys)
	}
}

func readProblem(err error) string {
	problem := withoutURL(err).Error()
	switch {
	case apierrors.IsUnauthorized(err):
		problem += statusRemedy(http.StatusUnauthorized)
	case apierrors.IsForbidden(err):
		problem += ": the exporter's Role in the namespace default is missing"
	}
	return problem
}

// eachServer reports whether any of them answered. Behind a virtual address several readings have one address.
func (r *reporter) eachServer(reading *Reading) (answered bool) {
	byAddress := map[string][]ServerReading{}
	now, results := map[string]bool{}, map[string]int{}
	for _, s := range reading.Servers {
		result := s.result(r.issuer)
		r.metrics.reads.WithLabelValues(result).Inc()
		results[result]++
		byAddress[s.Address] = append(byAddress[s.Address], s)
		now[s.Address] = true
		answered = answered || s.Err == nil
	}
	if reading.ListErr != nil {
		results[readUnlisted] = 1
	}
	r.metrics.skip(results)
	for address, readings := range byAddress {
		r.server(address, readings)
	}
	r.mu.Lock()
	gone := r.servers
	r.servers, r.answered = now, r.answered || answered
	for address := range gone {
		if !now[address] {
			delete(r.signers, address)
		}
	}
	r.mu.Unlock()
	for address := range gone {
		if !now[address] {
			r.forget(address)
			r.metrics.forgetServer(address)
		}
	}
	return answered
}

func (r *reporter) server(address string, readings []ServerReading) {
	var failed, leaked error
	var other *string
	keys := map[string]bool{}
	for _, s := range readings {
		switch {
		case errors.Is(s.Err, jwks.ErrPrivate):
			leaked, failed = s.Err, s.Err
		case s.Err != nil:
			failed = s.Err
		case s.Issuer != r.issuer:
			other = &s.Issuer
		}
		for _, key := range s.Keys {
			keys[key.ID()] = true
		}
		if s.Err == nil {
			r.metrics.skew.WithLabelValues(address).Set(s.Skew.Seconds())
		}
	}
	r.check(failed != nil, condition{unreachable, address}, "", func() string {
		return fmt.Sprintf("API server %s can't be read, so no key can retire: %s", address, withoutURL(failed))
	})
	r.check(leaked != nil, condition{privateKeyListed, address}, "", func() string {
		return fmt.Sprintf("INCIDENT: API server %s lists a private key: rotate the cluster's signing key now", address)
	})
	if failed == nil {
		r.metrics.keys.WithLabelValues(address).Set(float64(len(keys)))
		r.signsWhatItLists(address, keys)
	}
	if other != nil {
		r.raise(condition{issuerDiffers, address}, *other, fmt.Sprintf(
			"API server %s has the issuer %q, the settings have %q: make the latter its first --service-account-issuer", address, *other, r.issuer))
	} else if failed == nil {
		r.clear(condition{issuerDiffers, address})
	}
}

// signsWhatItLists clears what attested raised, when an API server that signs with a key begins to list it.
func (r *reporter) signsWhatItLists(address string, keys map[string]bool) {
	r.mu.Lock()
	signers := r.signers[address]
	r.mu.Unlock()
	if len(signers) > 0 && !slices.ContainsFunc(signers, func(id string) bool { return !keys[id] }) {
		r.clear(condition{signingKeyNotListed, address})
	}
}

// disagreement compares the API servers that were read, each with the keys of them all.
func (r *reporter) disagreement(reading *Reading) {
	servers, listings, lacking := 0, map[string]int{}, ""
	for _, s := range reading.Servers {
		if s.counts(r.issuer) {
			servers++
			for _, key := range s.Keys {
				listings[key.SPKI()]++
			}
		}
	}
	for _, s := range reading.Servers {
		if s.counts(r.issuer) && len(s.Keys) != len(listings) {
			lacking = s.Address
		}
	}
	disputed := 0
	for _, times := range listings {
		if times < servers {
			disputed++
		}
	}
	r.metrics.disagreeing.Set(float64(disputed))
	r.check(lacking != "", condition{reason: apiServersDisagree}, "", func() string {
		return fmt.Sprintf("the API servers list different keys (%s lacks some): normal during a rotation; until it is over, one may refuse another's tokens", lacking)
	})
}

func (r *reporter) changed(keys jwks.Set) {
	r.mu.Lock()
	before := r.keys
	r.keys = keys
	r.mu.Unlock()
	if before == nil {
		return
	}
	for _, key := range keys {
		if _, ok := before.ByID(key.ID()); !ok {
			r.tell(core.EventTypeNormal, "KeyAdded", "an API server lists the new key "+key.ID())
		}
	}
	for _, key := range before {
		if _, ok := keys.ByID(key.ID()); !ok {
			r.tell(core.EventTypeNormal, "KeyGone", "no API server that was read lists the key "+key.ID()+" any more")
		}
	}
}

// attested tells which keys the API servers sign with. One that an API server's own JWKS does not list makes tokens that nobody can verify.
func (r *reporter) attested(words []word) {
	signers, failed, unlisted := map[string][]string{}, map[string]error{}, map[string]string{}
	for _, w := range words {
		switch {
		case !w.asked || !r.lists(w.address):
		case w.err != nil:
			failed[w.address] = w.err
		default:
			signers[w.address] = append(signers[w.address], w.keyID)
			if !w.listed {
				unlisted[w.address] = w.keyID
			}
		}
	}
	for address, err := range failed {
		r.raise(condition{attestationFailed, address}, "", fmt.Sprintf("API server %s does not vouch for the snapshot key: %s%s", address, withoutURL(err), attestationRemedy(err)))
	}
	for address, ids := range signers {
		if failed[address] == nil {
			r.clear(condition{attestationFailed, address})
		}
		slices.Sort(ids)
		r.signsWith(address, slices.Compact(ids))
		id, wrong := unlisted[address]
		r.check(wrong, condition{signingKeyNotListed, address}, id, func() string {
			return fmt.Sprintf("API server %s signs with the key %s, which its own JWKS does not list: nobody can verify its tokens. Add the key's public half as a --service-account-key-file", address, id)
		})
	}
}

func attestationRemedy(err error) string {
	if apierrors.IsForbidden(err) {
		return ": the exporter's Role that lets it create its own token is missing"
	}
	return ""
}

// lists reports whether an API server is in the last reading; what is said of others would never be taken back.
func (r *reporter) lists(address string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.servers[address]
}

func (r *reporter) signsWith(address string, ids []string) {
	r.mu.Lock()
	before := r.signers[address]
	if r.servers[address] {
		r.signers[address] = ids
	}
	r.mu.Unlock()
	if slices.Equal(before, ids) {
		return
	}
	r.metrics.signing.DeletePartialMatch(map[string]string{"server": address})
	for _, id := range ids {
		r.metrics.signing.WithLabelValues(address, id).Set(1)
	}
	if len(before) > 0 && !r.virtual {
		r.tell(core.EventTypeNormal, "RotationSeen", fmt.Sprintf("API server %s signs with the key %s now, before with %s",
			address, strings.Join(ids, ", "), strings.Join(before, ", ")))
	}
}

// signedWith are the IDs of all keys that API servers sign with.
func (r *reporter) signedWith() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, ids := range r.signers {
		all = append(all, ids...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// state tells when the loop last turned, and whether any API server was read since the start.
func (r *reporter) state() (polled time.Time, answered bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.polled, r.answered
}
