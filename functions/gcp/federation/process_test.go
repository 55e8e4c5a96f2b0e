package federation

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/test/gcp/iam"
)

// keysVariable makes the test binary a function of Google's, which keeps these keys and says whether it wrote.
const keysVariable = "KUBE_IAM_ASSUME_FEDERATION_TEST_KEYS"

func TestMain(m *testing.M) {
	keys, isChild := os.LookupEnv(keysVariable)
	if !isChild {
		os.Exit(m.Run())
	}
	if err := keepAsDeployed(context.Background(), []byte(keys)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func keepAsDeployed(ctx context.Context, document []byte) error {
	keys, err := jwks.Parse(document)
	if err != nil {
		return err
	}
	p, err := New(ctx, Settings{Issuer: issuer, Provider: iam.Name("prod-eu1")})
	if err != nil {
		return err
	}
	changed, err := p.Keep(ctx, keys)
	if err == nil {
		fmt.Print(changed)
	}
	return err
}

// As it is deployed: no option is given, the login is the platform's and the host is Google's.
func TestOnThePlatform(t *testing.T) {
	t.Parallel()
	google := iam.Start(t)
	name := google.CreateProvider(t, "prod-eu1", issuer)
	platform := google.Platform(t)
	run := func() (said, complained string, err error) {
		var out, complaint bytes.Buffer
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(append(os.Environ(), platform.Environment()...), keysVariable+"="+string(set(rsaKey).Encode()))
		child.Stdout, child.Stderr = &out, &complaint
		err = child.Run()
		return out.String(), complaint.String(), err
	}
	for _, want := range []string{"true", "false"} {
		if said, complained, err := run(); err != nil || said != want {
			t.Fatalf("%q, %v: %s; want %s", said, err, complained, want)
		}
	}
	if err := google.Exchange(name, rsaKey.token(t, name)); err != nil {
		t.Error(err)
	}
	google.Grant()
	if said, complained, err := run(); err == nil || !strings.Contains(complained, "denied") {
		t.Errorf("without rights: %q, %v: %s", said, err, complained)
	}
}
