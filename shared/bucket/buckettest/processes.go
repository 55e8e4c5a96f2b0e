package buckettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

// countVariable makes a test binary another process, which counts up so many times on an object and says how often it lost.
const countVariable = "KUBE_IAM_ASSUME_BUCKETTEST_COUNT"

const (
	countedName = "prod/state"
	processes   = 2
	increments  = 500
)

// Main is what the TestMain of a package that calls Processes exits with. A process of Processes opens the bucket by its environment alone, as a
// function does.
func Main(m *testing.M, open func(context.Context) (bucket.Bucket, error)) int {
	times, isChild := os.LookupEnv(countVariable)
	if !isChild {
		return m.Run()
	}
	if err := countUp(context.Background(), times, open); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// Processes lets two processes make 1,000 conditional writes to one object of an empty bucket. None is lost, and they did meet.
func Processes(t *testing.T, observer bucket.Bucket, environment ...string) {
	t.Helper()
	if _, err := observer.Put(t.Context(), countedName, count(0), bucket.Absent); err != nil {
		t.Fatal(err)
	}
	var running [processes]*exec.Cmd
	var said, complained [processes]bytes.Buffer
	for i := range running {
		running[i] = exec.CommandContext(t.Context(), os.Args[0])
		running[i].Env = append(append(os.Environ(), environment...), countVariable+"="+strconv.Itoa(increments))
		running[i].Stdout, running[i].Stderr = &said[i], &complained[i]
		if err := running[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	lost := 0
	for i, process := range running {
		if err := process.Wait(); err != nil {
			t.Fatalf("process %d: %v: %s", i, err, &complained[i])
		}
		conflicts, err := strconv.Atoi(said[i].String())
		if err != nil {
			t.Fatal(err)
		}
		lost += conflicts
	}
	object, _, err := observer.Get(t.Context(), countedName)
	if want := count(processes * increments); err != nil || !bytes.Equal(object.Body, want.Body) {
		t.Errorf("counted to %q, %v; want %s", object.Body, err, want.Body)
	}
	if lost == 0 {
		t.Error("no process ever lost a race: there was none")
	}
	t.Logf("%d writes, and %d that were refused", processes*increments, lost)
}

func countUp(ctx context.Context, times string, open func(context.Context) (bucket.Bucket, error)) error {
	left, err := strconv.Atoi(times)
	if err != nil {
		return err
	}
	shared, err := open(ctx)
	if err != nil {
		return err
	}
	conflicts := 0
	for left > 0 {
		switch err := addOne(ctx, shared); {
		case err == nil:
			left--
		case errors.Is(err, bucket.ErrConflict):
			conflicts++
		default:
			return err
		}
	}
	fmt.Print(conflicts)
	return nil
}

func addOne(ctx context.Context, shared bucket.Bucket) error {
	object, version, err := shared.Get(ctx, countedName)
	if err != nil {
		return err
	}
	counted, err := strconv.Atoi(string(object.Body))
	if err != nil {
		return err
	}
	_, err = shared.Put(ctx, countedName, count(counted+1), version)
	return err
}

func count(n int) bucket.Object {
	return bucket.Object{Body: []byte(strconv.Itoa(n)), ContentType: "application/json"}
}
