package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"

	"github.com/go-json-experiment/json"
	"golang.org/x/sync/errgroup"

	"github.com/kube-iam-assume/kube-iam-assume/cli/location"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

const (
	maxRecords = 20_000    // more is downloaded and read from a folder
	maxBytes   = 512 << 20 // of all records
	atOnce     = 8         // reads
)

// ErrTooLong means that a log is not read from a bucket for its length.
var ErrTooLong = errors.New("download the private bucket, and name the folder with --data")

// ReadBucket verifies the log of an issuer in a private bucket. A bucket is not listed: how many records there are, the state says; without it they are read
// from the first up to the first that is missing. The errors are ErrNoLog, ErrTooLong and those of the bucket.
func ReadBucket(ctx context.Context, from location.Reader, issuer string) (Report, error) {
	names, err := publish.ObjectsOf(enrollment.Issuer{URL: issuer, Path: "any"})
	if err != nil {
		return Report{}, err
	}
	d := &download{from: from, names: names, objects: objects{}}
	count, err := d.state(ctx)
	if err != nil {
		return Report{}, err
	}
	if err := d.records(ctx, count); err != nil {
		return Report{}, err
	}
	if len(d.objects) == 0 {
		return Report{}, fmt.Errorf("%w of the issuer %s", ErrNoLog, issuer)
	}
	log := Log{Records: []Record{}, Keys: []Life{}}
	w := walk{fsys: d.objects, log: &log}
	w.all(d.folder())
	if log.Issuer == "" {
		log.Issuer = issuer
	}
	return Report{Logs: []Log{log}}, nil
}

// download collects the objects of one issuer.
type download struct {
	from  location.Reader
	names publish.Objects

	mu      sync.Mutex
	size    int
	objects objects
}

func (d *download) record(number int64) string {
	return fmt.Sprintf("%s/%010d.json", d.names.Log, number)
}

// get reports whether the object is there.
func (d *download) get(ctx context.Context, name string) (bool, error) {
	object, _, err := d.from.Get(ctx, name)
	if errors.Is(err, bucket.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.size += len(object.Body); d.size > maxBytes {
		return false, fmt.Errorf("the log has more than %d bytes: %w", maxBytes, ErrTooLong)
	}
	d.objects[name] = object.Body
	return true, nil
}

// state reads it for the number of records.
func (d *download) state(ctx context.Context) (int64, error) {
	there, err := d.get(ctx, d.names.State)
	if err != nil || !there {
		return 0, err
	}
	var state rotation.State
	if err := json.Unmarshal(d.objects[d.names.State], &state); err != nil {
		return 0, nil //nolint:nilerr // the verification says so
	}
	if state.Log.Entries > maxRecords {
		return 0, fmt.Errorf("the log has %d records: %w", state.Log.Entries, ErrTooLong)
	}
	return state.Log.Entries, nil
}

// records reads those that the state knows, several at once, and then one after the other what should not be there.
func (d *download) records(ctx context.Context, count int64) error {
	group, each := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for number := int64(1); number <= count; number++ {
		group.Go(func() error {
			_, err := d.get(each, d.record(number))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for number := count + 1; number <= maxRecords; number++ {
		if there, err := d.get(ctx, d.record(number)); err != nil || !there {
			return err
		}
	}
	return fmt.Errorf("the log has more than %d records: %w", maxRecords, ErrTooLong)
}

func (d *download) folder() folder {
	f := folder{id: path.Base(d.names.Log), files: map[int64]string{}}
	for number := int64(1); len(f.numbers) < len(d.objects) && number <= maxRecords; number++ {
		if _, there := d.objects[d.record(number)]; there {
			f.files[number], f.numbers = d.record(number), append(f.numbers, number)
		}
	}
	if _, there := d.objects[d.names.State]; there {
		f.state = d.names.State
	}
	return f
}

// objects are files in memory.
type objects map[string][]byte

func (o objects) Open(name string) (fs.File, error) {
	data, there := o[name]
	if !there {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return file{Reader: bytes.NewReader(data)}, nil
}

type file struct{ *bytes.Reader }

func (file) Close() error { return nil }

func (file) Stat() (fs.FileInfo, error) { return nil, fs.ErrInvalid }
