// Package cloudformation is a stand-in for CloudFormation that the real `cdk deploy` and `cdk destroy` talk to, so that a stack is deployed
// by the tool that people use, without a cloud.
//
// It answers what the CLI asks of STS, SSM, S3 (the bucket of assets) and CloudFormation. A stack is made as CloudFormation makes one: in
// the order of what its resources need, unchanged resources left alone, changed ones updated or replaced, a failure rolled back with its
// reason in the events, retained resources kept. What a resource is, is not its business: Kinds make them. A type that no Kind makes fails
// its stack; nothing is skipped in silence.
//
// It is not CloudFormation: resources are made one after another, signatures and permissions of the CLI are not checked, and quotas, drift, nested stacks,
// imports and stack policies do not exist.
package cloudformation

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Options say what the double plays.
type Options struct {
	Account string          // twelve digits
	Region  string          // of everything
	Kinds   map[string]Kind // by resource type
	Assume  Assume          // gives the roles that the CLI asks for; nil: keys that are good for nothing else
}

// Assume gives credentials of a role. A role that does not exist here is an error, which the CLI gets as AccessDenied.
type Assume func(ctx context.Context, roleARN, session string) (Credentials, error)

// Credentials are temporary.
type Credentials struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	Expiration                                 time.Time
}

// Double is the running stand-in.
type Double struct {
	options Options
	assets  *assets
	server  *http.Server
	address string
	running sync.WaitGroup  // operations
	ctx     context.Context // of operations, which go on after the request that began them
	cancel  context.CancelFunc

	mu     sync.Mutex
	stacks []*stack // deleted ones too, oldest first
}

// Start serves on loopback. Call Stop.
func Start(ctx context.Context, options Options) (*Double, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the CLI: %w", err)
	}
	d := &Double{options: options, assets: newAssets(), address: listener.Addr().String()}
	d.ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	d.server = &http.Server{Handler: d, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = d.server.Serve(listener) }() // until Stop
	return d, nil
}

// Stop ends what is going on and the server. Resources are left to whoever made the kinds.
func (d *Double) Stop() {
	d.cancel()
	d.running.Wait()
	_ = d.server.Close()
}

// URL is what the CLI is given as AWS_ENDPOINT_URL.
func (d *Double) URL() string { return "http://" + d.address }

// Env is what the CLI needs to find the double and nothing else.
func (d *Double) Env() []string {
	return []string{
		"AWS_ENDPOINT_URL=" + d.URL(), "AWS_REGION=" + d.options.Region, "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=test",
		"AWS_EC2_METADATA_DISABLED=true", "CDK_DISABLE_CLI_TELEMETRY=true", "NODE_NO_WARNINGS=1",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
	}
}

// Asset is a file that the CLI has uploaded, by its name in the bucket of assets.
func (d *Double) Asset(bucket, key string) ([]byte, bool) { return d.assets.get(bucket, key) }

// unique is a short name that nobody has had.
func unique() string { return strings.ToLower(rand.Text()[:12]) }

// uuid is in the form of CloudFormation's identifiers.
func uuid() string {
	t := fmt.Sprintf("%x", rand.Text())
	return t[:8] + "-" + t[8:12] + "-" + t[12:16] + "-" + t[16:20] + "-" + t[20:32]
}
