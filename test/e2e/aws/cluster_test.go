//go:build e2e_aws

package aws_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

const (
	clusterID = "prod-eu1"
	issuer    = "https://oidc-" + aws.AccountID + "-" + region + "-an.s3." + domain + "/" + clusterID
	audience  = "sts.amazonaws.com"
	patience  = 30 * time.Second
)

// newCluster starts a real API server with the issuer that the stack will publish, and the accounts of exporter and workload.
func newCluster(t *testing.T, keys kube.Keys) *kube.Cluster {
	t.Helper()
	c := kube.Start(t, kube.Options{Issuer: issuer, Keys: keys})
	c.InstallExporter(t, "kube-iam-assume", "cluster-exporter")
	c.CreateServiceAccount(t, "production", "payments")
	c.CreateServiceAccount(t, "production", "other")
	return c
}

// program builds what a user runs.
func program(t *testing.T, folder, name, pkg string) string {
	t.Helper()
	binary := filepath.Join(folder, name)
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", binary, "./"+pkg)
	build.Dir, build.Env = repository("."), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return binary
}

// enrolled is a cluster's file as the command writes it.
func enrolled(t *testing.T, c *kube.Cluster) string {
	t.Helper()
	enroll := exec.CommandContext(t.Context(), program(t, t.TempDir(), "kube-iam-assume", "cli"), "enroll", clusterID)
	enroll.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(t, 0))
	out, err := enroll.Output()
	if err != nil {
		t.Fatalf("enroll: %v", err)
	}
	return string(out)
}

// exporter is one in the cluster, with what the kubelet projects for it.
type exporter struct {
	*process.Process
	kubelet *kube.ProjectedToken
	log     string // a file
}

// runExporter runs the exporter's binary with what the stack says, and only the destinations of one kind.
func (c *cloud) runExporter(cluster *kube.Cluster, output, only string) *exporter {
	c.Helper()
	var values struct {
		Cluster      string           `json:"cluster"`
		Issuer       string           `json:"issuer"`
		Destinations []map[string]any `json:"destinations"`
	}
	if err := json.Unmarshal([]byte(output), &values); err != nil || len(values.Destinations) != 1 || values.Destinations[0][only] == nil {
		c.Fatalf("the stack's output for the exporter: %v: %s", err, output)
	}
	destination := map[string]any{"publisher": values.Destinations[0]["publisher"], only: values.Destinations[0][only]}
	folder := c.TempDir()
	if queue, ok := destination["sqs"].(map[string]any); ok { // what a second projected volume holds
		file := filepath.Join(folder, "aws-token")
		token := cluster.Token(c.T, 0, "kube-iam-assume", "cluster-exporter", []string{audience}, 3600)
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			c.Fatal(err)
		}
		queue["tokenFile"] = file
	}
	port := strings.TrimPrefix(cluster.Endpoints()[0], "198.51.100.1:")
	settings, err := json.Marshal(map[string]any{ // JSON is YAML
		"apiVersion": "config.kube-iam-assume.dev/v1alpha1", "kind": "Exporter", "cluster": values.Cluster, "issuer": values.Issuer,
		"pollInterval": "1s", "heartbeatInterval": "3s", "destinations": []any{destination},
		"apiServers": map[string]any{"addresses": []string{"127.0.0.1:" + port}},
	})
	file := filepath.Join(folder, "exporter.yaml")
	if err == nil {
		err = os.WriteFile(file, settings, 0o600)
	}
	if err != nil {
		c.Fatal(err)
	}
	log := filepath.Join(folder, "exporter.log")
	kubelet := cluster.Kubelet(c.T, 0, "kube-iam-assume", "cluster-exporter", 600)
	p, err := process.Start(process.Program{
		Name: "cluster-exporter", Binary: c.exporterBinary(), Log: log, Environment: os.Environ(),
		Flags: []string{
			"--config", file, "--listen", "127.0.0.1:0", "--api-server", "127.0.0.1:" + port, "--ca-file", cluster.CAFile,
			"--token-file", kubelet.File,
		},
	})
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		p.Kill()
		if c.Failed() {
			c.Logf("end of the exporter's log:\n%s", process.Tail(log, 15))
		}
	})
	return &exporter{p, kubelet, log}
}

// says is nil if one line of its log has all of these words.
func (e *exporter) says(words ...string) error {
	log, err := os.ReadFile(e.log)
	if err != nil {
		return err
	}
	return hasLine(string(log), words)
}

// hasLine wants a line with all of these words.
func hasLine(log string, words []string) error {
	for line := range strings.Lines(log) {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
			return nil
		}
	}
	return fmt.Errorf("the log ends:\n%s", log[max(0, len(log)-2000):])
}

func (c *cloud) exporterBinary() string {
	c.Helper()
	if c.binary == "" {
		c.binary = program(c.T, c.TempDir(), "cluster-exporter", "cluster-exporter")
	}
	return c.binary
}

// eventually waits until a check passes; its error says why it does not.
func (c *cloud) eventually(what string, check func() error) {
	c.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	c.Fatalf("%s: not after %s: %v", what, patience, err)
}

// logged waits until the function has logged a line with all of these words, after the given number of bytes.
func (c *cloud) logged(function string, after int, words ...string) {
	c.Helper()
	c.eventually(fmt.Sprintf("the function logs %q", words), func() error {
		log := c.account.Log(function)
		return hasLine(log[min(after, len(log)):], words)
	})
}
