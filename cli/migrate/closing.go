package migrate

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/cli/migrate/agent"
	"github.com/kube-iam-assume/kube-iam-assume/cli/migrate/inventory"
)

// Closing is the last step: the old agent goes, and nothing in a pod reaches the node's metadata any more.
type Closing struct {
	Ready   bool     `json:"ready"`          // nothing uses the old way
	Left    []string `json:"left,omitempty"` // what still does, with what could not be planned
	Needs   []string `json:"needsMetadata,omitempty"`
	Actions []Action `json:"actions"`
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
	c.Actions = append(c.Actions, p.removeAgent(), p.removeRules(), p.removeRights())
	c.Actions = append(c.Actions, p.closeMetadata()...)
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
	a := Action{What: fmt.Sprintf("Take %s away, after a day on which its log and its metrics showed no request for credentials.", p.Settings.Agent)}
	for _, w := range p.Agents {
		a.Commands = append(a.Commands, fmt.Sprintf("kubectl -n %s delete %s %s", w.Namespace, strings.ToLower(w.Kind), w.Name.Name))
	}
	if p.Settings.Agent == agent.Controller {
		for _, name := range slices.SortedFunc(maps.Keys(p.cluster.Roles), func(a, b inventory.Name) int { return strings.Compare(a.String(), b.String()) }) {
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
	a.What += " Its iptables rule, which sends 169.254.169.254 to it, stays on every node until it is deleted or the node restarts: close the address before."
	return a
}

func (p *planner) removeRules() Action {
	var commands []string
	for _, namespace := range slices.Sorted(maps.Keys(p.cluster.Namespaces)) {
		if _, found := p.cluster.Namespaces[namespace][p.Settings.NamespaceKey]; found && p.Settings.NamespaceKey != "" {
			commands = append(commands, fmt.Sprintf("kubectl annotate namespace %s %s-", namespace, p.Settings.NamespaceKey))
		}
	}
	if len(commands) == 0 {
		return Action{}
	}
	return Action{"Take the namespaces' annotations away, which mean nothing without the agent.", commands}
}

// removeRights ends what the old way needed in IAM.
func (p *planner) removeRights() Action {
	a := Action{What: "Take the right to sts:AssumeRole from the role that the agent used: its node's, or its own. Nothing in a pod can take another's role after that."}
	if trusted := p.trusted(); len(p.NodeRoles) == 0 && len(trusted) > 0 {
		a.What += " The roles of this plan trust: " + join(trusted) + "; say which are nodes' with --node-role, and the policies without them are printed."
	}
	for _, r := range p.plan.Roles {
		if len(r.After) > 0 {
			a.Commands = append(a.Commands, updateTrust(r.ARN, r.After))
		}
	}
	return a
}

func (p *planner) trusted() []string {
	found := map[string]bool{}
	for _, r := range p.plan.Roles {
		before, err := parsePolicy(r.Before)
		if err != nil {
			continue // it is not known
		}
		for _, statement := range before.Statement {
			var s struct {
				Principal map[string]json.RawMessage `json:"Principal"`
			}
			if json.Unmarshal(statement, &s) == nil {
				for _, arn := range texts(s.Principal["AWS"]) {
					found[arn] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func updateTrust(arn string, document json.RawMessage) string {
	return fmt.Sprintf("aws iam update-assume-role-policy --role-name %s --policy-document %s", lastPart(arn), quote(string(document)))
}

// quote is for a POSIX shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// metadataPolicy lets a namespace's pods out everywhere but to the metadata address.
const metadataPolicy = `{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"no-node-metadata"},"spec":{"podSelector":{},"policyTypes":["Egress"],` +
	`"egress":[{"to":[{"ipBlock":{"cidr":"0.0.0.0/0","except":["169.254.169.254/32"]}},{"ipBlock":{"cidr":"::/0","except":["fd00:ec2::254/128"]}}]}]}}`

func (p *planner) closeMetadata() []Action {
	actions := []Action{{
		"Close the node's metadata address to pods: ask for IMDSv2 and let its answers go one hop only, which ends at the node. For the instances there are, and in what new ones are made from (launch template, " +
			"Auto Scaling group). Pods on the host's network still reach it.",
		[]string{"aws ec2 modify-instance-metadata-options --instance-id INSTANCE --http-tokens required --http-put-response-hop-limit 1"},
	}}
	return append(actions, Action{
		"Or, where the instances can't be changed, one of these: on every node, for the interface of the pods' network; or in every namespace, if the network plugin keeps to policies (one that lets more out adds to it).",
		[]string{
			"iptables -I FORWARD -d 169.254.169.254/32 -j DROP && ip6tables -I FORWARD -d fd00:ec2::254/128 -j DROP   # and at every start of the node",
			"kubectl -n NAMESPACE apply -f - <<< " + quote(metadataPolicy),
		},
	})
}
