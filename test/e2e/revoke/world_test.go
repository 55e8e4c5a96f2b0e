package revoke

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/cli/publishers"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
	"github.com/kube-iam-assume/kube-iam-assume/test/hosted"
)

const (
	clusterID = hosted.ClusterID
	patience  = time.Minute
	jwksPath  = "/openid/v1/jwks"
)

// world has four publishers of one issuer, and whatever their doors need.
type world struct {
	*hosted.Sites

	keys       jwks.Set // that are enrolled
	sites      []publishers.Publisher
	login      map[string]string // of the operator, to every cloud: environment variables
	command    string
	dead, back func() // Google Cloud
}

func newWorld(t *testing.T, keys ...snapshottest.Key) *world {
	t.Helper()
	w := &world{Sites: hosted.New(t), login: map[string]string{}}
	for _, key := range keys {
		w.keys = append(w.keys, key.Key)
	}
	w.command = w.Build("kube-iam-assume", "cli")
	return w
}

// join makes a publisher known to the operator. All but the first are mirrors.
func (w *world) join(p publishers.Publisher, site string) {
	if len(w.sites) > 0 {
		p.ServedAt = map[string]string{w.Issuer(): w.Documents(site)}
	}
	w.sites = append(w.sites, p)
}

// published are the keys that a stranger reads at a site.
func (w *world) published(site string) []string {
	w.Helper()
	keys, err := w.read(site)
	if err != nil {
		w.Fatal(err)
	}
	return keys
}

func (w *world) read(site string) ([]string, error) {
	response, err := w.Network.Client().Get(w.Documents(site) + jwksPath)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, nil
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	keys, err := jwks.Parse(body)
	return keys.IDs(), err
}

func (w *world) eventually(what string, so func() bool) {
	w.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// run runs the command as the operator, who is logged in everywhere.
func (w *world) run(change map[string]string, words ...string) (exit int, stdout, stderr string) {
	w.Helper()
	var out, complaints bytes.Buffer
	command := exec.CommandContext(w.Context(), w.command, words...)
	command.Dir, command.Stdout, command.Stderr = w.Folder, &out, &complaints
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.Folder, "SSL_CERT_FILE=" + w.Network.Bundle, "HTTPS_PROXY=" + w.Network.Proxy}
	for name, value := range w.login {
		if changed, ok := change[name]; ok {
			value = changed
		}
		command.Env = append(command.Env, name+"="+value)
	}
	err := command.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		w.Fatal(err)
	}
	return command.ProcessState.ExitCode(), out.String(), complaints.String()
}

// contains wants all of these texts.
func (w *world) contains(text string, wanted ...string) {
	w.Helper()
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			w.Errorf("there is no %q in:\n%s", want, text)
		}
	}
}
