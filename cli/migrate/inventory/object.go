package inventory

import (
	"encoding/json"
	"fmt"
	"strings"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
		c.Namespaces[h.Metadata.Name] = h.Metadata.Annotations
	case "v1 ServiceAccount":
		var a core.ServiceAccount
		if err := json.Unmarshal(data, &a); err != nil {
			return err
		}
		c.Accounts[nameOf(h)] = a
	case "v1 Secret":
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
		role, err := ParseAWSIAMRole(data)
		if err != nil {
			return err
		}
		c.Roles[role.Name] = role
	default:
		return nil
	}
	c.Objects++
	return nil
}

func nameOf(h header) Name {
	if h.Metadata.Namespace == "" {
		h.Metadata.Namespace = "default" // as kubectl takes it
	}
	return Name{h.Metadata.Namespace, h.Metadata.Name}
}

// ParseAWSIAMRole reads the custom resource, by the version v1 of its group.
func ParseAWSIAMRole(data []byte) (AWSIAMRole, error) {
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
	if err != nil {
		return err
	}
	if owner := metav1.GetControllerOf(&h.Metadata); owner != nil && owner.Kind != "Node" {
		w.owner = owner
	}
	c.all[w.ID()] = w
	return nil
}
