package aws

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/kube-iam-assume/kube-iam-assume/test/fromsource"
	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

const (
	startTimeout = time.Minute // 0.1 s on an idle machine
	healthPath   = "/healthz"
)

var build = sync.OnceValues(func() (string, error) { return fromsource.AWS.Binaries(os.Stderr) })

// A gateway is one versitygw.
type gateway struct {
	name   string // of its log
	folder string
	root   aws.Credentials
	health string // the URL in front of healthPath
}

// start returns when the gateway answers. It ends with the test.
func (g *gateway) start(t testing.TB, flags []string) error {
	t.Helper()
	binaries, err := build()
	if err != nil {
		return err
	}
	log := filepath.Join(g.folder, g.name+".log")
	// What must be trusted, and where names lead, is the test process's; credentials in arguments could be seen by everybody.
	environment := []string{"ROOT_ACCESS_KEY=" + g.root.AccessKeyID, "ROOT_SECRET_KEY=" + g.root.SecretAccessKey}
	for _, name := range []string{"SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if value, found := os.LookupEnv(name); found {
			environment = append(environment, name+"="+value)
		}
	}
	running, err := process.Start(process.Program{
		Name: "versitygw (" + g.name + ")", Binary: filepath.Join(binaries, "versitygw"), Log: log,
		Flags: append([]string{"--health=" + healthPath, "--keep-alive"}, flags...), Environment: environment,
	})
	if err != nil {
		return err
	}
	t.Cleanup(func() {
		running.Kill() // nobody needs the data again
		if t.Failed() {
			t.Logf("end of %s:\n%s", filepath.Base(log), process.Tail(log, 15))
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	return running.WaitUntil(ctx, "healthy", g.healthy)
}

// healthy looks no further than the address: which name leads there is not the question, and nothing is said or believed.
func (g *gateway) healthy(ctx context.Context) error {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, g.health+healthPath, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", request.URL, response.Status)
	}
	return nil
}

func newRoot() aws.Credentials {
	return aws.Credentials{AccessKeyID: "root" + rand.Text()[:12], SecretAccessKey: rand.Text()}
}

// rootEnvironment has no endpoint.
func rootEnvironment(root aws.Credentials, region string) []string {
	return []string{
		"AWS_REGION=" + region, "AWS_ACCESS_KEY_ID=" + root.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + root.SecretAccessKey,
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
	}
}
