//go:build e2e_aws

package aws_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation/cdkcli"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

// deployment is a folder with stack.yaml and clusters/, and the command line that deploys it.
type deployment struct {
	*cloud
	folder   string
	cli      *cdkcli.CLI
	assembly string // what was synthesized last
	failure  string // what was said last of one
}

func (c *cloud) newDeployment() *deployment {
	c.Helper()
	d := &deployment{cloud: c, folder: c.TempDir()}
	if err := os.Mkdir(filepath.Join(d.folder, "clusters"), 0o755); err != nil {
		c.Fatal(err)
	}
	var err error
	d.cli, err = cdkcli.New(repository("cdk"), append(c.double.Env(), "CDK_VALIDATION=false", "KUBE_IAM_ASSUME_STACK="+filepath.Join(d.folder, "stack.yaml")))
	if err != nil {
		c.Fatal(err)
	}
	return d
}

const neverAsk = "--require-approval=never"

// repository is a folder of this repository.
func repository(path string) string {
	folder, err := filepath.Abs(filepath.Join("..", "..", "..", path))
	if err != nil {
		panic(err)
	}
	return folder
}

func (d *deployment) write(name, content string) {
	d.Helper()
	if err := os.WriteFile(filepath.Join(d.folder, name), []byte(content), 0o600); err != nil {
		d.Fatal(err)
	}
}

func (d *deployment) read(name string) string {
	d.Helper()
	content, err := os.ReadFile(filepath.Join(d.folder, name))
	if err != nil {
		d.Fatal(err)
	}
	return string(content)
}

// remove takes a cluster's file away.
func (d *deployment) remove(id string) {
	d.Helper()
	if err := os.Remove(filepath.Join(d.folder, "clusters", id+".yaml")); err != nil {
		d.Fatal(err)
	}
}

// settings writes stack.yaml with further lines.
func (d *deployment) settings(more ...string) {
	d.write("stack.yaml", `apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: AWSStack
name: e2e
account: "`+aws.AccountID+`"
region: `+region+`
hosting: {bucket: {prefix: oidc}}
clusters: {directory: clusters/}
`+strings.Join(more, "\n")+"\n")
}

// enroll writes the file of a cluster that has a key.
func (d *deployment) enroll(id string, generation int, key *kube.Key, more ...string) {
	d.Helper()
	public, err := jwks.New(key.Public())
	if err != nil {
		d.Fatal(err)
	}
	d.write("clusters/"+id+".yaml", fmt.Sprintf(`apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Cluster
id: %s
generation: %d
exporterServiceAccount: kube-iam-assume/cluster-exporter
bootstrapKeys: %s
%s
`, id, generation, jwks.Set{public}.Canonical(), strings.Join(more, "\n")))
}

// deployRefused wants a deploy to fail, and the command line to say each of the words.
func (d *deployment) deployRefused(words ...string) {
	d.Helper()
	printed, err := d.cdk("deploy", neverAsk)
	d.said(printed, err, words...)
}

// againRefused is like deployRefused, with what was synthesized last.
func (d *deployment) againRefused(words ...string) {
	d.Helper()
	printed, err := d.again("deploy", neverAsk)
	d.said(printed, err, words...)
}

// said wants a failed command to say each of the words, and nothing of a failure before its own.
func (d *deployment) said(printed string, err error, words ...string) {
	d.Helper()
	if err == nil {
		d.Fatalf("the command succeeded, want %q", words)
	}
	flat := strings.Join(strings.Fields(printed), " ") // it wraps lines
	for _, word := range words {
		if !strings.Contains(flat, word) {
			d.Errorf("the command line does not say %q:\n%s", word, printed)
		}
	}
	if before := d.failure; before != "" && before != words[0] && strings.Contains(flat, before) {
		d.Errorf("the command line says %q, which was before:\n%s", before, printed)
	}
	d.failure = words[0]
}

// cdk runs the command line, which synthesizes from the settings as they are.
func (d *deployment) cdk(command string, args ...string) (printed string, err error) {
	d.Helper()
	d.assembly = d.TempDir()
	return d.run(append([]string{command, "--output", d.assembly}, args...))
}

// again runs the command line on what was synthesized last.
func (d *deployment) again(command string, args ...string) (printed string, err error) {
	d.Helper()
	return d.run(append([]string{command, "--app", d.assembly}, args...))
}

func (d *deployment) run(args []string) (printed string, err error) {
	d.Helper()
	return d.cli.Run(d.Context(), args...)
}

// deploy deploys and returns the stack's outputs.
func (d *deployment) deploy() map[string]string {
	d.Helper()
	file := filepath.Join(d.TempDir(), "outputs.json")
	printed, err := d.cdk("deploy", neverAsk, "--outputs-file", file)
	if err != nil {
		d.Fatalf("%v\n%s", err, printed)
	}
	var outputs struct {
		E2E map[string]string `json:"e2e"`
	}
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &outputs)
	}
	if err != nil {
		d.Fatal(err)
	}
	return outputs.E2E
}

// roleARN is the ARN of the one workload's role, which CDK gives a suffix.
func (d *deployment) roleARN(outputs map[string]string) string {
	d.Helper()
	for name, value := range outputs {
		if strings.HasPrefix(name, "RolesArnproductionpayments") {
			return value
		}
	}
	d.Fatalf("no role among the outputs %v", outputs)
	return ""
}
