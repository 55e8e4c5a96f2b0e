package migrate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/cli/migrate/agent"
	"github.com/kube-iam-assume/kube-iam-assume/cli/migrate/inventory"
	"github.com/kube-iam-assume/kube-iam-assume/cli/workload"
)

// resolve finds out which workload gets which role today. Only those become tasks: one that gets none must not get one by being migrated.
func (p *planner) resolve() {
	rules := map[string]agent.Rules{}
	for _, namespace := range slices.Sorted(maps.Keys(p.cluster.Namespaces)) {
		r, err := p.Settings.Rules(p.cluster.Namespaces[namespace])
		if err != nil {
			p.decide("namespace "+namespace, err.Error(), "What can't be read allows nothing, today either. Mend the annotation, or remove it.")
		}
		rules[namespace] = r
	}
	var byDefault []string
	for _, w := range p.cluster.Workloads {
		if w.Finished || slices.Contains(p.Agents, w) {
			continue
		}
		p.misplaced(w)
		ask, err := p.Settings.Asks(p.cluster, w.Namespace, w.Template)
		switch {
		case errors.Is(err, agent.ErrSeveral):
			p.refuse(w, err, "One token is for one role: give one of them the rights of both, or make two workloads of it.")
		case err != nil:
			p.refuse(w, err, "Its pods get no role today. Name the role it needs, or take the request away.")
		case ask == nil:
			p.strayPods(w, "")
		case ask.ByDefault && movedTo(w) != "": // it has its role by a token
		case ask.ByDefault:
			byDefault = append(byDefault, w.ID())
		default:
			p.strayPods(w, ask.Written)
			p.one(w, ask, rules)
		}
	}
	p.defaultRole(byDefault)
	p.agentUnseen()
	p.agentsElsewhere()
	p.namespaces(rules)
}

// agentUnseen says what was taken for granted of an agent that was not among what was read.
func (p *planner) agentUnseen() {
	if len(p.Agents) > 0 {
		return
	}
	p.note(p.Settings.Agent, "its own workload was not found, so what flags don't say is taken to be as it is without arguments", "Read its namespace, too; or say its arguments by flags.")
	var rules []string
	for _, namespace := range slices.Sorted(maps.Keys(p.cluster.Namespaces)) {
		if p.cluster.Namespaces[namespace][p.Settings.NamespaceKey] != "" {
			rules = append(rules, namespace)
		}
	}
	if p.Settings.Agent == agent.Kube2IAM && !p.RulesKnown && len(rules) > 0 {
		p.decide(p.Settings.Agent, "nobody said whether it keeps to "+p.Settings.NamespaceKey+", which these namespaces have: "+some(rules), "Say --namespace-restrictions, or --namespace-restrictions=false: without them the annotation means nothing.")
	}
}

// agentsElsewhere leaves it to a person which of several is the agent: whoever may make a pod can call its image so, and give it arguments by which every
// namespace allows every role.
func (p *planner) agentsElsewhere() {
	var ids []string
	several := false
	for _, w := range p.Agents {
		ids = append(ids, w.ID())
		several = several || w.Namespace != p.Agents[0].Namespace
	}
	if several {
		p.left = append(p.left, ids...)
		p.decide(p.Settings.Agent, "it seems to run in several namespaces, and this plan mixes the arguments: "+some(ids), "Say which with --agent-namespace, and plan again before you do any of this.")
	}
}

// one makes a task of a workload, if it gets the role that it asks for, and a token has its place in it.
func (p *planner) one(w *inventory.Workload, ask *agent.Ask, rules map[string]agent.Rules) {
	arn, err := p.arn(ask)
	if err != nil {
		p.refuse(w, err, "Write the role's name, with its path if it has one, or its ARN.")
		return
	}
	if err := p.allowed(w.Namespace, arn, ask.Written, rules); err != nil {
		p.refuse(w, err, "It does not work today, either. Take the request away, or allow the role, and plan again.")
		return
	}
	if w.Kind == "Pod" && w.Annotations[mirrored] != "" {
		p.refuse(w, errors.New("it is a static pod, which can't have a service account"), "Make a Deployment or DaemonSet of it.")
		return
	}
	t := &task{Workload: w, ask: ask, role: arn, account: w.Account()}
	if _, _, err := p.switched(t); err != nil {
		p.refuse(w, errors.New(strings.TrimPrefix(err.Error(), workload.ErrFile.Error()+": ")), "Change the workload so that the token has its place, and plan again.")
		return
	}
	p.tasks = append(p.tasks, t)
}

// mirrored is the annotation of a pod that a node made of a file.
const mirrored = "kubernetes.io/config.mirror"

// arn is the role that the agent takes for an ask, if there can be one. The error is agent.ErrRole.
func (p *planner) arn(ask *agent.Ask) (string, error) {
	arn, err := p.Settings.ARN(ask.Written)
	switch {
	case err != nil && ask.ARN != "":
		arn = ask.ARN
	case err != nil:
		return "", err
	}
	if _, err := workload.AWS(arn, p.Audience); err != nil {
		return "", fmt.Errorf("%w: %q is not the ARN of one", agent.ErrRole, arn)
	}
	_, err = p.Roles.Find(arn)
	return arn, err
}

