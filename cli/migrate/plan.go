// Package migrate plans the way of a whole cluster from kube2iam, kiam or kube-aws-iam-controller to tokens of its own service accounts. It promises that
// the plan takes no right away and gives none that a workload does not have today; that each patch was tried on the object it is for, and so was the way
// back; and that whatever it does not plan is listed, by name, with what to do about it. It changes nothing anywhere.
package migrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"

	"github.com/kube-iam-assume/kube-iam-assume/cli/migrate/agent"
	"github.com/kube-iam-assume/kube-iam-assume/cli/migrate/inventory"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
	"github.com/kube-iam-assume/kube-iam-assume/cli/visible"
)

// ErrDecisions means that the plan, which is printed all the same, leaves something to a person.
var ErrDecisions = errors.New("the plan leaves decisions to you")

// Options are what the plan is made by.
type Options struct {
	Cluster       trust.Cluster
	Settings      agent.Settings
	Agents        []*inventory.Workload // the agent's own workloads
	Roles         agent.Roles           // nil: not known
	Audience      string
	Characters    int      // quota of a trust policy
	Expiration    int      // of tokens, in seconds
	NodeRoles     []string // ARNs by which the agent takes roles
	SplitAccounts bool     // the proposed accounts are accepted
	DefaultUnused bool     // nobody needs the agent's default role
	RulesKnown    bool     // it was said, or seen, whether the agent keeps to what namespaces allow
}

// A Plan is the steps in the order in which they are to be taken, and what stands in their way.
type Plan struct {
	Settings  agent.Settings `json:"settings"`
	Agents    []string       `json:"agents,omitempty"` // the agent's own workloads
	Issuer    string         `json:"issuer"`
	Audience  string         `json:"audience"`
	Decisions []Finding      `json:"decisions,omitempty"`
	Notes     []Finding      `json:"notes,omitempty"`
	Accounts  []Account      `json:"serviceAccounts"`
	Roles     []Role         `json:"roles"`
	Workloads []Workload     `json:"workloads"`
	Closing   Closing        `json:"closing"`
}

// A Finding is what a person should know, or decide.
type Finding struct {
	Where  string `json:"where"`
	What   string `json:"what"`
	Remedy string `json:"remedy,omitempty"`
}

// An Account is a service account to make or to use, for one role.
type Account struct {
	ServiceAccount inventory.Name       `json:"serviceAccount"`
	Make           bool                 `json:"make"`
	Role           string               `json:"role"`
	Workloads      []string             `json:"workloads"`
	From           []string             `json:"from,omitempty"`     // accounts that workloads leave for it
	Bindings       []string             `json:"bindings,omitempty"` // of those, which it lacks
	Manifest       *core.ServiceAccount `json:"manifest,omitempty"`
}

// A Role is one of IAM, with the trust policy that lets the old way and the new one in.
type Role struct {
	ARN        string          `json:"arn"`
	Accounts   []string        `json:"serviceAccounts"`
	Before     json.RawMessage `json:"before,omitempty"` // the present policy, if it is known
	Document   json.RawMessage `json:"document"`
	Whole      bool            `json:"whole"` // Document replaces the present policy; otherwise its statements are to be added
	Changed    bool            `json:"changed"`
	Characters int             `json:"characters"`      // as IAM counts them
	Parts      []Part          `json:"parts,omitempty"` // where the policy would be longer than IAM takes
}

// A Part is the trust policy of one of several roles with the same permissions, which share the service accounts.
type Part struct {
	Accounts   []string        `json:"serviceAccounts"`
	Characters int             `json:"characters"`
	Document   json.RawMessage `json:"document"`
}

