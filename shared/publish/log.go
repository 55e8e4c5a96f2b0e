package publish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

// ErrLogConflict means that the log already has another record under the number of the state's entry: the state was rolled back, or
// somebody wrote into the log.
var ErrLogConflict = errors.New("log has another record")

// appendEntry numbers an entry, chains it to the one before, and makes it the state's pending one.
func appendEntry(log rotation.Log, entry rotation.Entry) rotation.Log {
	entry.Number, entry.Previous = log.Entries+1, log.Last
	return rotation.Log{Entries: entry.Number, Last: digestOf(encodeRecord(entry)), Pending: &entry}
}

func encodeRecord(entry rotation.Entry) []byte {
	data, err := json.Marshal(entry)
	if err != nil {
		panic("publish: an entry that a state can hold can't be written: " + err.Error())
	}
	return data
}

func digestOf(record []byte) string {
	sum := sha256.Sum256(record)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// storeRecord makes sure that the record of the state's pending entry exists and is equal. The events of the change are logged just
// before the record is created: so they are logged at least once, whoever stores it after whatever crash. fresh says that this
// attempt has just committed the entry, so nobody needs to look whether the record is there.
func (p *Publisher) storeRecord(ctx context.Context, iss *issuer, log rotation.Log, fresh bool) error {
	if log.Pending == nil || p.isStored(iss, log.Last) {
		return nil
	}
	name, data := iss.names.record(log.Pending.Number), encodeRecord(*log.Pending)
	if !fresh {
		if stored, err := p.recordIsStored(ctx, name, data); stored || err != nil {
			return p.noteStored(iss, log.Last, err)
		}
	}
	p.changeEvents(ctx, iss, *log.Pending)
	_, err := p.private.Put(ctx, name, private(data), bucket.Absent)
	if errors.Is(err, bucket.ErrConflict) {
		if _, err := p.recordIsStored(ctx, name, data); err != nil {
			return err
		}
		err = nil
	}
	return p.noteStored(iss, log.Last, err)
}

func (p *Publisher) recordIsStored(ctx context.Context, name string, data []byte) (bool, error) {
	record, _, err := p.private.Get(ctx, name)
	switch {
	case errors.Is(err, bucket.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case !bytes.Equal(record.Body, data):
		return false, fmt.Errorf("%w: %s", ErrLogConflict, name)
	}
	return true, nil
}

// isStored and noteStored save a publisher that lives on the look at a record which it has seen stored.
func (p *Publisher) isStored(iss *issuer, digest string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stored[iss.url] == digest
}

func (p *Publisher) noteStored(iss *issuer, digest string, err error) error {
	if err == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.stored[iss.url] = digest
	}
	return err
}
