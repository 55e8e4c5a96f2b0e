package history

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// walk goes through one issuer's log from the first record and checks each against the one before.
type walk struct {
	fsys   fs.FS
	log    *Log
	last   string // digest of the record before
	before []rotation.Cluster
	gap    bool // the record before is missing, so that this one's predecessor can't be checked
}

func (w *walk) all(f folder) {
	next := int64(1)
	for _, number := range f.numbers {
		if number > next {
			w.problem(next, "%s: the log has a gap. Nothing may delete records: ask the bucket's access log who did", missing(next, number-1))
			w.gap = true
		}
		w.one(number, f.files[number])
		next = number + 1
	}
	w.compare(f, next-1)
}

func missing(first, last int64) string {
	if first == last {
		return fmt.Sprintf("record %d is missing", first)
	}
	return fmt.Sprintf("records %d to %d are missing", first, last)
}

func (w *walk) one(number int64, name string) {
	data, err := body(w.fsys, name)
	if err != nil {
		w.problem(number, "record %d can't be read: %v", number, err)
		w.gap = true
		return
	}
	digest := digestOf(data)
	var entry rotation.Entry
	if err := json.Unmarshal(data, &entry, json.RejectUnknownMembers(true)); err != nil {
		w.problem(number, "record %d is no record of a publisher of this version: it was changed, or a newer one wrote it", number)
		w.last, w.gap = digest, true
		return
	}
	if entry.Number != number {
		w.problem(number, "record %d says that it is number %d: it was moved", number, entry.Number)
	}
	if !w.gap && entry.Previous != w.last {
		w.problem(number, "record %d does not follow record %d: one of the two was changed after it was written", number, number-1)
	}
	w.add(entry, digest)
	w.last, w.before, w.gap = digest, entry.After, false
}

func (w *walk) add(entry rotation.Entry, digest string) {
	r := Record{
		Number: entry.Number, Received: entry.Received, Trust: entry.Trust, Kind: "settings or time",
		Changes: entry.Changes, Digest: digest,
	}
	switch {
	case entry.Statement != nil:
		r.Kind, r.Reason = "operator: "+string(entry.Statement.Action), entry.Statement.Reason
		w.issuer(entry.Statement.Issuer)
	case entry.Envelope != "":
		r.Kind = "snapshot"
		w.snapshot(entry)
	}
	w.words(entry)
	w.log.Records = append(w.log.Records, r)
	w.life(entry)
}

// snapshot verifies again what the publisher verified: the form, the signature by the snapshot key, the times at the moment of receipt,
// and the word that made the key believed.
func (w *walk) snapshot(entry rotation.Entry) {
	opened, err := snapshot.Open([]byte(entry.Envelope))
	if err != nil {
		w.problem(entry.Number, "record %d: its snapshot is none: %v", entry.Number, err)
		return
	}
	w.issuer(opened.Issuer)
	expected := snapshot.Expected{Cluster: opened.Cluster, Publisher: firstOf(opened.Audience), Issuer: opened.Issuer}
	if err := opened.Check(expected, entry.Received); err != nil {
		w.problem(entry.Number, "record %d: its snapshot does not hold: %v", entry.Number, err)
		return
	}
	if strings.HasPrefix(entry.Trust, snapshot.Pinned+" ") {
		return // the pinned key is in the settings, which the log has not
	}
	trust, known := w.trust(entry, opened)
	if !known {
		return // the record before is missing
	}
	belief, err := opened.Believe(trust, entry.Received)
	if err != nil {
		w.problem(entry.Number, "record %d: nobody whom the log knows to be trusted vouched for its snapshot (%v), but it was accepted as %q", entry.Number, err, entry.Trust)
		return
	}
	how, by, _ := strings.Cut(entry.Trust, " by ")
	for word := range strings.SplitSeq(by, ", ") {
		if how != belief.How || !slices.Contains(belief.VouchedBy, word) {
			w.problem(entry.Number, "record %d says that it was believed as %q, but it is %s by %v", entry.Number, entry.Trust, belief.How, belief.VouchedBy)
			return
		}
	}
}

