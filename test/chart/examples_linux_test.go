package chart_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"

	kubeerrors "k8s.io/apimachinery/pkg/api/errors"
	api "k8s.io/apimachinery/pkg/api/meta"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"

	"github.com/kube-iam-assume/kube-iam-assume/test/chart"
	"github.com/kube-iam-assume/kube-iam-assume/test/chart/pod"
)

// takesExamples has the API server judge every object of every example, the Prometheus operator's included, by all its rules; nothing is kept.
func (w *world) takesExamples() {
	w.Helper()
	client := must(dynamic.NewForConfig(w.cluster.AdminConfig(0)))
	files, err := chart.OperatorResources()
	if err != nil {
		w.Fatal(err)
	}
	for _, file := range files {
		w.apply(client, parse(w.T, string(must(os.ReadFile(file)))), meta.PatchOptions{FieldManager: "test"})
	}
	count := 0
	for _, example := range examples(w.T) {
		monitors := []string{"PodMonitor"}
		if strings.HasSuffix(example, "guarded.yaml") {
			monitors = append(monitors, "ServiceMonitor")
		}
		for _, monitor := range monitors {
			all := parse(w.T, helm(w.T, "template", "exporter", folder, "--namespace", namespace, "--values", example, "--set", "monitoring.monitor="+monitor,
				"--set", "monitoring.rules=true,networkPolicy.enabled=true"))
			w.apply(client, all, meta.PatchOptions{FieldManager: "test", DryRun: dry, FieldValidation: meta.FieldValidationStrict})
			count += len(all)
		}
	}
	w.Logf("%d objects of the examples would be taken", count)
}

func (w *world) apply(client dynamic.Interface, all manifests, options meta.PatchOptions) {
	w.Helper()
	yes := true
	options.Force = &yes
	var kinds api.RESTMapper
	for _, object := range all {
		w.eventually(func(ctx context.Context) error {
			if kinds == nil {
				groups, err := restmapper.GetAPIGroupResources(discovery.NewDiscoveryClient(w.cluster.Admin(0).Discovery().RESTClient()))
				if err != nil {
					return err
				}
				kinds = restmapper.NewDiscoveryRESTMapper(groups)
			}
			mapping, err := kinds.RESTMapping(object.GroupVersionKind().GroupKind(), object.GroupVersionKind().Version)
			if err != nil {
				kinds = nil // a new kind takes the API server a moment
				return err
			}
			var resource dynamic.ResourceInterface = client.Resource(mapping.Resource)
			if object.GetNamespace() != "" {
				resource = client.Resource(mapping.Resource).Namespace(object.GetNamespace())
			}
			_, err = resource.Patch(ctx, object.GetName(), types.ApplyPatchType, must(object.MarshalJSON()), options)
			if kubeerrors.IsInvalid(err) || kubeerrors.IsForbidden(err) || kubeerrors.IsBadRequest(err) {
				w.Errorf("%s %s: %v", object.GetKind(), object.GetName(), err)
				return nil
			}
			return err
		})
	}
}

// alertsAreAboutMetrics: each name in the alerts is one of a running exporter's metrics.
func (w *world) alertsAreAboutMetrics(p *pod.Pod) {
	w.Helper()
	request, err := http.NewRequestWithContext(w.Context(), http.MethodGet, "http://pod/metrics", http.NoBody)
	if err != nil {
		w.Fatal(err)
	}
	response, err := p.Client("metrics").Do(request)
	if err != nil {
		w.Fatal(err)
	}
	defer response.Body.Close()
	metrics := string(must(io.ReadAll(response.Body)))
	names := regexp.MustCompile(`kube_iam_assume_\w+`).FindAllString(string(must(os.ReadFile(folder+"/alerts.yaml"))), -1)
	for _, name := range names {
		if !strings.Contains(metrics, "\n"+name+"{") && !strings.Contains(metrics, "\n"+name+" ") {
			w.Errorf("an alert is about %s, which is no metric of\n%s", name, metrics)
		}
	}
	if len(names) < 8 {
		w.Errorf("the alerts name %v", names)
	}
}

// uninstall leaves nothing but what who installs must decide about: the publisher's volume.
func (w *world) uninstall() {
	w.Helper()
	w.helm("uninstall", "exporter", "--namespace", namespace)
	w.helm("uninstall", "publisher", "--namespace", "publisher")
	admin := w.cluster.Admin(0)
	ours := meta.ListOptions{LabelSelector: "app.kubernetes.io/part-of=kube-iam-assume"}
	if policies := must(admin.AdmissionregistrationV1().ValidatingAdmissionPolicies().List(w.Context(), ours)); len(policies.Items) > 0 {
		w.Errorf("%d policies are left", len(policies.Items))
	}
	if roles := must(admin.RbacV1().Roles("").List(w.Context(), ours)); len(roles.Items) > 0 {
		w.Errorf("%d Roles are left", len(roles.Items))
	}
	if claims := must(admin.CoreV1().PersistentVolumeClaims("publisher").List(w.Context(), ours)); len(claims.Items) != 1 {
		w.Errorf("%d volumes are left: whoever loses the publisher's state has to recover every issuer", len(claims.Items))
	}
}
