// Package inventory is what a cluster holds that decides how its pods get at AWS: workloads, service accounts with their bindings, namespaces, and the
// objects of kube-aws-iam-controller. It reads and never writes, never looks into a Secret, and loses nothing for one object that can't be read: that one is
// in Problems, by name.
package inventory

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A Name is that of an object in a namespace.
type Name struct{ Namespace, Name string }

func (n Name) String() string { return n.Namespace + "/" + n.Name }

// Compare orders names.
func (n Name) Compare(other Name) int { return strings.Compare(n.String(), other.String()) }

// MarshalText is namespace/name.
func (n Name) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText reads namespace/name.
func (n *Name) UnmarshalText(text []byte) error {
	n.Namespace, n.Name, _ = strings.Cut(string(text), "/")
	return nil
}

// A Workload is what makes pods, or a pod that nothing makes.
type Workload struct {
	Name
	Kind, APIVersion string
	Object           json.RawMessage // as it was read
	Annotations      map[string]string
	Template         core.PodTemplateSpec
	Controller       string // Kind/Name of what made it, if that was not read: the place where it is to be changed
	Finished         bool   // it ran, and runs no more
	Pods             []Pod  // that run and are made from it

	owner *metav1.OwnerReference
}

// A Pod is one that runs.
type Pod struct {
	Name        string
	Annotations map[string]string
}

// ID is Kind/Name in its namespace.
func (w *Workload) ID() string { return w.Namespace + "/" + w.Kind + "/" + w.Name.Name }

// Account is the service account that its pods run as.
func (w *Workload) Account() Name {
	return Name{w.Namespace, cmp.Or(w.Template.Spec.ServiceAccountName, w.Template.Spec.DeprecatedServiceAccount, "default")}
}

// An AWSIAMRole is the custom resource of kube-aws-iam-controller, which makes a Secret of its name.
type AWSIAMRole struct {
	Name
	Reference string // name or ARN
	Duration  int64  // of sessions, in seconds; 0: an hour
	ARN       string // that the controller resolved
}

// A Problem is what could not be read.
type Problem struct{ Where, What string }

// A Cluster is everything that was read.
type Cluster struct {
	Workloads  []*Workload // those that nothing which was read has made; sorted by ID
	Accounts   map[Name]core.ServiceAccount
	Namespaces map[string]map[string]string // annotations
	Bindings   map[Name][]string            // RoleBindings and ClusterRoleBindings that name an account
	Roles      map[Name]AWSIAMRole
	Secrets    []Name // that kube-aws-iam-controller made
	Problems   []Problem
	Objects    int // that were read

	all map[string]*Workload // by ID, those with an owner included
}

// New is an empty inventory.
func New() *Cluster {
	return &Cluster{
		Accounts: map[Name]core.ServiceAccount{}, Namespaces: map[string]map[string]string{}, Bindings: map[Name][]string{}, Roles: map[Name]AWSIAMRole{},
		all: map[string]*Workload{},
	}
}

// Finish settles which workload belongs to which, when everything is read.
func (c *Cluster) Finish() {
	c.Workloads = nil
	outside := map[string]*Workload{}
	for _, id := range slices.Sorted(maps.Keys(c.all)) {
		w := c.all[id]
		top := c.top(w)
		switch {
		case top == w && w.owner == nil:
			c.Workloads = append(c.Workloads, w)
		case top.owner != nil:
			c.outside(outside, top, w)
		}
		if w.Kind == "Pod" && !w.Finished && top != w {
			top.Pods = append(top.Pods, Pod{w.Name.Name, w.Template.Annotations})
		}
	}
	for _, w := range outside {
		c.Workloads = append(c.Workloads, w)
	}
	slices.SortFunc(c.Workloads, func(a, b *Workload) int { return strings.Compare(a.ID(), b.ID()) })
	for _, bound := range c.Bindings {
		slices.Sort(bound)
	}
	slices.SortFunc(c.Secrets, Name.Compare)
}

// deepest is more than any chain of owners: Pod, Job, CronJob.
const deepest = 8

// top is the workload that, through others, made this one, as far as they were read.
func (c *Cluster) top(w *Workload) *Workload {
	for range deepest {
		if w.owner == nil {
			break
		}
		above, found := c.all[w.Namespace+"/"+w.owner.Kind+"/"+w.owner.Name]
		if !found {
			break
		}
		w = above
	}
	return w
}

// outside stands for something that was not read by what it made: one entry, however many pods.
func (c *Cluster) outside(found map[string]*Workload, top, w *Workload) {
	if w.Finished {
		return
	}
	id := top.Namespace + "/" + top.owner.Kind + "/" + top.owner.Name
	if _, seen := found[id]; seen {
		return
	}
	stands := *top
	stands.Kind, stands.APIVersion, stands.Name.Name = top.owner.Kind, top.owner.APIVersion, top.owner.Name
	stands.Controller, stands.owner, stands.Object, stands.Pods = top.owner.Kind+"/"+top.owner.Name, nil, nil, nil
	found[id] = &stands
}

func (c *Cluster) problem(where string, err error) {
	c.Problems = append(c.Problems, Problem{where, err.Error()})
}

func (c *Cluster) bind(binding string, namespace string, subjects []rbac.Subject) {
	for _, s := range subjects {
		if s.Kind == rbac.ServiceAccountKind {
			account := Name{cmp.Or(s.Namespace, namespace), s.Name}
			c.Bindings[account] = append(c.Bindings[account], binding)
		}
	}
}

var errNameless = errors.New("it has no name")
