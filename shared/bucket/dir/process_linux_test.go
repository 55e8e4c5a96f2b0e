package dir

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

// The test binary plays other processes: with childRole set it runs one of these instead of the tests, with the bucket's
// directory and the role's own argument.
const childRole = "KUBE_IAM_ASSUME_DIR_TEST_ROLE"

var roles = map[string]func(root, argument string) error{
	"count":   countRole,
	"write":   writeRole,
	"crash":   crashRole,
	"no room": noRoomRole,
}

func TestMain(m *testing.M) {
	role, isChild := os.LookupEnv(childRole)
	if !isChild {
		os.Exit(m.Run())
	}
	if err := roles[role](os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func child(ctx context.Context, role, root, argument string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], root, argument)
	cmd.Env = append(os.Environ(), childRole+"="+role)
	return cmd
}

// TestProcessesCount lets four processes count on one object. No count is lost.
func TestProcessesCount(t *testing.T) {
	t.Parallel()
	const processes, each = 4, 25
	root := t.TempDir()
	put(t, open(t, root), "counter", "0", bucket.Absent)
	running := make([]*exec.Cmd, processes)
	errs := make([]bytes.Buffer, processes)
	for i := range running {
		running[i] = child(t.Context(), "count", root, strconv.Itoa(each))
		running[i].Stderr = &errs[i]
		must(t, running[i].Start())
	}
	for i, cmd := range running {
		if err := cmd.Wait(); err != nil {
			t.Errorf("process %d: %v: %s", i, err, &errs[i])
		}
	}
	sameBody(t, open(t, root), "counter", []byte(strconv.Itoa(processes*each)))
}

func countRole(root, argument string) error {
	store, err := Open(root)
	if err != nil {
		return err
	}
	left, err := strconv.Atoi(argument)
	for err == nil && left > 0 {
		switch err = addOne(store); {
		case err == nil:
			left--
		case errors.Is(err, bucket.ErrConflict):
			err = nil
		}
	}
	return err
}

func addOne(store *Bucket) error {
	object, version, err := store.Get(context.Background(), "counter")
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(string(object.Body))
	if err != nil {
		return err
	}
	_, err = store.Put(context.Background(), "counter", text(strconv.Itoa(count+1)), version)
	return err
}

// TestKilledAtEveryStep ends a process at each step of a creation and of an update, where it can clean nothing up.
func TestKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	steps := trace(t, open(t, t.TempDir()), "probe")
	created, renamed := slices.Index(steps, stepCreate), slices.Index(steps, stepRename)
	for _, old := range []string{"", "old body"} {
		for i, fatal := range steps {
			t.Run(fmt.Sprintf("%d %s old=%q", i, fatal, old), func(t *testing.T) {
				store := withOld(t, old)
				wantKilled(t, child(t.Context(), "crash", store.root, strconv.Itoa(i)).Run())
				wantClean(t, store.root, i <= created || i > renamed)
				after := open(t, store.root)
				wantAfter(t, after, i > renamed, old, "new body")
				wantNextWrite(t, after)
			})
		}
	}
}

func crashRole(root, argument string) error {
	store, err := Open(root)
	if err != nil {
		return err
	}
	left, err := strconv.Atoi(argument)
	if err != nil {
		return err
	}
	_, version, err := store.Get(context.Background(), deep)
	if err != nil && !errors.Is(err, bucket.ErrNotFound) {
		return err
	}
	store.before = func(step) error {
		if left--; left < 0 {
			return errors.Join(syscall.Kill(os.Getpid(), syscall.SIGKILL), errors.New("survived"))
		}
		return nil
	}
	_, err = store.Put(context.Background(), deep, text("new body"), version)
	return errors.Join(err, errors.New("the step was not reached"))
}

func wantKilled(t *testing.T, err error) {
	t.Helper()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("child ended with %v, want SIGKILL", err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("child ended with %v, want SIGKILL: %s", err, exit.Stderr)
	}
}

