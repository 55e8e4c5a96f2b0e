package chart_test

import (
	"strings"
	"testing"
)

// A value that is wrong is refused before anything is installed, in words that name it.
func TestRefusals(t *testing.T) {
	t.Parallel()
	const webhook = "destinations[0].webhook.url="
	cases := []struct {
		name string
		set  []string
		says string
	}{
		{"nothing", nil, "missing properties 'cluster', 'issuer', 'destinations'"},
		{"no issuer", []string{"cluster=a", "destinations[0].publisher=p", webhook + "https://p.example.com/v1/snapshots"}, "missing property 'issuer'"},
		{"unknown value", good("fleet=x"), "additional properties 'fleet' not allowed"},
		{"unknown value within", good("exporter.replica=3"), "at '/exporter': additional properties 'replica' not allowed"},
		{"unknown value of an image", good("exporter.image.registry=x"), "at '/exporter/image': additional properties 'registry' not allowed"},
		{"misspelt destination", good("destinations[0].webhok.url=x"), "at '/destinations/0': additional properties 'webhok' not allowed"},
		{"token file", good("destinations[0].sqs.tokenFile=/token"), "additional properties 'tokenFile' not allowed"},
		{"cluster ID", good("cluster=Prod_1"), "at '/cluster': 'Prod_1' does not match pattern"},
		{"issuer without TLS", good("issuer=http://a.example.com"), "at '/issuer': 'http://a.example.com' does not match pattern"},
		{"issuer with a slash", good("issuer=https://a.example.com/"), "at '/issuer'"},
		{"no destination", []string{"cluster=a", "issuer=https://a.example.com", "destinations=null"}, "at '/destinations': got null, want array"},
		{"destination that leads nowhere", []string{"cluster=a", "issuer=https://a.example.com", "destinations[0].publisher=p"}, "at '/destinations/0': minProperties: got 1, want 2"},
		{"webhook elsewhere", good(webhook + "https://p.example.com/hook"), "at '/destinations/0/webhook/url'"},
		{"webhook without TLS", good(webhook + "http://p.example.com/v1/snapshots"), "at '/destinations/0/webhook/url'"},
		{"half a queue", good("destinations[0].sqs.url=https://sqs.eu-central-1.amazonaws.com/1/q"), "at '/destinations/0/sqs': missing property 'roleARN'"},
		{"two queues of one publisher", good(
			"destinations[0].sqs.url=https://sqs.eu-central-1.amazonaws.com/1/q", "destinations[0].sqs.roleARN=arn:aws:iam::111122223333:role/r",
			"destinations[0].pubsub.topic=projects/p/topics/t", "destinations[0].pubsub.provider=projects/1/locations/global/workloadIdentityPools/p/providers/x",
		), "at '/destinations/0': 'not' failed"},
		{"provider by name", good("destinations[0].pubsub.topic=projects/p/topics/t", "destinations[0].pubsub.provider=x"), "at '/destinations/0/pubsub/provider'"},
		{"tenant by name", good("destinations[0].storageQueue.tenantID=example.com"), "at '/destinations/0/storageQueue/tenantID'"},
		{"no replica", good("exporter.replicas=0"), "at '/exporter/replicas': minimum: got 0, want 1"},
		{"more replicas than are remembered", good("exporter.replicas=5"), "at '/exporter/replicas': maximum: got 5, want 4"},
		{"interval without a unit", good("pollInterval=5"), "at '/pollInterval': got number, want string"},
		{"proxy with a password", good("proxy=http://me:password@proxy:3128"), "belongs into a Secret"},
		{"two proxies", good("proxy=http://proxy:3128", "proxySecret.name=p", "proxySecret.key=k"), "'not' failed"},
		{"half a proxy's secret", good("proxySecret.name=p"), "at '/proxySecret'"},
		{"two bundles", good("caBundle.configMap.name=a", "caBundle.configMap.key=b", "caBundle.secret.name=a", "caBundle.secret.key=b"), "at '/caBundle': maxProperties"},
		{"bundle that is a path", good("caBundle.pem=/etc/ssl/ca.pem"), "at '/caBundle/pem'"},
		{"digest that is none", good("exporter.image.digest=latest"), "at '/exporter/image/digest'"},
		{"API servers twice", good("apiServers.expect=3", "apiServers.addresses[0]=a:1"), "at '/apiServers': 'not' failed"},
		{"one API server expected", good("apiServers.expect=1"), "at '/apiServers/expect': minimum"},
		{"unknown monitor", good("monitoring.monitor=Probe"), "at '/monitoring/monitor'"},
		{"dashboard's label that is none", good("monitoring.dashboards.label=a b"), "at '/monitoring/dashboards/label': 'a b' does not match pattern"},
		{"dashboard's label as a number", good("monitoring.dashboards.labelValue=1"), "at '/monitoring/dashboards/labelValue': got number, want string"},
		{"misspelt dashboards", good("monitoring.dashboard.enabled=true"), "at '/monitoring': additional properties 'dashboard' not allowed"},
		{"port as text", good("networkPolicy.apiServerPorts[0]=https"), "at '/networkPolicy/apiServerPorts/0'"},
		{"publisher without settings", []string{"exporter.enabled=false", "publisher.enabled=true"}, "at '/publisher"},
		{"another namespace", good("serviceAccount=other/exporter"), "Install it with --namespace other --create-namespace"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			arguments := []string{"template", "release", folder, "--namespace", namespace}
			for _, set := range c.set {
				arguments = append(arguments, "--set", set)
			}
			out, problems, err := tool(t, "helm", arguments...)
			if err == nil {
				t.Fatalf("it was taken:\n%s", out)
			}
			if !strings.Contains(problems, c.says) {
				t.Errorf("it says\n%s\nwant %s", problems, c.says)
			}
			if strings.Contains(problems, "password@") {
				t.Error("a password is repeated")
			}
		})
	}
}

// ValidatingAdmissionPolicy is what the oldest version is the first with.
func TestOldKubernetes(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{"v1.29.14": false, "v1.30.0": true, "v1.30.4+k3s1": true, "v1.33.2-gke.100": true, "v1.37.0": true} {
		_, problems, err := tool(t, "helm", "template", "release", folder, "--namespace", namespace, "--values", folder+"/examples/webhook.yaml", "--kube-version", version)
		if (err == nil) != want || !want && !strings.Contains(problems, "requires kubeVersion: >=1.30.0-0") {
			t.Errorf("%s: %v %s", version, err, problems)
		}
	}
}

// good is the least that is taken, and more.
func good(more ...string) []string {
	return append([]string{
		"cluster=a", "issuer=https://a.example.com", "destinations[0].publisher=p", "destinations[0].webhook.url=https://p.example.com/v1/snapshots",
	}, more...)
}
