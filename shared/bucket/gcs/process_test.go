package gcs_test

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
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/gcs"
	standin "github.com/kube-iam-assume/kube-iam-assume/test/gcp"
	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

// countVariable makes the test binary another process, which counts up so many times on an object and says how often it lost.
const countVariable = "KUBE_IAM_ASSUME_GCS_TEST_COUNT"

func TestMain(m *testing.M) {
	times, isChild := os.LookupEnv(countVariable)
	if !isChild {
		os.Exit(m.Run())
	}
	if err := countUp(context.Background(), times); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const (
	racedBucket = "raced"
	racedName   = "prod/state"
	racers      = 2
	increments  = 500
)

// TestProcessesCount lets two processes make 1,000 conditional writes to one object. None is lost, and they did meet.
func TestProcessesCount(t *testing.T) {
	t.Parallel()
	server := standin.StartStorage(t)
	server.CreateBucket(t, racedBucket, true)
	observer, err := gcs.New(server.Client, racedBucket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := observer.Put(t.Context(), racedName, text("0"), bucket.Absent); err != nil {
		t.Fatal(err)
	}
	var running [racers]*exec.Cmd
	var said, complained [racers]bytes.Buffer
	for i := range running {
		running[i] = exec.CommandContext(t.Context(), os.Args[0])
		running[i].Env = append(append(os.Environ(), server.Environment()...), countVariable+"="+strconv.Itoa(increments))
		running[i].Stdout, running[i].Stderr = &said[i], &complained[i]
		running[i].SysProcAttr = process.EndWithParent()
		if err := running[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	lost := 0
	for i, child := range running {
		if err := child.Wait(); err != nil {
			t.Fatalf("process %d: %v: %s", i, err, &complained[i])
		}
		conflicts, err := strconv.Atoi(said[i].String())
		if err != nil {
			t.Fatal(err)
		}
		lost += conflicts
	}
	object, _, err := observer.Get(t.Context(), racedName)
	if err != nil || string(object.Body) != strconv.Itoa(racers*increments) {
		t.Errorf("counted to %q, %v; want %d", object.Body, err, racers*increments)
	}
	if lost == 0 {
		t.Error("no process ever lost a race: there was none")
	}
	t.Logf("%d writes, and %d that were refused", racers*increments, lost)
}

func countUp(ctx context.Context, times string) error {
	left, err := strconv.Atoi(times)
	if err != nil {
		return err
	}
	client, err := gcs.NewClient(ctx)
	if err != nil {
		return err
	}
	shared, err := gcs.New(client, racedBucket)
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

func addOne(ctx context.Context, shared *gcs.Bucket) error {
	object, version, err := shared.Get(ctx, racedName)
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(string(object.Body))
	if err != nil {
		return err
	}
	_, err = shared.Put(ctx, racedName, text(strconv.Itoa(count+1)), version)
	return err
}

func text(body string) bucket.Object {
	return bucket.Object{Body: []byte(body), ContentType: "application/json"}
}
