package azblob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/azblob"
	"github.com/kube-iam-assume/kube-iam-assume/test/azure"
)

// These make the test binary another process, which counts up so many times on an object and says how often it lost.
const (
	countVariable     = "KUBE_IAM_ASSUME_AZBLOB_TEST_COUNT"
	containerVariable = "KUBE_IAM_ASSUME_AZBLOB_TEST_CONTAINER"
)

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
	racedName  = "prod/state"
	racers     = 2
	increments = 500
)

// TestProcessesCount lets two processes make 1,000 conditional writes to one blob. None is lost, and they did meet.
func TestProcessesCount(t *testing.T) {
	t.Parallel()
	storage := azure.StartStorage(t)
	url := storage.CreateContainer(t, "raced", false)
	observer, err := azblob.New(storage.Container(t, "raced"))
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
		running[i].Env = append(append(os.Environ(), storage.Environment()...), countVariable+"="+strconv.Itoa(increments), containerVariable+"="+url)
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
	identity, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ClientID(os.Getenv("AZURE_CLIENT_ID"))})
	if err != nil {
		return err
	}
	client, err := container.NewClient(os.Getenv(containerVariable), identity, nil)
	if err != nil {
		return err
	}
	shared, err := azblob.New(client)
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

func addOne(ctx context.Context, shared *azblob.Bucket) error {
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
