package dir

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// lock makes this goroutine the only writer of all processes, until unlock or the end of its process.
func (b *Bucket) lock(ctx context.Context) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another write of this process: %w", ctx.Err())
	}
	// The wait for other processes can't be interrupted, so it goes on without a caller who gave up. There is never more
	// than one such wait, because it keeps the turn.
	waiting := make(chan wait, 1)
	go func() {
		// Not created here: a directory without the file is no bucket, see whyAbsent.
		file, err := lockedfile.OpenFile(filepath.Join(b.root, lockFile), os.O_RDWR, 0)
		waiting <- wait{file, err}
	}()
	select {
	case over := <-waiting:
		return b.settle(over)
	case <-ctx.Done():
		go func() {
			if late, err := b.settle(<-waiting); err == nil {
				late()
			}
		}()
		return nil, fmt.Errorf("wait for another process that writes and holds %s: %w", lockFile, ctx.Err())
	}
}

// wait is how a wait for the lock file ended.
type wait struct {
	file *lockedfile.File
	err  error
}

// settle gives the turn back: at once if the wait failed, with the lock if it did not.
func (b *Bucket) settle(over wait) (unlock func(), err error) {
	if over.err != nil {
		<-b.turn
		return nil, fmt.Errorf("is the directory's volume mounted?: %w", over.err)
	}
	return func() {
		_ = over.file.Close() // nothing was written to it; the lock goes with the descriptor
		<-b.turn
	}, nil
}
