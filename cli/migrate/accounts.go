package migrate

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-iam-assume/kube-iam-assume/cli/migrate/inventory"
)

const defaultAccount = "default"

// assignAccounts gives every task the service account for its role. Whoever runs as an account can have any role that trusts it, so an account is for one
// role, and the account default, which every pod of a namespace has that names none, is for no role.
func (p *planner) assignAccounts() {
	sharing := map[inventory.Name][]*task{}
	for _, t := range p.tasks {
		sharing[t.Account()] = append(sharing[t.Account()], t)
	}
	proposals := map[string]string{}
	for _, account := range slices.SortedFunc(maps.Keys(sharing), inventory.Name.Compare) {
		tasks := sharing[account]
		keeps := p.keeps(account, tasks)
		for _, t := range tasks {
			t.account = account
			if t.role == keeps {
				continue
			}
			key := account.Namespace + " " + t.role
			if proposals[key] == "" {
				proposals[key] = p.propose(account.Namespace, t.role, proposals)
			}
			t.account.Name = proposals[key]
		}
		p.conflict(account, keeps, tasks)
	}
	p.listAccounts()
}

// keeps is the role that stays with an account: the one of most workloads. A workload that was moved before counts with its role.
func (p *planner) keeps(account inventory.Name, tasks []*task) string {
	if account.Name == defaultAccount {
		return ""
	}
	count := map[string]int{}
	for _, t := range tasks {
		count[t.role]++
	}
	for _, w := range p.users[account] {
		if role := movedTo(w); role != "" {
			count[role] += len(tasks) + 1 // trusted already
		}
	}
	return slices.SortedFunc(maps.Keys(count), func(a, b string) int { return cmp.Or(count[b]-count[a], strings.Compare(a, b)) })[0]
}

// movedTo is the role that a workload takes by its token.
func movedTo(w *inventory.Workload) string {
	for _, container := range w.Template.Spec.Containers {
		role, token := "", false
		for _, v := range container.Env {
			if v.Name == "AWS_ROLE_ARN" {
				role = v.Value
			}
			token = token || v.Name == "AWS_WEB_IDENTITY_TOKEN_FILE"
		}
		if role != "" && token {
			return role
		}
	}
	return ""
}

func (p *planner) conflict(account inventory.Name, keeps string, tasks []*task) {
	moves := map[string][]string{}
	for _, t := range tasks {
		if t.role != keeps {
			moves[t.role+" as "+t.account.String()] = append(moves[t.role+" as "+t.account.String()], t.ID())
		}
	}
	if account.Name == defaultAccount || len(moves) == 0 {
		return
	}
	what := fmt.Sprintf("workloads share this account, and not a role. It stays with %s;", keeps)
	for _, role := range slices.Sorted(maps.Keys(moves)) {
		what += fmt.Sprintf(" %s: %s;", role, join(moves[role]))
	}
	what = strings.TrimSuffix(what, ";")
	if bound := p.cluster.Bindings[account]; len(bound) > 0 {
		what += ". Those that move lose its rights in Kubernetes: " + join(bound)
	}
	if p.SplitAccounts {
		p.note("service account "+account.String(), what, "You accepted this with --split-accounts.")
		return
	}
	p.decide("service account "+account.String(), what, "Accept this with --split-accounts, or give the workloads accounts of your choice first.")
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// propose names an account for a role after the role. An account that exists is taken only if it gives nobody anything by surprise.
func (p *planner) propose(namespace, role string, proposals map[string]string) string {
	base := strings.Trim(notInName.ReplaceAllString(strings.ToLower(path.Base(role)), "-"), "-")
	for number := 1; ; number++ {
		name := inventory.Name{Namespace: namespace, Name: base}
		if number > 1 || base == "" || base == defaultAccount {
			name.Name = strings.TrimPrefix(fmt.Sprintf("%s-aws-%d", base, number), "-")
		}
		if p.free(name, role, proposals) {
			return name.Name
		}
	}
}

func (p *planner) free(name inventory.Name, role string, proposals map[string]string) bool {
	for key, taken := range proposals {
		if taken == name.Name && strings.HasPrefix(key, name.Namespace+" ") {
			return false
		}
	}
	if _, exists := p.cluster.Accounts[name]; exists && len(p.users[name]) == 0 && len(p.cluster.Bindings[name]) > 0 {
		return false
	}
	for _, w := range p.users[name] {
		if !slices.ContainsFunc(p.tasks, func(t *task) bool { return t.Workload == w && t.role == role }) {
			return false
		}
	}
	return true
}

func (p *planner) listAccounts() {
	byName := map[inventory.Name]*Account{}
	for _, t := range p.tasks {
		a := byName[t.account]
		if a == nil {
			a = &Account{ServiceAccount: t.account, Role: t.role}
			byName[t.account] = a
		}
		a.Workloads = append(a.Workloads, t.ID())
		if from := t.Account(); from.Name != t.account.Name && !slices.Contains(a.From, from.String()) {
			a.From = append(a.From, from.String())
			for _, binding := range p.cluster.Bindings[from] {
				if !slices.Contains(p.cluster.Bindings[t.account], binding) {
					a.Bindings = append(a.Bindings, binding)
				}
			}
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(byName), inventory.Name.Compare) {
		a := byName[name]
		if _, read := p.cluster.Accounts[name]; !read && len(p.users[name]) == 0 { // what pods run as is there, read or not
			p.manifest(a)
		}
		p.plan.Accounts = append(p.plan.Accounts, *a)
		p.warnAccount(a)
	}
	if slices.Sort(p.unread); len(p.unread) > 0 {
		p.note("service accounts", "these were not read, so the new accounts lack their imagePullSecrets: "+some(slices.Compact(p.unread)), "Read serviceaccounts, too, and plan again.")
	}
}

// manifest makes an account that has what its workloads have through their present ones: the secrets for pulling images, above all.
func (p *planner) manifest(a *Account) {
	a.Make = true
	a.Manifest = &core.ServiceAccount{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta: metav1.ObjectMeta{Namespace: a.ServiceAccount.Namespace, Name: a.ServiceAccount.Name},
	}
	for _, from := range a.From {
		namespace, name, _ := strings.Cut(from, "/")
		old, read := p.cluster.Accounts[inventory.Name{Namespace: namespace, Name: name}]
		if !read {
			p.unread = append(p.unread, from)
			continue
		}
		for _, secret := range old.ImagePullSecrets {
			if !slices.Contains(a.Manifest.ImagePullSecrets, secret) {
				a.Manifest.ImagePullSecrets = append(a.Manifest.ImagePullSecrets, secret)
			}
		}
		if old.AutomountServiceAccountToken != nil {
			a.Manifest.AutomountServiceAccountToken = old.AutomountServiceAccountToken
		}
	}
}

func (p *planner) warnAccount(a *Account) {
	if len(a.Bindings) > 0 {
		p.note("service account "+a.ServiceAccount.String(), "workloads come to it from "+join(a.From)+", which these bind to rights in Kubernetes: "+some(a.Bindings),
			"Bind the new account as well if they use the API server.")
	}
	var others []string
	for _, w := range p.users[a.ServiceAccount] {
		asks := slices.ContainsFunc(p.tasks, func(t *task) bool { return t.Workload == w })
		if !asks && movedTo(w) != a.Role {
			others = append(others, w.ID())
		}
	}
	if len(others) > 0 {
		p.note("service account "+a.ServiceAccount.String(), "workloads that ask for no role run as it, too, and could then take "+a.Role+": "+some(others),
			"Give them another account if they should not.")
	}
}