// trust is whom the publisher had to believe when the entry arrived: the cluster's keys as the record before left them and, where this very
// entry enrolled or announced them, as it has them itself. Remembered snapshot keys are the entry's own: snapshots that changed nothing renew
// the memory and leave no record.
func (w *walk) trust(entry rotation.Entry, o snapshot.Opened) (snapshot.Trust, bool) {
	after, found := clusterOf(entry.After, o.Cluster)
	if !found || w.gap {
		return snapshot.Trust{}, false
	}
	before, _ := clusterOf(w.before, o.Cluster)
	trust := snapshot.Trust{Issuer: o.Issuer, ServiceAccount: after.ServiceAccount, Remembered: after.Remembered}
	for _, key := range before.Keys {
		if key.Status != rotation.Retiring {
			trust.Vouchers = append(trust.Vouchers, key.JWK)
		}
	}
	for _, key := range after.Keys {
		_, listed := trust.Vouchers.ByID(key.JWK.ID())
		if !listed && (firstOf(key.VouchedBy) == rotation.ByEnrollment || firstOf(key.VouchedBy) == rotation.ByOperator) {
			trust.Vouchers = append(trust.Vouchers, key.JWK)
		}
	}
	return trust, true
}

// words checks that every key which is new after an entry came on a word that the entry shows: the snapshot's, the settings', the
// operator's.
func (w *walk) words(entry rotation.Entry) {
	if w.gap {
		return
	}
	told := map[string]bool{}
	for _, change := range entry.Changes {
		told[change.Cluster+" "+change.KeyID] = true
	}
	recovered := entry.Statement != nil && entry.Statement.Action == rotation.Recover
	for _, c := range entry.After {
		before, _ := clusterOf(w.before, c.ID)
		for _, key := range c.Keys {
			known := hasKey(before.Keys, key.JWK)
			if !known && !recovered && !told[c.ID+" "+key.JWK.ID()] {
				w.problem(entry.Number, "record %d publishes the key %s, and none of its changes says so", entry.Number, key.JWK.ID())
			}
			if !known && entry.Envelope != "" && len(key.VouchedBy) > 0 && key.VouchedBy[0] != rotation.ByEnrollment && key.VouchedBy[0] != rotation.ByOperator {
				w.inSnapshot(entry, key)
			}
		}
	}
}

func (w *walk) inSnapshot(entry rotation.Entry, key rotation.Key) {
	opened, err := snapshot.Open([]byte(entry.Envelope))
	if err != nil {
		return // snapshot said so
	}
	if !containsKey(opened.Keys, key.JWK) {
		w.problem(entry.Number, "record %d publishes the key %s on the word of a snapshot that does not list it", entry.Number, key.JWK.ID())
	}
}

// compare holds the end of the log against the state, which alone tells whether the newest records are missing.
func (w *walk) compare(f folder, count int64) {
	if f.state == "" {
		w.log.Notes = append(w.log.Notes, "The state is not there, so nobody can tell whether records are missing at the end: download it too (state/"+f.id+".json).")
		return
	}
	data, err := body(w.fsys, f.state)
	var state rotation.State
	if err == nil {
		err = json.Unmarshal(data, &state)
	}
	if err != nil {
		w.problem(count, "the state can't be read: %v", err)
		return
	}
	w.issuer(state.Issuer)
	switch log := state.Log; {
	case log.Entries == count+1 && log.Pending != nil:
		w.log.Notes = append(w.log.Notes, fmt.Sprintf("Record %d is not written yet: the publisher does it with the next snapshot or reconcile.", log.Entries))
	case log.Entries > count:
		w.problem(count+1, "%s at the end: the state knows %d", missing(count+1, log.Entries), log.Entries)
	case log.Entries < count:
		w.problem(count, "the log has %d records, the state knows %d: the state was rolled back, or somebody wrote into the log", count, log.Entries)
	case log.Last != w.last:
		w.problem(count, "record %d is not the one that the state knows: it was changed", count)
	}
}

// issuer learns whose log it is, and holds every later word against it.
func (w *walk) issuer(url string) {
	switch {
	case w.log.Issuer == "":
		w.log.Issuer = url
	case w.log.Issuer != url:
		w.problem(0, "the log has records of two issuers, %s and %s", w.log.Issuer, url)
	}
}

func (w *walk) problem(number int64, format string, args ...any) {
	w.log.Problems = append(w.log.Problems, Problem{Record: number, What: fmt.Sprintf(format, args...)})
}

func digestOf(record []byte) string {
	sum := sha256.Sum256(record)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func clusterOf(all []rotation.Cluster, id string) (rotation.Cluster, bool) {
	return rotation.State{Clusters: all}.Cluster(id)
}

func hasKey(keys []rotation.Key, key jwks.Key) bool {
	for _, k := range keys {
		if k.JWK.SPKI() == key.SPKI() {
			return true
		}
	}
	return false
}

func containsKey(set jwks.Set, key jwks.Key) bool {
	for _, k := range set {
		if k.Equal(key) {
			return true
		}
	}
	return false
}

func firstOf(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return all[0]
}
