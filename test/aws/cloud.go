package aws

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// A Cloud is one account in one region, with S3, IAM and STS at the addresses every SDK knows, and a Root who may do
// everything.
type Cloud struct {
	Region string
	Root   aws.Credentials

	network *network
}

// StartCloud starts a cloud with nothing in it, in a package whose TestMain calls Main. It ends with the test; if that
// failed, the ends of its logs are in the test's output. There can be one at a time.
func StartCloud(t testing.TB, region string) *Cloud {
	t.Helper()
	if inside == nil {
		t.Fatal("aws.StartCloud: the package needs: func TestMain(m *testing.M) { aws.Main(m) }")
	}
	c := &Cloud{Region: region, Root: newRoot(), network: inside}
	if err := c.start(t); err != nil {
		t.Fatalf("aws.StartCloud: %v", err)
	}
	return c
}

func (c *Cloud) start(t testing.TB) error {
	t.Helper()
	// An abstract socket is the network's own, and its name is short enough for one.
	socket := "@iam-" + rand.Text()
	folder := t.TempDir()
	names := []string{"iam.amazonaws.com", "sts.amazonaws.com", "sts." + c.Region + ".amazonaws.com"}
	err := c.startGateway(t, "iam", names, []string{"iam", "--dir=" + folder, "--private-ports=" + socket})
	if err != nil {
		return err
	}
	storage, err := storageFlags(t.TempDir())
	if err != nil {
		return err
	}
	domain := "s3." + c.Region + ".amazonaws.com"
	flags := []string{"--region=" + c.Region, "--virtual-domain=" + domain, "--iam-standalone-endpoint=" + socket, "--iam-cache-disable"}
	return c.startGateway(t, "s3", []string{domain, "*." + domain}, append(flags, storage...))
}

// startGateway starts one at an address of its own.
func (c *Cloud) startGateway(t testing.TB, name string, names, flags []string) error {
	t.Helper()
	address, err := c.network.lead(t, names...)
	if err != nil {
		return err
	}
	folder := t.TempDir()
	tlsFlags, err := c.network.authority.flags(folder, names)
	if err != nil {
		return err
	}
	server := &gateway{name: name, folder: folder, root: c.Root, health: "https://" + address}
	return server.start(t, append(append(tlsFlags, "--port="+address), flags...))
}

// Config is Root's. Clients made from it with the SDK's NewFromConfig find the cloud by its names.
func (c *Cloud) Config() aws.Config { return c.ConfigOf(c.Root) }

// ConfigOf is like Config, with the credentials of somebody else. STS is asked for such a role's with the zero value: nobody's.
func (c *Cloud) ConfigOf(who aws.Credentials) aws.Config {
	var provider aws.CredentialsProvider = aws.AnonymousCredentials{}
	if who.HasKeys() {
		provider = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return who, nil })
	}
	return aws.Config{
		Region: c.Region, Credentials: provider,
		Retryer: func() aws.Retryer { return aws.NopRetryer{} }, // a test sees the first answer
	}
}

// Environment has the SDK's own variables, by which a program that the test starts is Root in the cloud's region. It is to be
// added to os.Environ, which has what such a program needs to trust the cloud.
func (c *Cloud) Environment() []string { return rootEnvironment(c.Root, c.Region) }

// CreateBucket makes a bucket, on which nobody but Root has rights.
func (c *Cloud) CreateBucket(t testing.TB, name string, versioned bool) {
	t.Helper()
	if err := createBucket(t.Context(), s3.NewFromConfig(c.Config()), name, c.Region, versioned); err != nil {
		t.Fatal(err)
	}
}

// Serve puts another server into the cloud, until the test ends: at https:// and each of the names, for example
// "sqs.eu-central-1.amazonaws.com" or "*.execute-api.eu-central-1.amazonaws.com", where the asterisk stands for one label.
func (c *Cloud) Serve(t testing.TB, handler http.Handler, names ...string) {
	t.Helper()
	if err := c.serve(t, handler, names); err != nil {
		t.Fatalf("aws.Cloud.Serve: %v", err)
	}
}

func (c *Cloud) serve(t testing.TB, handler http.Handler, names []string) error {
	t.Helper()
	if len(names) == 0 {
		return errors.New("a server needs a name")
	}
	certificate, err := c.network.authority.pair(names)
	if err != nil {
		return err
	}
	address, err := c.network.lead(t, names...)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp4", address)
	if err != nil {
		return fmt.Errorf("serve %s: %w", names[0], err)
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("end the server of %s: %v", names[0], err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the server of %s: %v", names[0], err)
		}
	})
	return nil
}
