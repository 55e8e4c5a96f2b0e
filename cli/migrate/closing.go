package migrate

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/cli/migrate/agent"
	"github.com/kube-iam-assume/kube-iam-assume/cli/migrate/inventory"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
	"github.com/kube-iam-assume/kube-iam-assume/cli/visible"
)

// Closing is the last step: the old agent goes, and nothing in a pod reaches the node's metadata any more.
type Closing struct {
	Ready   bool     `json:"ready"`          // nothing uses the old way
	Left    []string `json:"left,omitempty"` // what still does, with what could not be planned
	Needs   []string `json:"needsMetadata,omitempty"`
	Actions []Action `json:"actions,omitempty"` // once it is ready
}

// An Action is a part of the last step.
type Action struct {
	What     string   `json:"what"`
	Commands []string `json:"commands,omitempty"`
}

func (p *planner) close() {
	slices.Sort(p.left)
	p.left = slices.Compact(p.left)
	c := &p.plan.Closing
	c.Left, c.Ready = p.left, len(p.left) == 0 && len(p.cluster.Problems) == 0
	for _, w := range p.cluster.Workloads {
		if reason := needsMetadata(w); reason != "" && !w.Finished && !slices.Contains(p.Agents, w) {
			c.Needs = append(c.Needs, w.ID()+": "+reason)
		}
	}
	if !c.Ready {
		return
	}
	c.Actions = append(closeMetadata(), p.removeAgent(), p.removeRules(), p.removeRights())
	c.Actions = slices.DeleteFunc(c.Actions, func(a Action) bool { return a.What == "" })
}

// metadataUsers are programs that are known to ask the metadata address, by their images' names.
var metadataUsers = []struct{ image, reason string }{
	{"cloud-controller-manager", "the cloud controller manager finds its region and instances there, and takes the node's role"},
	{"cluster-autoscaler", "takes the node's role and region from there unless it has its own"},
	{"ebs-csi-driver", "its node plugin reads the instance's ID, type and zone there; it can read them from the Node instead"},
	{"efs-csi-driver", "reads the instance's zone there"},
	{"fsx-csi-driver", "reads the instance's ID there"},
	{"load-balancer-controller", "reads region and VPC there; --aws-region and --aws-vpc-id take their place"},
	{"amazon-k8s-cni", "manages the instance's network interfaces by what it reads there"},
	{"node-termination-handler", "waits for the instance's end there"},
	{"karpenter", "may read region and account there"},
	{"cloudwatch-agent", "reads the instance's ID and tags there"},
	{"external-dns", "takes the node's role from there unless it has its own"},
	{"velero", "takes the node's role from there unless it has its own"},
}

func needsMetadata(w *inventory.Workload) string {
	for _, container := range w.Template.Spec.Containers {
		image, _, _ := strings.Cut(path.Base(container.Image), ":")
		for _, user := range metadataUsers {
			if !strings.Contains(image, user.image) {
				continue
			}
			if w.Template.Spec.HostNetwork {
				return user.reason + "; it is on the host's network, which a hop limit of 1 lets through"
			}
			return user.reason
		}
	}
	return ""
}

func (p *planner) removeAgent() Action {
	a := Action{What: fmt.Sprintf("Take %s away, after a day on which its log showed no request.", p.Settings.Agent)}
	for _, w := range p.Agents {
		a.Commands = append(a.Commands, fmt.Sprintf("kubectl -n %s delete %s %s", w.Namespace, strings.ToLower(w.Kind), w.Name.Name))
	}
	if p.Settings.Agent == agent.Controller {
		for _, name := range slices.SortedFunc(maps.Keys(p.cluster.Roles), inventory.Name.Compare) {
			a.Commands = append(a.Commands, fmt.Sprintf("kubectl -n %s delete awsiamrole %s   # its Secret goes with it", name.Namespace, name.Name))
		}
		for _, secret := range p.cluster.Secrets {
			if _, custom := p.cluster.Roles[secret]; !custom {
				a.Commands = append(a.Commands, fmt.Sprintf("kubectl -n %s delete secret %s", secret.Namespace, secret.Name))
			}
		}
		return a
	}
	if len(p.Agents) == 0 {
		a.What += " It was not among what was read."
	}
	a.What += " Its iptables rule, which sends 169.254.169.254 to it, goes sooner (kiam, at the agent's end) or later (kube2iam, at the node's); then pods reach the node's own, unless it was closed before."
	return a
}

