package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

// Every command that is shown works, and an interrupt ends it all and leaves nothing.
func TestRun(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	binary := filepath.Join(folder, "run")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	log := filepath.Join(folder, "output")
	where, err := os.Getwd() // the Go tool must find the module
	if err != nil {
		t.Fatal(err)
	}
	running, err := process.Start(process.Program{
		Name: "run", Binary: "/bin/sh", Flags: []string{"-c", `cd "$0" && exec "$1"`, where, binary}, Log: log,
		Environment: append(os.Environ(), "TMPDIR="+folder),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(running.Kill)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var shown string
	err = running.WaitUntil(ctx, "ready", func(context.Context) error {
		output, err := os.ReadFile(log)
		if shown = string(output); err == nil && !strings.Contains(shown, "Ctrl-C") {
			err = io.ErrUnexpectedEOF
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"200 OK", "204 No Content", "200 OK", "200 OK", "200 OK"}
	for n, command := range regexp.MustCompile(`(?m)^  curl .*$`).FindAllString(shown, -1) {
		if got := perform(t, command); got != want[n] {
			t.Errorf("%s: %s, want %s", command, got, want[n])
		}
	}
	running.Stop()
	if left, err := filepath.Glob(filepath.Join(folder, "kube-iam-assume-*")); err != nil || len(left) > 0 {
		t.Errorf("it left %s, %v", left, err)
	}
}

// perform does what a command line of curl would.
func perform(t *testing.T, command string) string {
	t.Helper()
	words := strings.Fields(command)
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if strings.Contains(command, "-X POST") {
		method = http.MethodPost
	}
	for _, word := range words {
		if name, found := strings.CutPrefix(word, "@"); found {
			file, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			method, body = http.MethodPost, file
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), method, words[len(words)-1], body)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(command, "cloudevents") {
		request.Header.Set("Content-Type", "application/cloudevents+json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.Status
}
