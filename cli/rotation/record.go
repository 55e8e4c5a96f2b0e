package rotation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	strict "github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
)

var (
	// ErrRecord means that a file is no record of a wait's evidence, or a damaged one.
	ErrRecord = errors.New("not a record of rotation wait")

	// ErrOtherWait means that a record is of another wait: what it saw proves nothing about this one.
	ErrOtherWait = errors.New("the record is of another wait")
)

const (
	recordFormat = "kube-iam-assume-rotation-wait/1"
	maxRecord    = 256 << 10
)

// record is what a wait has seen, as it is kept in a file between runs. Times are the wall clock's.
type record struct {
	Format string   `json:"format"`
	Until  string   `json:"until"`
	KeyIDs []string `json:"keyIDs"`
	Of     []string `json:"of"` // published: the URLs; unused: the API servers' issuers

	Since  *time.Time `json:"since,omitempty"` // so in every look from then on; missing if it was not so in the last
	Last   time.Time  `json:"last"`            // end of the last look
	Looks  int        `json:"looks"`           // since then
	Hidden bool       `json:"hidden"`          // some of them went through a balancer

	// The largest of everything that was ever seen.
	MaxAge       seconds `json:"maxAgeSeconds"`
	LongestToken seconds `json:"longestTokenSeconds"`
	Servers      int     `json:"apiServers"`
}

// seconds are whole ones. What has fractions is rounded up, so that nothing is ever said sooner.
type seconds int64

func inSeconds(d time.Duration) seconds   { return seconds((d + time.Second - 1) / time.Second) }
func (s seconds) duration() time.Duration { return time.Duration(s) * time.Second }
func (s seconds) sensible() bool          { return s >= 0 && s.duration() < 200*365*24*time.Hour && s < 1<<33 }

// wall is a time as JSON has it.
func wall(t time.Time) time.Time { return t.UTC().Round(0) }

// parseRecord takes what encode wrote, and nothing else. The error is ErrRecord.
func parseRecord(data []byte) (record, error) {
	var r record
	if len(data) > maxRecord {
		return r, fmt.Errorf("%w: more than %d bytes", ErrRecord, maxRecord)
	}
	if err := strict.Unmarshal(data, &r, strict.RejectUnknownMembers(true)); err != nil {
		return record{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if problem := r.problem(); problem != "" {
		return record{}, fmt.Errorf("%w: %s", ErrRecord, problem)
	}
	r.Last = wall(r.Last)
	if r.Since != nil {
		*r.Since = wall(*r.Since)
	}
	return r, nil
}

func (r record) problem() string {
	switch {
	case r.Format != recordFormat:
		return fmt.Sprintf("its format is %q, this program's is %s", r.Format, recordFormat)
	case r.Until != Published && r.Until != Unused:
		return fmt.Sprintf("until %q", r.Until)
	case !distinct(r.KeyIDs) || !distinct(r.Of):
		return "its key IDs, or what it is of, are missing, empty or out of order"
	case r.Last.IsZero() || r.Since != nil && (r.Since.IsZero() || r.Since.After(r.Last)):
		return "its times contradict each other"
	case r.Looks < 0 || (r.Since == nil) != (r.Looks == 0) || r.Servers < 0 || !r.MaxAge.sensible() || !r.LongestToken.sensible():
		return "its numbers contradict each other"
	}
	return ""
}

// distinct reports whether a list is sorted, without repetition, and of something.
func distinct(list []string) bool {
	return len(list) > 0 && list[0] != "" && slices.IsSorted(list) && len(slices.Compact(slices.Clone(list))) == len(list)
}

func (r record) encode() []byte {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("rotation: a record can't be written as JSON: %v", err))
	}
	return append(data, '\n')
}

// readRecord reads a file. It returns nil if there is none yet.
func readRecord(file string) (*record, error) {
	data, err := command.Read(file, nil, maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // nothing was kept, which is no error
	}
	if err != nil {
		return nil, err
	}
	r, err := parseRecord(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: choose another --state, or remove the file and wait anew", file, err)
	}
	return &r, nil
}

// write replaces the file at once, so that whoever reads it finds the record of before or the new one, whatever happens meanwhile.
func (r record) write(file string) error {
	fresh, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*") // only its owner may read it
	if err != nil {
		return err
	}
	_, err = fresh.Write(r.encode())
	err = errors.Join(err, fresh.Sync(), fresh.Close())
	if err == nil {
		err = os.Rename(fresh.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(fresh.Name()))
	}
	return nil
}

// record is what the tracker knows, to be kept.
func (t *tracker) record(of []string) record {
	r := record{
		Format: recordFormat, Until: t.until, KeyIDs: t.keyIDs, Of: of, Last: wall(t.last), Looks: t.rounds, Hidden: t.hidden,
		MaxAge: inSeconds(t.age), LongestToken: inSeconds(t.seen), Servers: t.most,
	}
	if !t.since.IsZero() {
		since := wall(t.since)
		r.Since = &since
	}
	return r
}

// resume goes on from a record. What happened since its last look is judged like every other pause: by the next round. The error is ErrOtherWait.
func (t *tracker) resume(r record, of []string) error {
	switch {
	case r.Until != t.until:
		return fmt.Errorf("%w: until %s", ErrOtherWait, r.Until)
	case !slices.Equal(r.KeyIDs, t.keyIDs):
		return fmt.Errorf("%w: of the keys %v", ErrOtherWait, r.KeyIDs)
	case !slices.Equal(r.Of, of):
		return fmt.Errorf("%w: of %v, and this one is of %v", ErrOtherWait, r.Of, of)
	}
	t.last, t.rounds, t.hidden = r.Last, r.Looks, r.Hidden
	t.age, t.seen, t.most = r.MaxAge.duration(), r.LongestToken.duration(), r.Servers
	if r.Since != nil {
		t.since, t.resumed = *r.Since, true
	}
	return nil
}
