package provision

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws/lambdahost"
)

const (
	maxPackage = 64 << 20 // bytes of one file
	coldStart  = 10 * time.Second
)

// function is one version of a function at a time.
type function struct {
	arn string

	mu          sync.Mutex
	role        string // its ARN
	options     lambdahost.Options
	host        *lambdahost.Host  // nil until the first event
	logs        []string          // of hosts that ended
	permissions map[string]string // who may invoke it, by the permission's ID: principal and source
}

// invoke gives the function an event, and starts it for the first.
func (f *function) invoke(ctx context.Context, event []byte) ([]byte, error) {
	host, err := f.running(ctx)
	if err != nil {
		return nil, err
	}
	return host.Invoke(ctx, event)
}

func (f *function) running(ctx context.Context) (*lambdahost.Host, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.host != nil {
		return f.host, nil
	}
	ctx, cancel := context.WithTimeout(ctx, coldStart)
	defer cancel()
	var err error
	f.host, err = lambdahost.Start(ctx, f.options)
	return f.host, err
}

func (f *function) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end()
}

// end stops the processes. The mutex is held.
func (f *function) end() {
	if f.host != nil {
		f.host.Stop()
		f.logs = append(f.logs, f.host.Log())
		f.host = nil
	}
}

func (f *function) log() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	log := strings.Join(f.logs, "")
	if f.host != nil {
		log += f.host.Log()
	}
	return log
}

func (f *function) roleARN() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.role
}

