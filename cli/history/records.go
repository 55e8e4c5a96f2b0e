package history

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

// A record's file is its number with ten digits. In the directory of a standalone publisher it ends with "@" and begins with headers;
// as a cloud's own tool downloads it, it is the bare JSON.
var recordName = regexp.MustCompile(`^([0-9]{10,19})\.json(@?)$`)

// maxRecord bounds what is read of one file: an object, and the headers that a directory puts before it.
const maxRecord = bucket.MaxBody + 4*bucket.MaxHeader

var (
	// ErrNoLog means that a folder holds no publisher's log.
	ErrNoLog = errors.New("no log of a publisher")

	errNoHeader = errors.New("its file has no headers of a bucket before the record")
)

// folder is the log of one issuer as files.
type folder struct {
	id      string // the issuer as its objects are named
	numbers []int64
	files   map[int64]string
	state   string // the file of the issuer's state; empty if it is not there
}

// find looks for logs in the directory of a standalone publisher (private/log/ID), in a downloaded private bucket (log/ID), and in the
// folder of a single log.
func find(fsys fs.FS) ([]folder, error) {
	for _, parent := range []string{"private/log", "log"} {
		entries, err := fs.ReadDir(fsys, parent)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var all []folder
		for _, entry := range entries {
			if !entry.IsDir() {
				continue
			}
			one, err := open(fsys, path.Join(parent, entry.Name()), entry.Name())
			if err != nil {
				return nil, err
			}
			one.state = stateOf(fsys, path.Join(path.Dir(parent), "state"), entry.Name())
			all = append(all, one)
		}
		if len(all) > 0 {
			return all, nil
		}
	}
	one, err := open(fsys, ".", "")
	if err == nil && len(one.numbers) == 0 {
		err = ErrNoLog
	}
	return []folder{one}, err
}

func stateOf(fsys fs.FS, parent, id string) string {
	for _, name := range []string{id + ".json@", id + ".json"} {
		if _, err := fs.Stat(fsys, path.Join(parent, name)); err == nil {
			return path.Join(parent, name)
		}
	}
	return ""
}

func open(fsys fs.FS, name, id string) (folder, error) {
	f := folder{id: id, files: map[int64]string{}}
	entries, err := fs.ReadDir(fsys, name)
	if err != nil {
		return f, err
	}
	for _, entry := range entries {
		match := recordName.FindStringSubmatch(entry.Name())
		if match == nil || entry.IsDir() {
			continue
		}
		number, err := strconv.ParseInt(match[1], 10, 64)
		if err != nil {
			return f, fmt.Errorf("record %s: %w", entry.Name(), err)
		}
		if _, twice := f.files[number]; twice {
			return f, fmt.Errorf("record %d is there twice in %s, once as a cloud's tool and once as a publisher writes it: keep the two apart", number, name)
		}
		f.files[number] = path.Join(name, entry.Name())
		f.numbers = append(f.numbers, number)
	}
	slices.Sort(f.numbers)
	return f, nil
}

// body is an object's, without the headers that a directory has before it.
func body(fsys fs.FS, name string) ([]byte, error) {
	file, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, int64(maxRecord)+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxRecord {
		return nil, fmt.Errorf("more than %d bytes", maxRecord)
	}
	if !strings.HasSuffix(name, "@") {
		return data, nil
	}
	_, object, found := strings.Cut(string(data), "\n\n")
	if !found || !strings.HasPrefix(string(data), "Content-Type: ") {
		return nil, errNoHeader
	}
	return []byte(object), nil
}