// TestKilledWhileWriting kills a process that writes without pause, again and again. The object is always one that was
// written, and never older than the last one the process said was.
func TestKilledWhileWriting(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	put(t, open(t, root), "numbered", string(numbered(0)), bucket.Absent)
	for round := range 20 {
		cmd := child(t.Context(), "write", root, "")
		output, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		said, lines := 0, bufio.NewScanner(output)
		for i := 0; lines.Scan(); i++ {
			said, err = strconv.Atoi(lines.Text())
			must(t, err)
			if i == round%7 {
				must(t, cmd.Process.Kill())
			}
		}
		wantKilled(t, cmd.Wait())
		object, _, err := open(t, root).Get(t.Context(), "numbered")
		must(t, err)
		number, err := strconv.Atoi(object.CacheControl)
		must(t, err)
		if !bytes.Equal(object.Body, numbered(number)) {
			t.Fatalf("object %d is garbage: %d bytes %.40q", number, len(object.Body), object.Body)
		}
		if number < said || number > said+1 {
			t.Errorf("object is number %d, and the process said that it had written %d", number, said)
		}
	}
	store := open(t, root)
	put(t, store, "elsewhere", "next", bucket.Absent)
	if got, want := listing(t, root), []string{"@lock", "elsewhere@", "numbered@"}; !slices.Equal(got, want) {
		t.Errorf("files are %q, want %q", got, want)
	}
}

// writeRole counts upwards on one object and says each number once it is written.
func writeRole(root, _ string) error {
	store, err := Open(root)
	if err != nil {
		return err
	}
	object, version, err := store.Get(context.Background(), "numbered")
	if err != nil {
		return err
	}
	number, _ := strconv.Atoi(object.CacheControl) // the first has none
	for {
		number++
		next := bucket.Object{Body: numbered(number), ContentType: "text/plain", CacheControl: strconv.Itoa(number)}
		if version, err = store.Put(context.Background(), "numbered", next, version); err != nil {
			return err
		}
		fmt.Println(number)
	}
}

// numbered makes a body of some size that tells its number throughout.
func numbered(number int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%8d", number), (1+number%2*4)<<14)
}

// TestNoRoom gives a process room for only a part of the file. The object stays, and small writes still work.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	store := withOld(t, "old body")
	if output, err := child(t.Context(), "no room", store.root, "").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	sameBody(t, store, deep, []byte("old body"))
	wantClean(t, store.root, true)
	wantNextWrite(t, store)
}

func noRoomRole(root, _ string) error {
	const room = 64 << 10
	signal.Ignore(syscall.SIGXFSZ) // so that the write fails with EFBIG, half done, as on a full disk
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: room, Max: room}); err != nil {
		return err
	}
	store, err := Open(root)
	if err != nil {
		return err
	}
	object, version, err := store.Get(context.Background(), deep)
	if err != nil {
		return err
	}
	partly := false
	store.before = func(s step) error {
		if s == stepSyncFile {
			return errors.New("the write did not fail")
		}
		partly = partly || s == stepWrite
		return nil
	}
	_, err = store.Put(context.Background(), deep, bucket.Object{Body: make([]byte, 4*room), ContentType: "a/b"}, version)
	if !errors.Is(err, syscall.EFBIG) || !partly {
		return fmt.Errorf("large Put: %w, want %w", err, syscall.EFBIG)
	}
	store.before = func(step) error { return nil }
	_, err = store.Put(context.Background(), deep, object, version)
	return err
}

// TestDenied reads as a user who may not: an error, and not an absent object.
func TestDenied(t *testing.T) {
	t.Parallel()
	const nobody = 65534
	store := withOld(t, "old body")
	must(t, os.Chmod(filepath.Dir(store.file(deep)), 0))
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		if os.Getuid() == 0 {  // whom no mode stops
			if err := syscall.Setfsuid(nobody); err != nil {
				result <- fmt.Errorf("become nobody: %v", err) //nolint:errorlint // or it would pass for the denial looked for
				return
			}
		}
		_, _, err := store.Get(t.Context(), deep)
		result <- err
	}()
	err := <-result
	must(t, os.Chmod(filepath.Dir(store.file(deep)), 0o700))
	if wantOther(t, "Get", err); !errors.Is(err, os.ErrPermission) {
		t.Errorf("Get: %v, want that permission is denied", err)
	}
	sameBody(t, store, deep, []byte("old body"))
}
