package bench

import (
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/memory"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

// warmUp is for what a program does once: it is in the memory, as it stays there, but not in the processor time.
const warmUp = 5 * time.Second

// footprintTime is how long the programs are watched. FOOTPRINT=10m gives the figures to quote: memory settles only then.
func footprintTime() time.Duration {
	if value := os.Getenv("FOOTPRINT"); value != "" {
		return must(time.ParseDuration(value))
	}
	return 30 * time.Second // three readings
}

// What the exporter costs beside three API servers, at its default interval and with a publisher that takes what it sends: the size of
// the binary, what is resident, and processor time. First comes the least client-go program, which lists EndpointSlices as often; last an
// API server, which tells how little either is.
func BenchmarkFootprint(b *testing.B) {
	folder, key := b.TempDir(), kube.NewKey(b, kube.RSA2048)
	c := kube.Start(b, kube.Options{APIServers: 3, Keys: kube.Keys{Sign: key}})
	c.InstallExporter(b, "kube-iam-assume", "cluster-exporter")
	var addresses []string
	for _, s := range c.Servers {
		addresses = append(addresses, strings.TrimPrefix(s.URL(), "https://"))
	}
	token := c.Kubelet(b, 0, "kube-iam-assume", "cluster-exporter", 600).File
	launch(b, folder, "lister", "test/bench/hello/kube", addresses[0], c.CAFile, token)
	log := launch(b, folder, "cluster-exporter", "cluster-exporter", "--config", exporterSettings(b, folder, key, addresses),
		"--listen", "127.0.0.1:0", "--api-server", addresses[0], "--ca-file", c.CAFile, "--token-file", token)
	time.Sleep(warmUp)
	names := []string{"lister", "cluster-exporter", "kube-apiserver"}
	var before []time.Duration
	for _, name := range names {
		pid, _ := child(b, name)
		before = append(before, processorTime(b, pid))
	}
	watched := footprintTime()
	time.Sleep(watched)
	for i, name := range names {
		b.Run(name, func(b *testing.B) {
			pid, file := child(b, name)
			used := processorTime(b, pid) - before[i]
			for b.Loop() {
				b.ReportMetric(0, "ns/op") // none of it is a time of this process
				b.ReportMetric(megabytes(b, file), "MB-binary")
				b.ReportMetric(float64(memoryOf(b, pid, "VmRSS"))/1e3, "MB-resident")
				b.ReportMetric(float64(memoryOf(b, pid, "VmHWM"))/1e3, "MB-peak")
				b.ReportMetric(1000*used.Seconds()/watched.Seconds(), "millicores")
			}
		})
	}
	if n := strings.Count(string(must(os.ReadFile(log))), "the publisher accepted the snapshot"); n == 0 {
		b.Errorf("the exporter's work was in vain:\n%s", process.Tail(log, 20))
	}
}

// launch builds a program as it is shipped and runs it; it returns the file of its log.
func launch(b *testing.B, folder, name, source string, flags ...string) (log string) {
	b.Helper()
	binary, log := filepath.Join(folder, name), filepath.Join(folder, name+".log")
	run(b, []string{"CGO_ENABLED=0"}, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, module+source)
	b.Cleanup(must(process.Start(process.Program{Name: name, Binary: binary, Flags: flags, Log: log})).Kill)
	return log
}

// exporterSettings are a user's, with the intervals left as they are, and one publisher, which this starts.
func exporterSettings(b *testing.B, folder string, key *kube.Key, addresses []string) (file string) {
	b.Helper()
	p := must(publish.New(publish.Config{
		Settings: enrollment.Publisher{Name: "p", Issuers: []enrollment.Issuer{{
			URL: kube.DefaultIssuer, Path: "test", Retention: 48 * time.Hour, Internal: true, Clusters: []enrollment.Cluster{{
				ID: "prod", Generation: 1, ExporterServiceAccount: cluster.ServiceAccount, BootstrapKeys: jwks.Set{must(jwks.New(key.Public()))},
			}},
		}}},
		Documents: memory.New(memory.UniqueVersions), Private: memory.New(memory.UniqueVersions),
	}))
	web := httptest.NewTLSServer(publish.NewHandler(p))
	b.Cleanup(web.Close)
	bundle, file := filepath.Join(folder, "ca.pem"), filepath.Join(folder, "exporter.yaml")
	for name, content := range map[string]string{
		bundle: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})),
		file: fmt.Sprintf(`apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Exporter
cluster: prod
issuer: %s
caBundle: %s
apiServers: {addresses: ["%s"]}
destinations: [{publisher: p, webhook: {url: "%s/v1/snapshots"}}]
`, kube.DefaultIssuer, bundle, strings.Join(addresses, `", "`), web.URL),
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return file
}

// child finds a process of this one by its name.
func child(b *testing.B, name string) (pid int, file string) {
	b.Helper()
	for _, folder := range must(filepath.Glob("/proc/[0-9]*")) {
		stat, err := os.ReadFile(folder + "/stat")
		if err != nil || !strings.Contains(string(stat), " ("+name[:min(15, len(name))]+") ") {
			continue
		}
		if fields := afterName(stat); fields[1] == strconv.Itoa(os.Getpid()) {
			return must(strconv.Atoi(filepath.Base(folder))), must(os.Readlink(folder + "/exe"))
		}
	}
	b.Fatalf("%s does not run", name)
	return 0, ""
}

// afterName are the fields of /proc/PID/stat from the third, the state, on.
func afterName(stat []byte) []string {
	return strings.Fields(string(stat)[strings.LastIndex(string(stat), ")")+1:])
}

// processorTime is what a process has used. The kernel counts it in hundredths of a second (USER_HZ), as user's and as its own.
func processorTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	fields := afterName(must(os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))))
	ticks := must(strconv.Atoi(fields[11])) + must(strconv.Atoi(fields[12]))
	return time.Duration(ticks) * 10 * time.Millisecond
}

// memoryOf is a line of /proc/PID/status, in kB.
func memoryOf(b *testing.B, pid int, line string) (kB int) {
	b.Helper()
	status := string(must(os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))))
	_, rest, _ := strings.Cut(status, line+":")
	if _, err := fmt.Sscan(rest, &kB); err != nil {
		b.Fatal(err)
	}
	return kB
}