// allowed is nil if the namespace's pods get the role. The error is agent.ErrRefused.
func (p *planner) allowed(namespace, arn, written string, rules map[string]agent.Rules) error {
	if !p.Settings.Restricted {
		return nil
	}
	if ofDefault, err := p.Settings.ARN(p.Settings.DefaultRole); p.Settings.DefaultRole != "" && err == nil && arn == ofDefault {
		return nil
	}
	asked := p.heldAgainst(arn, written)
	allowed, known := rules[namespace]
	switch {
	case !known:
		return fmt.Errorf("%w: namespace %s was not read, so nobody knows whether it allows %s", agent.ErrRefused, namespace, asked)
	case !allowed.Allow(asked):
		return fmt.Errorf("%w: it asks for %s, which the annotation %s of its namespace does not allow (%s)", agent.ErrRefused, asked, p.Settings.NamespaceKey, quoted(allowed.Patterns()))
	}
	return nil
}

func quoted(patterns []string) string {
	if len(patterns) == 0 {
		return "it names none"
	}
	return fmt.Sprintf("%q", patterns)
}

func (p *planner) refuse(w *inventory.Workload, err error, remedy string) {
	p.left = append(p.left, w.ID())
	p.decide(w.ID(), err.Error(), remedy)
}

// misplaced is the annotation where no agent looks.
func (p *planner) misplaced(w *inventory.Workload) {
	if p.Settings.RoleKey == "" || w.Kind == "Pod" || w.Controller != "" {
		return
	}
	if role, found := w.Annotations[p.Settings.RoleKey]; found && w.Template.Annotations[p.Settings.RoleKey] == "" {
		p.note(w.ID(), fmt.Sprintf("it has %s: %s on itself, and not on its pods' template, where alone it works", p.Settings.RoleKey, role),
			"Its pods don't get this role today, so nothing is planned. Put it on the template if they should.")
	}
}

// strayPods run with another request than their template makes: an older revision, or a webhook.
func (p *planner) strayPods(w *inventory.Workload, written string) {
	if p.Settings.RoleKey == "" {
		return
	}
	var stray []string
	for _, pod := range w.Pods {
		if asks := pod.Annotations[p.Settings.RoleKey]; asks != written {
			stray = append(stray, fmt.Sprintf("%s (%q)", pod.Name, asks))
		}
	}
	if len(stray) > 0 {
		p.note(w.ID(), fmt.Sprintf("its template asks for %q, and running pods ask for something else: %s", written, some(stray)),
			"They are of another revision, or an admission webhook adds the annotation. The plan goes by the template.")
	}
}

func (p *planner) defaultRole(users []string) {
	if len(users) == 0 || p.DefaultUnused {
		return
	}
	p.left = append(p.left, users...)
	name := p.Settings.DefaultRole
	if name == "" {
		name = "(the node's)"
	}
	p.decide("kube2iam's default role "+name, fmt.Sprintf("%d workloads ask for no role, and so can get it, whether or not they need it: %s", len(users), some(users)),
		"CloudTrail's AssumeRole events of the role say who does. Annotate those with "+p.Settings.RoleKey+" (nothing changes for them), and plan again with --default-unused.")
}

// namespaces says what patterns come to: exact roles, and which of them nobody uses.
func (p *planner) namespaces(rules map[string]agent.Rules) {
	for _, namespace := range slices.Sorted(maps.Keys(rules)) {
		patterns := rules[namespace].Patterns()
		if len(patterns) == 0 {
			continue
		}
		used := p.usedIn(namespace)
		what := fmt.Sprintf("%q allows, of what its workloads use: %s", patterns, some(used))
		if len(used) == 0 {
			what = fmt.Sprintf("%q allows roles that none of its workloads uses", patterns)
		}
		var idle []string
		for _, arn := range slices.Sorted(maps.Keys(p.Roles)) {
			if rules[namespace].Allow(p.heldAgainst(arn, arn[strings.Index(arn, "/")+1:])) && !slices.Contains(used, arn) {
				idle = append(idle, arn)
			}
		}
		if len(idle) > 0 {
			what += fmt.Sprintf("; and of the list of roles, unused: %s", some(idle))
		}
		p.note("namespace "+namespace, what, "Only roles in use come to trust a service account, exactly; the rest of the pattern ends with the old agent.")
	}
}

// heldAgainst is what the agent holds a namespace's patterns against.
func (p *planner) heldAgainst(arn, written string) string {
	if p.Settings.OnNames {
		return written
	}
	return arn
}

// usedIn are the roles that a namespace's workloads get.
func (p *planner) usedIn(namespace string) []string {
	used := map[string]bool{}
	for _, t := range p.tasks {
		if t.Namespace == namespace {
			used[t.role] = true
		}
	}
	return slices.Sorted(maps.Keys(used))
}
