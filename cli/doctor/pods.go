package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"
)

var (
	// errNotSeen means that nobody could look at an exporter; why is said before it.
	errNotSeen = errors.New("give --exporter-url to look at it")
	// errOutOfReach means that the API server could not reach an exporter, which others may.
	errOutOfReach = errors.New("the API server does not reach it")
)

// maxReplicas are more than an exporter has while it is updated.
const maxReplicas = 20

// gatherExporter looks at the exporter's URL if there is one, and else at each of its pods.
func (e *evidence) gatherExporter(ctx context.Context) {
	if base := strings.TrimSuffix(e.options.ExporterURL, "/"); base != "" {
		e.addReplica("", func(path string) view { return fetchPlain(ctx, base+path) })
		return
	}
	pods, err := e.exporterPods(ctx)
	if err != nil {
		e.ready.err = fmt.Errorf("%w; %w", err, errNotSeen)
		return
	}
	for _, pod := range pods {
		e.addReplica(pod.Name, e.throughAPIServer(ctx, pod))
	}
}

// addReplica keeps what an exporter answers. Of several the one that is worst off says whether they are ready.
func (e *evidence) addReplica(name string, fetch func(path string) view) {
	ready := fetch("/readyz")
	ready.url = name
	if e.ready.url == "" || ready.trouble() > e.ready.trouble() {
		e.ready = ready
	}
	if ready.err != nil {
		return
	}
	v := fetch("/metrics")
	m := parseMetrics(v.body)
	switch {
	case v.err != nil:
		m.err = v.err
	case v.status != http.StatusOK:
		m.err = fmt.Errorf("GET /metrics answers %d", v.status)
	}
	if m.err != nil {
		e.metrics.err = errors.New(ready.of(withoutURL(m.err).Error()))
	}
	for _, s := range m.samples {
		s.replica = name
		e.metrics.samples = append(e.metrics.samples, s)
	}
}

// trouble is how bad it is that an exporter answered /readyz so.
func (v view) trouble() int {
	switch {
	case errors.Is(v.err, errNotSeen), errors.Is(v.err, errOutOfReach):
		return 1
	case v.err != nil, v.status != http.StatusOK:
		return 2
	}
	return 0
}

// of says something about a replica, by its name where it has one.
func (v view) of(said string) string {
	if v.url == "" {
		return said
	}
	return v.url + ": " + said
}

// exporterPods are those that run as the exporter's account, or will. An account that its settings name counts before the one whose tokens
// are looked at, which may be somebody else's.
func (e *evidence) exporterPods(ctx context.Context) ([]core.Pod, error) {
	if e.clusterErr != nil || e.cluster == nil {
		return nil, errors.New("there is no cluster to find its pods in")
	}
	accounts := []string{e.options.Account, defaultAccount}
	if e.settings != nil {
		accounts = []string{e.settings.ServiceAccount}
	}
	for _, account := range accounts {
		pods, err := e.podsAs(ctx, account)
		if err != nil || len(pods) > 0 {
			return pods, err
		}
	}
	return nil, fmt.Errorf("no pod runs as %s", accounts[0])
}

func (e *evidence) podsAs(ctx context.Context, account string) ([]core.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, plainTimeout)
	defer cancel()
	namespace, name, _ := strings.Cut(account, "/")
	list, err := e.cluster.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.serviceAccountName", name).String(), Limit: maxReplicas,
	})
	if err != nil {
		return nil, fmt.Errorf("its pods cannot be listed: %w", withoutURL(err))
	}
	var pods []core.Pod
	for _, pod := range list.Items {
		ended := pod.Status.Phase == core.PodSucceeded || pod.Status.Phase == core.PodFailed
		if metricsPort(pod) != 0 && !ended && pod.DeletionTimestamp == nil {
			pods = append(pods, pod)
		}
	}
	return pods, nil
}

// metricsPort is the one that the chart calls so, or 0. Pods without it, such as that of `helm test`, are no exporters.
func metricsPort(pod core.Pod) int {
	for _, container := range pod.Spec.Containers {
		for _, port := range container.Ports {
			if port.Name == "metrics" {
				return int(port.ContainerPort)
			}
		}
	}
	return 0
}

// throughAPIServer asks a pod by the API server, which needs no door into the cluster but the one that the kubeconfig has.
func (e *evidence) throughAPIServer(ctx context.Context, pod core.Pod) func(path string) view {
	fail := func(err error) func(string) view { return func(string) view { return view{err: err} } }
	if pod.Status.Phase != core.PodRunning {
		return fail(errors.New(state(pod)))
	}
	client, err := rest.HTTPClientFor(e.options.Config)
	if err != nil {
		return fail(fmt.Errorf("kubeconfig: %w", err))
	}
	server, _, err := rest.DefaultServerUrlFor(e.options.Config)
	if err != nil {
		return fail(fmt.Errorf("kubeconfig: %w", err))
	}
	at := server.JoinPath("api/v1/namespaces", pod.Namespace, "pods", pod.Name+":"+strconv.Itoa(metricsPort(pod)), "proxy")
	return func(path string) view {
		v := fetch(ctx, client, at.JoinPath(path).String())
		if v.err == nil {
			v.err = apiServersOwn(v)
		}
		return v
	}
}

// state is why a pod does not run.
func state(pod core.Pod) string {
	why := ""
	for _, condition := range pod.Status.Conditions {
		if condition.Type == core.PodScheduled && condition.Status == core.ConditionFalse {
			why = ": " + condition.Reason + " " + condition.Message
		}
	}
	for _, container := range pod.Status.ContainerStatuses {
		if waiting := container.State.Waiting; waiting != nil {
			why = ": " + waiting.Reason + " " + waiting.Message
		}
	}
	return fmt.Sprintf("it is %s%s", cmp.Or(pod.Status.Phase, core.PodPending), strings.TrimRight(why, " "))
}

// apiServersOwn is why an answer is not the pod's but the API server's: a Status, which the exporter never answers.
func apiServersOwn(v view) error {
	var status metav1.Status
	isStatus := v.status >= http.StatusBadRequest && json.Unmarshal(v.body, &status) == nil && status.Kind == "Status"
	err := &apierrors.StatusError{ErrStatus: status}
	switch {
	case !isStatus:
		return nil
	case apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err):
		return fmt.Errorf("%w; %w", err, errNotSeen)
	}
	return fmt.Errorf("%w: %w", errOutOfReach, err)
}
