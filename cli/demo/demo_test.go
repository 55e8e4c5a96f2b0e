package demo_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/cli/demo"
)

// built is the folder of the two binaries that the demo starts.
var built string

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "demo-binaries-")
	if err != nil {
		panic(err)
	}
	built = folder
	code := 1
	if build("cluster-exporter", "./cluster-exporter") && build("kube-iam-assume-standalone", "./functions/standalone") {
		code = m.Run()
	}
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

func build(name, pkg string) bool {
	command := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(built, name), pkg)
	command.Dir, command.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0")
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	return command.Run() == nil
}

// screen is what the demo says. At a line that contains its trigger, something happens.
type screen struct {
	mu      sync.Mutex
	text    bytes.Buffer
	trigger string
	happens func()
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.happens != nil && strings.Contains(string(p), s.trigger) {
		s.happens()
	}
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// show runs the demo, interrupts it at a line if there is one to interrupt at, and checks that nothing is left.
func show(t *testing.T, o demo.Options, interruptAt string) (string, error) {
	t.Helper()
	folder := t.TempDir()
	t.Setenv("TMPDIR", folder)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out := &screen{trigger: interruptAt}
	if interruptAt != "" {
		out.happens = cancel
	}
	o.Out = out
	if o.Binaries == "" {
		o.Binaries = built
	}
	err := demo.Run(ctx, o)
	left, readErr := os.ReadDir(folder)
	if readErr != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, readErr)
	}
	for _, match := range regexp.MustCompile(`is up.* at https://(127\.0\.0\.1:\d+)`).FindAllStringSubmatch(out.String(), -1) {
		if !refuses(t, match[1]) {
			t.Errorf("something still runs at %s", match[1])
		}
	}
	return out.String(), err
}

func refuses(t *testing.T, address string) bool {
	t.Helper()
	connection, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", address)
	if err == nil {
		_ = connection.Close()
	}
	return err != nil
}

func inOrder(t *testing.T, text string, want ...string) {
	t.Helper()
	rest := text
	for _, w := range want {
		_, after, found := strings.Cut(rest, w)
		if !found {
			t.Fatalf("no %q, in this order, in:\n%s", w, text)
		}
		rest = after
	}
}

func TestStandIn(t *testing.T) {
	began := time.Now()
	out, err := show(t, demo.Options{}, "")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %s, want at most 15 s", took)
	}
	inOrder(t, out, "stand-in", "make test-kube", "publisher is up", "vouched", "ACCEPTED", "Rotation", "new token: ACCEPTED", "old token: ACCEPTED",
		"replays", "REFUSED (superseded)", "forges", "REFUSED (not-believed)", "byte for byte",
		"/demo/.well-known/openid-configuration", "/demo/openid/v1/jwks", "--keep", "Next: ")
	if lines := strings.Count(out, "\n"); lines > 14 {
		t.Errorf("%d lines, want about a dozen", lines)
	}
}

// An interrupt at any line leaves nothing behind.
func TestInterrupted(t *testing.T) {
	for _, at := range []string{"stand-in", "publisher is up", "vouched", "Rotation", "replays"} {
		out, err := show(t, demo.Options{}, at)
		if err == nil || !strings.Contains(err.Error(), "interrupted; everything it had started is ended") || strings.Contains(out, "Done") {
			t.Errorf("interrupted at %q: %v\n%s", at, err, out)
		}
	}
}

func TestKeep(t *testing.T) {
	out, err := show(t, demo.Options{Keep: true}, "press Ctrl-C")
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestNoBinaries(t *testing.T) {
	out, err := show(t, demo.Options{Binaries: t.TempDir()}, "")
	if err == nil || !strings.Contains(err.Error(), "`make build` makes it") {
		t.Errorf("%v\n%s", err, out)
	}
}
