//go:build e2e_aws

package firstinstall

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws"
)

const (
	data     = "workload-data" // the bucket that the role may partly read
	payments = `{"Version": "2012-10-17", "Statement": [
	{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::` + data + `/payments/*"}]}`
)

// fill makes the bucket with an object that the role may read, and one that it may not.
func (i *install) fill() {
	i.Helper()
	i.CreateBucket(i.T, data, false)
	for _, key := range []string{"payments/a", "secrets/b"} {
		_, err := i.S3.PutObject(i.Context(), &s3.PutObjectInput{Bucket: sdk.String(data), Key: &key, Body: bytes.NewReader([]byte(key))})
		if err != nil {
			i.Fatal(err)
		}
	}
}

// give makes the page's pod, with the role's ARN copied, and does what an SDK does in it.
func (i *install) give(s *Step) {
	p := i.workload(s)
	i.mountToken(p)
	client := i.client()
	if content, err := i.object(client, "payments/a"); err != nil || content != "payments/a" {
		i.Errorf("the object that the role allows: %q, %v", content, err)
	}
	var refused smithy.APIError
	if _, err := i.object(client, "secrets/b"); !errors.As(err, &refused) || refused.ErrorCode() != "AccessDenied" {
		i.Errorf("the object that the role does not allow: %v", err)
	}
}

// workload is the page's pod as the API server took it, which refuses fields it does not know. The page leaves out what is the reader's own.
func (i *install) workload(s *Step) *core.Pod {
	i.Helper()
	var role string
	for _, name := range slices.Sorted(maps.Keys(i.outputs)) {
		if strings.HasPrefix(name, "RolesArn") {
			role = i.outputs[name]
		}
	}
	text := i.one(s, File)
	placeholder := "arn:aws:iam::" + aws.AccountID + ":role/…"
	if role == "" || !strings.Contains(text, placeholder) {
		i.Fatalf("the role %q among the outputs %v goes where the page has %s", role, i.outputs, placeholder)
	}
	p := &core.Pod{}
	if err := yaml.UnmarshalStrict([]byte(strings.ReplaceAll(text, placeholder, role)), p); err != nil {
		i.Fatalf("the page's pod: %v", err)
	}
	p.ObjectMeta = meta.ObjectMeta{Name: "payments"}
	p.Spec.Containers[0].Image, p.Spec.AutomountServiceAccountToken = "payments", new(false)
	p, err := i.cluster.Admin(0).CoreV1().Pods("production").Create(i.Context(), p, meta.CreateOptions{})
	if err != nil {
		i.Fatalf("the page's pod: %v", err)
	}
	return p
}

// mountToken plays the kubelet: the projected token where the pod's variable says, but for the root, and the variables in this process.
func (i *install) mountToken(p *core.Pod) {
	i.Helper()
	root, projected := i.TempDir(), p.Spec.Volumes[0].Projected.Sources[0].ServiceAccountToken
	mount := p.Spec.Containers[0].VolumeMounts[0]
	if mount.Name != p.Spec.Volumes[0].Name {
		i.Fatalf("volume %s is not mounted", p.Spec.Volumes[0].Name)
	}
	token := i.cluster.Token(i.T, 0, p.Namespace, p.Spec.ServiceAccountName, []string{projected.Audience}, *projected.ExpirationSeconds)
	folder := filepath.Join(root, mount.MountPath)
	err := os.MkdirAll(folder, 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, projected.Path), []byte(token), 0o600)
	}
	if err != nil {
		i.Fatal(err)
	}
	for _, variable := range p.Spec.Containers[0].Env {
		value := variable.Value
		if filepath.IsAbs(value) {
			value = filepath.Join(root, value)
		}
		i.Setenv(variable.Name, value)
	}
}

// client is the AWS SDK as a program in the pod has it: from the environment alone.
func (i *install) client() *s3.Client {
	i.Helper()
	i.Setenv("AWS_REGION", region)
	found, err := config.LoadDefaultConfig(i.Context())
	if err != nil {
		i.Fatal(err)
	}
	return s3.NewFromConfig(found)
}

func (i *install) object(client *s3.Client, key string) (string, error) {
	object, err := client.GetObject(i.Context(), &s3.GetObjectInput{Bucket: sdk.String(data), Key: &key})
	if err != nil {
		return "", err
	}
	defer object.Body.Close()
	content, err := io.ReadAll(object.Body)
	return string(content), err
}
