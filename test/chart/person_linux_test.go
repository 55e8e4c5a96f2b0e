package chart_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/test/chart/pod"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

// home is a person's folder.
type home map[string]string

func (h home) ConfigMap(context.Context, string) (map[string]string, error)     { return h, nil }
func (h home) Secret(context.Context, string) (map[string][]byte, error)        { return nil, nil }
func (h home) Token(context.Context, []string, int64) (token string, err error) { return "", nil }

// person runs the command line tool as an administrator does, on a machine that has a kubeconfig and is in the network of cluster and
// issuer. It returns the exit code and what was written.
func (w *world) person(files home, arguments ...string) (code int, output string) {
	w.Helper()
	kubeconfig := string(must(os.ReadFile(w.kubeconfig)))
	files["kubeconfig"] = strings.ReplaceAll(kubeconfig, w.cluster.Servers[0].URL(), "https://"+kube.ServiceAddress)
	files["ca.pem"] = string(w.authority)
	folder := core.Volume{Name: "home", VolumeSource: core.VolumeSource{ConfigMap: &core.ConfigMapVolumeSource{LocalObjectReference: core.LocalObjectReference{Name: "home"}}}}
	machine := &core.Pod{ObjectMeta: meta.ObjectMeta{Name: "person"}, Spec: core.PodSpec{Volumes: []core.Volume{folder}, Containers: []core.Container{{
		Args: append(arguments, "--kubeconfig", "/home/kubeconfig"), VolumeMounts: []core.VolumeMount{{Name: "home", MountPath: "/home"}},
	}}}}
	running := pod.Start(w.T, w.machine(w.programs["kube-iam-assume"], files), machine)
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	succeeded, err := running.Wait(ctx)
	if err != nil {
		w.Fatal(err)
	}
	output = running.Output(w.T)
	if strings.Contains(output, "eyJ") {
		w.Errorf("%v shows a token", arguments)
	}
	if !succeeded {
		code = 2
		if strings.Contains(output, "sandbox: exit status 1") {
			code = 1
		}
	}
	return code, output
}

// diagnosis is what doctor says as JSON.
type diagnosis struct {
	Healthy bool
	First   string
	Checks  []struct{ ID, Status, Detail, Remedy string }
}

// doctor runs doctor with the settings that the chart made, as a person takes them out of the cluster; the exporters it finds by itself.
func (w *world) doctor() (code int, found diagnosis) {
	w.Helper()
	settings := func(namespace, name string) map[string]string {
		found, err := w.cluster.Admin(0).CoreV1().ConfigMaps(namespace).Get(w.Context(), name, meta.GetOptions{})
		if err != nil {
			w.Fatal(err)
		}
		return found.Data
	}
	publisher := settings("publisher", "publisher")
	code, output := w.person(home{
		"exporter.yaml": settings(namespace, account)["exporter.yaml"], "publisher.yaml": publisher["publisher.yaml"], "clusters/prod.yaml": publisher["cluster.prod.yaml"],
	}, "doctor", "--exporter-settings", "/home/exporter.yaml", "--publisher-settings", "/home/publisher.yaml", "--ca-bundle", "/home/ca.pem", "--internal",
		"--service-account", "app/payments", "--audience", audience, "--output", "json")
	_, report, _ := strings.Cut("\n"+output, "\n{")
	if err := json.NewDecoder(strings.NewReader("{" + report)).Decode(&found); err != nil {
		w.Fatalf("doctor (%d): %v\n%s", code, err, output)
	}
	return code, found
}

func (d diagnosis) check(id string) string {
	for _, c := range d.Checks {
		if c.ID == id {
			return c.Status + ": " + c.Detail + "\n" + c.Remedy
		}
	}
	return ""
}

// doctorFindsNothing: everything that a person can see of the installed chart is well, both replicas included.
func (w *world) doctorFindsNothing(replicas []*pod.Pod) {
	w.Helper()
	code, found := w.doctor()
	for _, c := range found.Checks {
		if c.Status == "broken" || c.Status == "warn" {
			w.Logf("doctor, healthy: %s: %s: %s", c.ID, c.Status, c.Detail)
		}
	}
	if code != 0 || !found.Healthy || found.First != "" {
		w.Errorf("doctor: exit code %d, first broken link %q: %s", code, found.First, found.check(found.First))
	}
	for id, says := range map[string]string{
		"exporter.settings": "cluster prod", "exporter.ready": "", "exporter.problems": "none", "exporter.accepted": "home", "publisher.cluster": "",
		"tokens.attestation": "", "tokens.rights": "", "jwks.complete": "", "exchange.verified": "",
	} {
		if got := found.check(id); !strings.HasPrefix(got, "ok: ") || !strings.Contains(got, says) {
			w.Errorf("doctor: %s is %s", id, got)
		}
	}
	for _, r := range replicas {
		if got := found.check("exporter.reads"); !strings.Contains(got, fmt.Sprintf("%s: %d of %d", r.Name, len(w.cluster.Servers), len(w.cluster.Servers))) {
			w.Errorf("doctor has not looked at %s: %s", r.Name, got)
		}
	}
}

// doctorFindsAMissingRight that somebody took away.
func (w *world) doctorFindsAMissingRight() {
	w.Helper()
	give := w.take("default", namespace+"-"+account, "endpointslices")
	for server := range w.cluster.Servers {
		w.eventually(func(ctx context.Context) error { return w.allowed(ctx, server, rights[0], false) })
	}
	code, found := w.doctor()
	if got := found.check("tokens.rights"); code != 1 || found.First != "tokens.rights" || !strings.Contains(got, "may not list endpointslices") || !strings.Contains(got, "Install the chart's Role") {
		w.Errorf("doctor: exit code %d, first broken link %q, tokens.rights is %s", code, found.First, got)
	}
	give()
	w.waitForRights()
}

// enrollReads: the cluster's file can be made anew with the chart installed, whose policies keep the tokens of the exporter from everybody.
func (w *world) enrollReads(external bool, keys ...string) {
	w.Helper()
	code, output := w.person(home{}, "enroll", "prod")
	_, file, _ := strings.Cut("\n"+output, "\napiVersion:")
	cluster, err := enrollment.ParseCluster("prod.yaml", []byte("apiVersion:"+file))
	if err != nil || code != 0 || !strings.Contains(output, "not checked") {
		w.Errorf("enroll: exit code %d, %v\n%s", code, err, output)
	}
	var got []string
	for _, key := range cluster.BootstrapKeys {
		got = append(got, key.ID())
	}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", keys) || cluster.ExternalKeyIDs != external || cluster.ExporterServiceAccount != namespace+"/"+account {
		w.Errorf("enroll reads %q, external %v: %+v", got, cluster.ExternalKeyIDs, cluster)
	}
}
