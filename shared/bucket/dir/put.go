package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

// A step of a write is a place where it may fail or its process end.
type step string

// The steps, in the order in which they run. Up to stepRename the old object is in place, after it the new one. The sync of
// the file comes before, because a rename may reach the disk ahead of the content it names.
const (
	stepLock       step = "lock"
	stepRead       step = "read"
	stepMakeFolder step = "make folder"
	stepRemove     step = "remove leftover"
	stepCreate     step = "create file"
	stepWrite      step = "write file"
	stepSyncFile   step = "sync file"
	stepClose      step = "close file"
	stepRename     step = "rename file"
	stepSyncFolder step = "sync folder" // each, from the object's up to the root
)

// do takes a step.
func (b *Bucket) do(s step, work func() error) error {
	err := b.before(s)
	if err == nil {
		err = work()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	return nil
}

// Put implements bucket.Bucket. The end of the context ends its wait for other writers; a write that began is carried
// through.
func (b *Bucket) Put(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
	if err := errors.Join(bucket.CheckName(name), bucket.CheckObject(object)); err != nil {
		return bucket.Absent, err
	}
	content := encode(object)
	if err := b.put(ctx, name, content, seen); err != nil {
		return bucket.Absent, fmt.Errorf("write %s in directory %s: %w", name, b.root, err)
	}
	return versionOf(content), nil
}

func (b *Bucket) put(ctx context.Context, name string, content []byte, seen bucket.Version) error {
	var unlock func()
	if err := b.do(stepLock, func() (err error) {
		unlock, err = b.lock(ctx)
		return err
	}); err != nil {
		return err
	}
	defer unlock()
	if err := b.do(stepRead, func() error { return b.compare(name, seen) }); err != nil {
		return err
	}
	return b.replace(name, content)
}

// compare refuses a write that would go over an object the writer has not seen. A file that can't be read is not
// overwritten either: what it was is unknown.
func (b *Bucket) compare(name string, seen bucket.Version) error {
	_, current, err := b.read(name)
	if err != nil && !errors.Is(err, bucket.ErrNotFound) {
		return err
	}
	if current != seen {
		return fmt.Errorf("%w: it is at version %q, not %q", bucket.ErrConflict, current, seen)
	}
	return nil
}

// replace puts a file in place in one step, and on the disk before it returns.
func (b *Bucket) replace(name string, content []byte) error {
	target, fresh := b.file(name), filepath.Join(b.root, newFile)
	folder := filepath.Dir(target)
	if err := b.do(stepMakeFolder, func() error { return os.MkdirAll(folder, 0o700) }); err != nil {
		return err
	}
	err := b.writeNew(fresh, content)
	if err == nil {
		err = b.do(stepRename, func() error { return os.Rename(fresh, target) })
	}
	if err != nil {
		_ = os.Remove(fresh) // gives its space back now; the next Put would remove it in any case
		return err
	}
	return b.syncFolders(folder)
}

// writeNew removes what a crash left instead of writing over it: after a loss of power that file may be the very one that
// already has an object's name.
func (b *Bucket) writeNew(path string, content []byte) error {
	if err := b.do(stepRemove, func() error { return removeIfThere(path) }); err != nil {
		return err
	}
	var file *os.File
	if err := b.do(stepCreate, func() (err error) {
		file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	}); err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // the close that counts is below
	if err := b.do(stepWrite, func() error {
		_, err := file.Write(content)
		return err
	}); err != nil {
		return err
	}
	if err := b.do(stepSyncFile, file.Sync); err != nil {
		return err
	}
	return b.do(stepClose, file.Close)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncFolders makes a path durable up to the root. It syncs folders that were there before, too: the process that made
// them may have crashed before it did.
func (b *Bucket) syncFolders(folder string) error {
	for {
		if err := b.do(stepSyncFolder, func() error { return syncDirectory(folder) }); err != nil {
			return err
		}
		if folder == b.root {
			return nil
		}
		folder = filepath.Dir(folder)
	}
}

func syncDirectory(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	defer folder.Close() //nolint:errcheck // nothing was written
	return folder.Sync()
}