func (p *planner) removeRules() Action {
	var commands []string
	for _, namespace := range slices.Sorted(maps.Keys(p.cluster.Namespaces)) {
		if _, found := p.cluster.Namespaces[namespace][p.Settings.NamespaceKey]; found && p.Settings.NamespaceKey != "" {
			commands = append(commands, fmt.Sprintf("kubectl annotate namespace %s %s", namespace, word(p.Settings.NamespaceKey+"-")))
		}
	}
	if len(commands) == 0 {
		return Action{}
	}
	return Action{"Take the namespaces' annotations away, which mean nothing without the agent.", commands}
}

// removeRights ends what the old way needed in IAM. Which roles that are shows in the list of roles: they trust the nodes, and service accounts.
func (p *planner) removeRights() Action {
	a := Action{What: "Take the right to sts:AssumeRole from the role that the agent used: its node's, or its own. Then nothing in a pod takes another's role."}
	trusted := map[string]bool{}
	for _, arn := range slices.Sorted(maps.Keys(p.Roles)) {
		present, err := parsePolicy(p.Roles[arn].Trust)
		partition, id := accountOf(arn)
		account := trust.AWS{Partition: partition, Account: id, Audience: p.Audience}
		if err != nil || !slices.ContainsFunc(present.Statement, func(s json.RawMessage) bool { _, ours := letsIn(s, account, p.Cluster); return ours }) {
			continue
		}
		after := present
		after.Statement = slices.DeleteFunc(slices.Clone(present.Statement), func(s json.RawMessage) bool { return onlyFor(s, p.NodeRoles) })
		if len(after.Statement) < len(present.Statement) {
			a.Commands = append(a.Commands, updateTrust(arn, compact(encode(after))))
		}
		for _, s := range after.Statement {
			for _, other := range principals(s) {
				trusted[other] = true
			}
		}
	}
	switch {
	case len(trusted) > 0:
		a.What += " Workloads' roles trust these beside service accounts; say which are nodes' with --node-role, and the policies without them are printed: " + visible.Line(join(slices.Sorted(maps.Keys(trusted)))) + "."
	case p.Roles == nil:
		a.What += " With --roles or --aws, and --node-role, the policies without it are printed."
	}
	return a
}

func updateTrust(arn string, document json.RawMessage) string {
	return fmt.Sprintf("aws iam update-assume-role-policy --role-name %s --policy-document %s", word(lastPart(arn)), quote(string(document)))
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// word is one word for a POSIX shell, quoted only if it has to be.
func word(text string) string {
	if plainWord.MatchString(text) {
		return text
	}
	return quote(text)
}

// quote is for a POSIX shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// metadataPolicy lets a namespace's pods out everywhere but to the metadata address.
const metadataPolicy = `{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"no-node-metadata"},"spec":{"podSelector":{},"policyTypes":["Egress"],` +
	`"egress":[{"to":[{"ipBlock":{"cidr":"0.0.0.0/0","except":["169.254.169.254/32"]}},{"ipBlock":{"cidr":"::/0","except":["fd00:ec2::254/128"]}}]}]}}`

func closeMetadata() []Action {
	return []Action{{
		"Close the node's metadata address to pods: ask for IMDSv2 and let its answers go one hop only, which ends at the node. For the instances there are, and in what new ones are made from (launch template, " +
			"Auto Scaling group). Pods on the host's network still reach it.",
		[]string{"aws ec2 modify-instance-metadata-options --instance-id INSTANCE --http-tokens required --http-put-response-hop-limit 1"},
	}, {
		"Or, where the instances can't be changed, one of these: on every node, for the interface of the pods' network; or in every namespace, if the network plugin keeps to policies (one that lets more out adds to it).",
		[]string{
			"iptables -I FORWARD -d 169.254.169.254/32 -j DROP && ip6tables -I FORWARD -d fd00:ec2::254/128 -j DROP   # and at every start of the node",
			"echo " + quote(metadataPolicy) + " | kubectl -n NAMESPACE apply -f -",
		},
	}}
}
