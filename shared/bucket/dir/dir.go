// Package dir is a bucket in a directory of a local POSIX file system, for publishers that serve their documents themselves.
//
// # Promises
//
// Any number of processes may open one directory. A Put that returned nil is on the disk; one that was cut short by a crash,
// a full disk or a failing device leaves the old object or the new one, whole. Get takes no lock and never waits for a
// writer. A version is the SHA-256 of the whole file, headers included, so content that returns brings its version back.
//
// The promises rest on flock, rename and fsync of the file system. Network file systems do not all keep them: use a local one.
//
// # On the disk
//
// An object is one file: its headers as readable lines, an empty line, its body. The object "a/b" is the file "a/b@". No
// object name has an "@", and every file name ends with one or begins with one, so objects "a" and "a/b" can be
// neighbours (file "a@", folder "a") and no object can take the place of the two files that are the driver's own:
//
//	@lock   held by the one process that writes; its existence marks the directory as a bucket
//	@new    the object being written, before it gets its name; left behind by a crash, removed by the next Put
//
// The directory is the owner's alone (0700); who can write in it needs no bucket to change what is published.
package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

const (
	lockFile = "@lock"
	newFile  = "@new"
	suffix   = "@" // of every object's file
)

// Bucket is a directory. It is safe for concurrent use by goroutines and, opened by each, by processes.
type Bucket struct {
	root string
	turn chan struct{} // holds one element while a goroutine has, or waits for, the lock file

	// before is called ahead of every step that touches the disk; an error stands for the step's own. Tests set it.
	before func(step) error
}

var _ bucket.Bucket = (*Bucket)(nil)

// Open makes a directory a bucket, or opens one that is. The parent directory must exist.
func Open(path string) (*Bucket, error) {
	root, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open bucket: %w", err)
	}
	if err := prepare(root); err != nil {
		return nil, fmt.Errorf("open bucket in directory %s: %w", root, err)
	}
	return &Bucket{root: root, turn: make(chan struct{}, 1), before: func(step) error { return nil }}, nil
}

// prepare repeats all syncs of an Open that a crash may have cut short.
func prepare(root string) error {
	if err := os.Mkdir(root, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(root, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := lock.Close(); err != nil {
		return err
	}
	if err := refuseCaseless(root); err != nil {
		return err
	}
	if err := syncDirectory(root); err != nil {
		return err
	}
	// A parent that may not be read belongs to someone who made this directory for us, and is not waiting for our sync.
	if err := syncDirectory(filepath.Dir(root)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// refuseCaseless keeps away from file systems on which the objects "a" and "A" would be one.
func refuseCaseless(root string) error {
	_, err := os.Lstat(filepath.Join(root, "@LOCK"))
	switch {
	case err == nil:
		return errors.New("the file system does not tell upper from lower case: use one that does")
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// Get implements bucket.Bucket.
func (b *Bucket) Get(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
	if err := bucket.CheckName(name); err != nil {
		return bucket.Object{}, bucket.Absent, err
	}
	if err := ctx.Err(); err != nil {
		return bucket.Object{}, bucket.Absent, fmt.Errorf("read %s in directory %s: %w", name, b.root, err)
	}
	object, version, err := b.read(name)
	if err != nil {
		return bucket.Object{}, bucket.Absent, fmt.Errorf("read %s in directory %s: %w", name, b.root, err)
	}
	return object, version, nil
}

func (b *Bucket) read(name string) (bucket.Object, bucket.Version, error) {
	content, err := readFile(b.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return bucket.Object{}, bucket.Absent, b.whyAbsent()
	}
	if err != nil {
		return bucket.Object{}, bucket.Absent, err
	}
	object, err := parse(content)
	if err != nil {
		return bucket.Object{}, bucket.Absent, fmt.Errorf("file %s: %w; restore it from a backup or move it away", b.file(name), err)
	}
	return object, versionOf(content), nil
}

// whyAbsent tells a bucket without the object from a bucket that is gone, for example because its volume was unmounted.
func (b *Bucket) whyAbsent() error {
	if _, err := os.Lstat(filepath.Join(b.root, lockFile)); err != nil {
		return fmt.Errorf("the directory is no bucket any more, is its volume mounted?: %w", err)
	}
	return bucket.ErrNotFound
}

func readFile(path string) ([]byte, error) {
	// A named pipe in the place of an object would otherwise block the open.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("file %s: %w: it is no regular file", path, errBroken)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()                                        //nolint:errcheck // nothing was written
	return io.ReadAll(io.LimitReader(file, int64(maxFile)+1)) // one byte too many is for parse to refuse
}

func (b *Bucket) file(name string) string {
	return filepath.Join(b.root, filepath.FromSlash(name)+suffix)
}
