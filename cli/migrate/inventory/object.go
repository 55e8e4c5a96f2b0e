package inventory

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// header is what every object has.
type header struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   metav1.ObjectMeta `json:"metadata"`
	Items      []json.RawMessage `json:"items"`
}

// maxDepth is that of lists in lists.
const maxDepth = 4

// add puts one object in, or each of a list. Items of a typed list say nothing of their kind: it is the list's.
func (c *Cluster) add(where string, data []byte, kind, version string, depth int) {
	var h header
	if err := json.Unmarshal(data, &h); err != nil {
		c.problem(where, err)
		return
	}
	if h.Kind == "" || kind == "Secret" { // of a Secret only PartialObjectMetadata was asked for, which says so
		h.Kind, h.APIVersion = kind, version
	}
	if item, list := strings.CutSuffix(h.Kind, "List"); list && depth < maxDepth {
		for i, each := range h.Items {
			c.add(fmt.Sprintf("%s, item %d", where, i+1), each, item, h.APIVersion, depth+1)
		}
		return
	}
	if where = where + ": " + h.Kind + " " + h.Metadata.Name; h.Metadata.Namespace != "" {
		where += " in namespace " + h.Metadata.Namespace
	}
	if err := c.object(h, data); err != nil {
		c.problem(where, err)
	}
}

func (c *Cluster) object(h header, data []byte) error {
	group, _, _ := strings.Cut(h.APIVersion, "/")
	switch group + " " + h.Kind {
	case "apps Deployment", "apps StatefulSet", "apps DaemonSet", "apps ReplicaSet", "batch Job", "batch CronJob", "v1 Pod", "v1 ReplicationController":
		return c.workload(h, data)
	case "v1 Namespace":
		if err := h.names(); err != nil {
			return err
		}
		c.Namespaces[h.Metadata.Name] = h.Metadata.Annotations
	case "v1 ServiceAccount":
		var a core.ServiceAccount
		if err := errors.Join(h.names(), json.Unmarshal(data, &a)); err != nil {
			return err
		}
		c.Accounts[nameOf(h)] = a
	case "v1 Secret":
		if err := h.names(); err != nil {
			return err
		}
		if h.Metadata.Labels["heritage"] == "kube-aws-iam-controller" {
			c.Secrets = append(c.Secrets, nameOf(h))
		}
	case "rbac.authorization.k8s.io RoleBinding", "rbac.authorization.k8s.io ClusterRoleBinding":
		var b rbac.RoleBinding // a ClusterRoleBinding has the same members
		if err := json.Unmarshal(data, &b); err != nil {
			return err
		}
		c.bind(strings.Trim(h.Kind+" "+h.Metadata.Namespace+"/"+h.Metadata.Name, "/"), h.Metadata.Namespace, b.Subjects)
	case "zalando.org AWSIAMRole":
		role, err := parseAWSIAMRole(data)
		if err = errors.Join(h.names(), err); err != nil {
			return err
		}
		c.Roles[role.Name] = role
	default:
		return nil
	}
	c.Objects++
	return nil
}

// errName means that a name is none that an API server takes. Names become words of commands, and of files' names.
var errName = errors.New("no name of Kubernetes")

// names is errName if no API server would have taken the object's; a file may have anything. Bindings' names are not held to it: they may be anything.
func (h header) names() error {
	for _, name := range []string{h.Metadata.Namespace, h.Metadata.Name} {
		if err := checkName(name); err != nil {
			return err
		}
	}
	return nil
}

func checkName(name string) error {
	if name != "" && len(validation.IsDNS1123Subdomain(name)) > 0 {
		return fmt.Errorf("%w: %.300q", errName, name)
	}
	return nil
}

// kindPattern is what kinds are made of. API servers take any text for that of an owner, from whoever may make a pod.
var kindPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,62}$`)

// ownerOf is what made an object, or nil. The error is errName.
func ownerOf(m *metav1.ObjectMeta) (*metav1.OwnerReference, error) {
	owner := metav1.GetControllerOf(m)
	switch {
	case owner == nil || owner.Kind == "Node":
		return nil, nil //nolint:nilnil // nothing made it, which is no error
	case !kindPattern.MatchString(owner.Kind):
		return nil, fmt.Errorf("%w: its owner's kind %.300q", errName, owner.Kind)
	}
	return owner, checkName(owner.Name)
}

func nameOf(h header) Name {
	if h.Metadata.Namespace == "" {
		h.Metadata.Namespace = "default" // as kubectl takes it
	}
	return Name{h.Metadata.Namespace, h.Metadata.Name}
}

// parseAWSIAMRole reads the custom resource, by the version v1 of its group.
func parseAWSIAMRole(data []byte) (AWSIAMRole, error) {
	var o struct {
		Metadata struct{ Name, Namespace string }
		Spec     struct {
			RoleReference       string `json:"roleReference"`
			RoleSessionDuration int64  `json:"roleSessionDuration"`
		}
		Status struct {
			RoleARN string `json:"roleARN"`
		}
	}
	if err := json.Unmarshal(data, &o); err != nil {
		return AWSIAMRole{}, err
	}
	if o.Metadata.Name == "" {
		return AWSIAMRole{}, errNameless
	}
	if o.Metadata.Namespace == "" {
		o.Metadata.Namespace = "default"
	}
	return AWSIAMRole{Name{o.Metadata.Namespace, o.Metadata.Name}, o.Spec.RoleReference, o.Spec.RoleSessionDuration, o.Status.RoleARN}, nil
}

// workload reads what has pods. Where their template is depends on the kind.
func (c *Cluster) workload(h header, data []byte) error {
	if h.Metadata.Name == "" {
		return errNameless
	}
	if err := h.names(); err != nil {
		return err
	}
	w := &Workload{Name: nameOf(h), Kind: h.Kind, APIVersion: h.APIVersion, Object: data, Annotations: h.Metadata.Annotations}
	var err error
	switch h.Kind {
	case "Pod":
		var o core.Pod
		err = json.Unmarshal(data, &o)
		w.Template = core.PodTemplateSpec{ObjectMeta: o.ObjectMeta, Spec: o.Spec}
		w.Finished = o.Status.Phase == core.PodSucceeded || o.Status.Phase == core.PodFailed
	case "CronJob":
		var o batch.CronJob
		err = json.Unmarshal(data, &o)
		w.Template = o.Spec.JobTemplate.Spec.Template
	case "Job":
		var o batch.Job
		err = json.Unmarshal(data, &o)
		w.Template = o.Spec.Template
		for _, condition := range o.Status.Conditions {
			w.Finished = w.Finished || (condition.Type == batch.JobComplete || condition.Type == batch.JobFailed) && condition.Status == core.ConditionTrue
		}
	default: // all others have it where a Deployment has it
		var o apps.Deployment
		err = json.Unmarshal(data, &struct {
			Spec any `json:"spec"`
		}{&struct {
			Template *core.PodTemplateSpec `json:"template"`
		}{&o.Spec.Template}})
		w.Template = o.Spec.Template
	}
	if err == nil {
		err = checkName(w.Account().Name)
	}
	if err != nil {
		return err
	}
	if w.owner, err = ownerOf(&h.Metadata); err != nil {
		return err
	}
	c.all[w.ID()] = w
	return nil
}