// A Workload is one that changes.
type Workload struct {
	ID             string          `json:"id"` // namespace/Kind/name
	Namespace      string          `json:"namespace"`
	Kind           string          `json:"kind"`
	Name           string          `json:"name"`
	Role           string          `json:"role"`
	ServiceAccount inventory.Name  `json:"serviceAccount"`
	Switch         json.RawMessage `json:"switch,omitempty"` // patch: to the token
	Finish         json.RawMessage `json:"finish,omitempty"` // patch: the old way's traces, when the new one has proved itself
	UndoFinish     json.RawMessage `json:"undoFinish,omitempty"`
	UndoSwitch     json.RawMessage `json:"undoSwitch,omitempty"`
	Replacement    json.RawMessage `json:"replacement,omitempty"` // instead of patches: what can only be made anew
	Original       json.RawMessage `json:"original,omitempty"`    // the way back from it
	Verify         []string        `json:"verify"`
	Notes          []string        `json:"notes,omitempty"`
}

// task is a workload that is to change.
type task struct {
	*inventory.Workload
	ask     *agent.Ask
	role    string // ARN
	account inventory.Name
}

// planner makes one plan.
type planner struct {
	Options
	cluster *inventory.Cluster
	plan    *Plan
	tasks   []*task
	unread  []string // service accounts that workloads leave, and that were not read
	left    []string // workloads that use the old way and are no task
	users   map[inventory.Name][]*inventory.Workload
}

// Make plans. It has no error: what can't be planned is a decision.
func Make(c *inventory.Cluster, o Options) *Plan {
	p := &planner{Options: o, cluster: c, users: map[inventory.Name][]*inventory.Workload{}}
	p.plan = &Plan{Settings: o.Settings, Issuer: o.Cluster.Issuer, Audience: o.Audience, Accounts: []Account{}, Roles: []Role{}, Workloads: []Workload{}}
	for _, w := range o.Agents {
		p.plan.Agents = append(p.plan.Agents, w.ID())
	}
	for _, w := range c.Workloads {
		if !w.Finished {
			p.users[w.Account()] = append(p.users[w.Account()], w)
		}
	}
	for _, problem := range c.Problems {
		p.decide(problem.Where, "it could not be read: "+problem.What, "Whatever it says is missing from this plan: mend it, or the right to read it, and plan again.")
	}
	for _, warning := range (trust.Selection{Clusters: []trust.Cluster{o.Cluster}}).Warnings() {
		p.note("issuer "+o.Cluster.Issuer, strings.TrimPrefix(warning, "warning: "), "")
	}
	p.resolve()
	p.assignAccounts()
	p.writeRoles()
	for _, t := range p.tasks {
		p.change(t)
	}
	if len(p.tasks) > 0 {
		p.note("SDKs", "a container whose SDK is too old for tokens goes on by the old way while that is open, and then has nothing. They know tokens since: Java 1.12.782 and 2.10.11 (with the module sts), "+
			"Go 1.23.13 and every 2, boto3 1.9.220, botocore 1.12.200, CLI 1.16.232, JavaScript 2.525.0 and 3.27.0, Ruby 3.58.0, C++ 1.7.174, .NET 3.3.659.1 (with AWSSDK.SecurityToken), PHP 3.110.7",
			"Keys in the environment, and in some SDKs a profile's file, go before the token: docs/migrating.md has the order.")
	}
	p.close()
	return p.plan
}

func (p *planner) decide(where, what, remedy string) {
	p.plan.Decisions = append(p.plan.Decisions, seen(where, what, remedy))
}

func (p *planner) note(where, what, remedy string) {
	p.plan.Notes = append(p.plan.Notes, seen(where, what, remedy))
}

// seen is a finding whose texts stay on their lines: they stand among commands that people paste, and are annotations of whoever wrote them.
func seen(where, what, remedy string) Finding {
	return Finding{visible.Line(where), visible.Line(what), visible.Line(remedy)}
}

// rolesInOrder are the ARNs that the tasks need.
func (p *planner) rolesInOrder() []string {
	found := map[string]bool{}
	for _, t := range p.tasks {
		found[t.role] = true
	}
	return slices.Sorted(maps.Keys(found))
}

func join(names []string) string { return strings.Join(names, ", ") }

// some names the first few of many.
func some(names []string) string {
	const most = 8
	if len(names) <= most {
		return join(names)
	}
	return fmt.Sprintf("%s and %d more", join(names[:most]), len(names)-most)
}
