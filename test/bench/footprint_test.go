package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

// What the exporter adds to a control plane, beside the smallest part of one: the size of the binary, and what is resident after
// some readings.
func BenchmarkFootprint(b *testing.B) {
	folder := b.TempDir()
	binary := filepath.Join(folder, "cluster-exporter")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "github.com/kube-iam-assume/kube-iam-assume/cluster-exporter")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	c := kube.Start(b, kube.Options{})
	c.InstallExporter(b, "kube-iam-assume", "cluster-exporter")
	address := strings.TrimPrefix(c.Servers[0].URL(), "https://")
	settings := filepath.Join(folder, "exporter.yaml")
	if err := os.WriteFile(settings, []byte(`
apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Exporter
cluster: bench
issuer: `+kube.DefaultIssuer+`
pollInterval: 1s
apiServers: {addresses: ["`+address+`"]}
destinations: [{publisher: p, webhook: {url: "https://127.0.0.1:1/v1/snapshots"}}]
`), 0o600); err != nil {
		b.Fatal(err)
	}
	exporter := exec.Command(binary, "--config", settings, "--listen", "127.0.0.1:0", "--api-server", address, "--ca-file", c.CAFile,
		"--token-file", c.Kubelet(b, 0, "kube-iam-assume", "cluster-exporter", 600).File)
	if err := exporter.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = exporter.Process.Kill(); _ = exporter.Wait() })
	time.Sleep(10 * time.Second) // ten readings
	for _, name := range []string{"kube-apiserver", "cluster-exporter"} {
		b.Run(name, func(b *testing.B) {
			pid, file := child(b, name)
			info, err := os.Stat(file)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				b.ReportMetric(0, "ns/op") // none of it is a time
				b.ReportMetric(float64(info.Size())/1e6, "MB-binary")
				b.ReportMetric(float64(resident(b, pid))/1e3, "MB-resident")
			}
		})
	}
}

// child finds a process of this one by its name.
func child(b *testing.B, name string) (pid int, file string) {
	b.Helper()
	for _, folder := range must(filepath.Glob("/proc/[0-9]*")) {
		stat, err := os.ReadFile(folder + "/stat")
		if err != nil || !strings.Contains(string(stat), " ("+name[:min(15, len(name))]+") ") {
			continue
		}
		fields := strings.Fields(string(stat)[strings.LastIndex(string(stat), ")")+1:])
		if fields[1] == strconv.Itoa(os.Getpid()) {
			return must(strconv.Atoi(filepath.Base(folder))), must(os.Readlink(folder + "/exe"))
		}
	}
	b.Fatalf("%s does not run", name)
	return 0, ""
}

// resident is VmRSS in kB.
func resident(b *testing.B, pid int) (kB int) {
	b.Helper()
	status := string(must(os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))))
	_, rest, _ := strings.Cut(status, "VmRSS:")
	if _, err := fmt.Sscan(rest, &kB); err != nil {
		b.Fatal(err)
	}
	return kB
}