// find returns a function by its name, its ARN, or the ARN by which an API invokes it.
func (a *Account) find(name string) (*function, error) {
	if _, rest, ok := strings.Cut(name, "/functions/"); ok {
		name = strings.TrimSuffix(rest, "/invocations")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for arn, f := range a.functions {
		if arn == name || strings.HasSuffix(arn, ":function:"+name) {
			return f, nil
		}
	}
	return nil, fmt.Errorf("function %s %w", name, errGone)
}

// Invoke is the direct invoke of a function, by its name or ARN.
func (a *Account) Invoke(ctx context.Context, name string, event []byte) ([]byte, error) {
	f, err := a.find(name)
	if err != nil {
		return nil, err
	}
	return f.invoke(ctx, event)
}

// Log is everything that a function wrote.
func (a *Account) Log(name string) string {
	f, err := a.find(name)
	if err != nil {
		return err.Error()
	}
	return f.log()
}

type functions struct{ *Account }

func (k functions) Create(ctx context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	name := r.Name("FunctionName")
	f := &function{arn: k.arn("lambda", "function:"+name), role: r.Text("Role"), permissions: map[string]string{}}
	var err error
	if f.options, err = k.prepare(ctx, r.Properties); err != nil {
		return cloudformation.Made{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.functions[f.arn] = f
	return cloudformation.Made{ID: name, Attributes: map[string]any{"Arn": f.arn}}, nil
}

func (k functions) Update(ctx context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	f, err := k.find(r.ID)
	if err != nil {
		return cloudformation.Made{}, err
	}
	options, err := k.prepare(ctx, r.Properties)
	if err != nil {
		return cloudformation.Made{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end() // under the lock: an event that waits for it must not start what was
	f.options, f.role = options, r.Text("Role")
	return cloudformation.Made{ID: r.ID}, nil
}

func (k functions) Delete(_ context.Context, r cloudformation.Request) error {
	f, err := k.find(r.ID)
	if err != nil {
		return nil // it is gone
	}
	f.stop()
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.functions, f.arn)
	return nil
}

// prepare unpacks the code and gives it the environment that Lambda would.
func (k functions) prepare(ctx context.Context, properties map[string]any) (lambdahost.Options, error) {
	code, _ := properties["Code"].(map[string]any)
	packed, ok := k.options.Asset(fmt.Sprint(code["S3Bucket"]), fmt.Sprint(code["S3Key"]))
	if !ok {
		return lambdahost.Options{}, fmt.Errorf("the code s3://%v/%v %w", code["S3Bucket"], code["S3Key"], errGone)
	}
	folder, err := os.MkdirTemp(k.options.Folder, "function-")
	if err != nil {
		return lambdahost.Options{}, err
	}
	if err := unpack(packed, folder); err != nil {
		return lambdahost.Options{}, err
	}
	architecture := "amd64"
	if slices.Contains(textsOf(properties["Architectures"]), "arm64") {
		architecture = "arm64"
	}
	bootstrap := filepath.Join(folder, "bootstrap")
	if architecture != runtime.GOARCH {
		if err := k.rebuild(ctx, bootstrap, architecture); err != nil {
			return lambdahost.Options{}, err
		}
	}
	credentials, err := k.assume(ctx, fmt.Sprint(properties["Role"]), "lambda.amazonaws.com", "function")
	if err != nil {
		return lambdahost.Options{}, err
	}
	environment := []string{
		"AWS_REGION=" + k.options.Region, "AWS_ACCESS_KEY_ID=" + credentials.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + credentials.SecretAccessKey,
		"AWS_SESSION_TOKEN=" + credentials.SessionToken, "SSL_CERT_FILE=" + k.options.Roots,
	}
	own, _ := properties["Environment"].(map[string]any)
	variables, _ := own["Variables"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		environment = append(environment, fmt.Sprintf("%s=%v", name, variables[name]))
	}
	timeout, _ := properties["Timeout"].(float64)
	return lambdahost.Options{
		Bootstrap: bootstrap, Env: environment, Timeout: time.Duration(timeout) * time.Second, Processes: 2,
	}, nil
}

func unpack(packed []byte, folder string) error {
	archive, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		return fmt.Errorf("the function's package: %w", err)
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, file := range archive.File {
		if strings.HasSuffix(file.Name, "/") {
			continue
		}
		if err := unpackFile(root, file); err != nil {
			return fmt.Errorf("the function's package: %s: %w", file.Name, err)
		}
	}
	return nil
}

func unpackFile(root *os.Root, file *zip.File) error {
	if err := root.MkdirAll(filepath.Dir(file.Name), 0o755); err != nil {
		return err
	}
	content, err := file.Open()
	if err != nil {
		return err
	}
	defer content.Close()
	data, err := io.ReadAll(io.LimitReader(content, maxPackage))
	if err != nil {
		return err
	}
	return root.WriteFile(file.Name, data, file.Mode().Perm())
}

// rebuild puts a build for this machine in the place of one for another processor. It is the same program: built for the other processor,
// from the same source with the same flags, it has the very bytes that were in the package, or there is an error.
func (a *Account) rebuild(ctx context.Context, bootstrap, architecture string) error {
	packed, err := os.ReadFile(bootstrap)
	if err != nil {
		return err
	}
	a.building.Lock()
	defer a.building.Unlock()
	digest := sha256.Sum256(packed)
	if a.rebuilt[digest] == nil {
		if a.rebuilt[digest], err = buildAgain(ctx, bootstrap, architecture, packed); err != nil {
			return err
		}
	}
	return os.WriteFile(bootstrap, a.rebuilt[digest], 0o755)
}

func buildAgain(ctx context.Context, bootstrap, architecture string, packed []byte) ([]byte, error) {
	if err := build(ctx, bootstrap, architecture); err != nil {
		return nil, err
	}
	same, err := os.ReadFile(bootstrap)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(packed, same) {
		return nil, fmt.Errorf("the bootstrap in the package is not what functions/aws builds for %s: deploy from this source", architecture)
	}
	if err := build(ctx, bootstrap, runtime.GOARCH); err != nil {
		return nil, err
	}
	return os.ReadFile(bootstrap)
}

// build makes the function as the CDK app does.
func build(ctx context.Context, to, architecture string) error {
	_, here, _, _ := runtime.Caller(0)
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-tags", "lambda.norpc", "-o", to, "./functions/aws")
	command.Dir = filepath.Join(filepath.Dir(here), "..", "..", "..", "..")
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+architecture, "GOFLAGS=", "GOWORK=off")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build functions/aws for %s: %w: %s", architecture, err, out)
	}
	return nil
}

// permissions are who may invoke a function.
type permissions struct{ *Account }

func (k permissions) Create(_ context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	f, err := k.find(r.Text("FunctionName"))
	if err != nil {
		return cloudformation.Made{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	id := r.Stack + "-" + r.LogicalID + "-" + shortID()
	f.permissions[id] = r.Text("Principal")
	return cloudformation.Made{ID: id}, nil
}

func (k permissions) Update(_ context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	return cloudformation.Made{ID: r.ID}, nil
}

func (k permissions) Delete(_ context.Context, r cloudformation.Request) error {
	f, err := k.find(r.Text("FunctionName"))
	if err != nil {
		return nil // and its permissions with it
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.permissions, r.ID)
	return nil
}

// lets says whether a service may invoke the function.
func (f *function) lets(principal string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(slices.Collect(maps.Values(f.permissions)), principal)
}
