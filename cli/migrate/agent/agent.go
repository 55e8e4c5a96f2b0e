// Package agent knows how kube2iam, kiam and kube-aws-iam-controller decide which IAM role a pod gets: by which annotation or Secret it asks, how a name
// becomes an ARN, and which roles its namespace allows. It decides as they do, their oddities included, because a plan that differs from what happens in
// the cluster today would take rights away, or give some. It is pure.
package agent

import (
	"errors"
	"fmt"
	"path"
	"strings"

	core "k8s.io/api/core/v1"

	"github.com/kube-iam-assume/kube-iam-assume/cli/migrate/inventory"
)

// The agents.
const (
	Kube2IAM   = "kube2iam"
	Kiam       = "kiam"
	Controller = "kube-aws-iam-controller"
)

var (
	// ErrRole means that what a workload asks for is no role; its pods get none today.
	ErrRole = errors.New("no role")
	// ErrRefused means that the namespace does not allow the role; its pods don't get it today.
	ErrRefused = errors.New("not allowed")
	// ErrSeveral means that a workload has the credentials of several roles; one token is for one.
	ErrSeveral = errors.New("several roles")
	// ErrRules means that what a namespace allows can't be read; its pods get no role today.
	ErrRules = errors.New("unreadable")
)

// Settings are an agent's flags, as far as they decide who gets what.
type Settings struct {
	Agent         string `json:"agent"`
	BaseARN       string `json:"baseARN,omitempty"`
	RoleKey       string `json:"roleAnnotation,omitempty"`
	ExternalIDKey string `json:"externalIDAnnotation,omitempty"`
	SessionKey    string `json:"sessionNameAnnotation,omitempty"`
	NamespaceKey  string `json:"namespaceAnnotation,omitempty"`
	DefaultRole   string `json:"defaultRole,omitempty"`
	NodeDefault   bool   `json:"defaultRoleOfNode,omitempty"` // the default role is the node's, as the agent finds it
	Restricted    bool   `json:"namespacesRestricted"`
	Format        string `json:"namespaceFormat,omitempty"`      // glob, regexp (kube2iam); anchored, regexp (kiam)
	OnNames       bool   `json:"namespacesAllowNames,omitempty"` // kiam before version 4: what a namespace allows is held against the role as written, not its ARN
	AssumeRole    string `json:"assumeRole,omitempty"`           // which the agent takes before it takes those of pods
}

// Defaults are the settings of an agent without flags.
func Defaults(agent string) Settings {
	const group = "iam.amazonaws.com/"
	switch agent {
	case Kube2IAM:
		return Settings{Agent: agent, RoleKey: group + "role", ExternalIDKey: group + "external-id", NamespaceKey: group + "allowed-roles", Format: "glob"}
	case Kiam:
		return Settings{
			Agent: agent, RoleKey: group + "role", ExternalIDKey: group + "external-id", SessionKey: group + "session-name",
			NamespaceKey: group + "permitted", Restricted: true, Format: "anchored",
		}
	}
	return Settings{Agent: agent}
}

// An Ask is what a workload's pods want.
type Ask struct {
	Written     string // as it is written: name, path and name, or ARN
	ARN         string // that the agent made of it, if it says so
	ByDefault   bool   // the pods ask for nothing, and may get the agent's default role
	ExternalID  string
	SessionName string
	Duration    int64    // of sessions, in seconds; 0: the agent's
	Secrets     []string // that hold the credentials
}

// Asks is what a pod template wants, or nil. The errors are ErrRole and ErrSeveral.
func (s Settings) Asks(c *inventory.Cluster, namespace string, template core.PodTemplateSpec) (*Ask, error) {
	if s.Agent == Controller {
		return controllerAsk(c, namespace, template.Spec)
	}
	written, found := template.Annotations[s.RoleKey]
	switch {
	case found && written == "" && s.Agent == Kube2IAM:
		return nil, fmt.Errorf("%w: the annotation %s is empty", ErrRole, s.RoleKey)
	case written != "":
		return &Ask{Written: written, ExternalID: template.Annotations[s.ExternalIDKey], SessionName: template.Annotations[s.SessionKey]}, nil
	case (s.DefaultRole != "" || s.NodeDefault) && !template.Spec.HostNetwork:
		return &Ask{Written: s.DefaultRole, ByDefault: true}, nil
	}
	return nil, nil
}

// namedSecretPrefix begins the names of Secrets that stand for a role without a custom resource; the rest is the role's name.
const namedSecretPrefix = "aws-iam-"

// controllerAsk goes by the Secrets that are mounted. A custom resource goes before a name: its Secret bears the resource's own name.
func controllerAsk(c *inventory.Cluster, namespace string, spec core.PodSpec) (*Ask, error) {
	var ask *Ask
	for _, secret := range MountedSecrets(spec) {
		name := inventory.Name{Namespace: namespace, Name: secret}
		role, custom := c.Roles[name]
		reference, named := strings.CutPrefix(secret, namedSecretPrefix)
		switch {
		case custom:
			reference = role.Reference
		case !named && madeByController(c, name):
			return nil, fmt.Errorf("%w: nothing says which role the Secret %s is for: no AWSIAMRole has its name", ErrRole, secret)
		case !named:
			continue
		}
		if reference == "" {
			return nil, fmt.Errorf("%w: the AWSIAMRole %s has no roleReference", ErrRole, secret)
		}
		if ask != nil && ask.Written != reference {
			return nil, fmt.Errorf("%w: it mounts the credentials of %s and of %s", ErrSeveral, ask.Written, reference)
		}
		if ask == nil {
			ask = &Ask{Written: reference, ARN: role.ARN, Duration: role.Duration}
		}
		ask.Secrets = append(ask.Secrets, secret)
	}
	return ask, nil
}

func madeByController(c *inventory.Cluster, secret inventory.Name) bool {
	for _, each := range c.Secrets {
		if each == secret {
			return true
		}
	}
	return false
}

// MountedSecrets are the Secrets that volumes of a pod are made of.
func MountedSecrets(spec core.PodSpec) []string {
	var names []string
	for _, v := range spec.Volumes {
		switch {
		case v.Secret != nil:
			names = append(names, v.Secret.SecretName)
		case v.Projected != nil:
			for _, source := range v.Projected.Sources {
				if source.Secret != nil {
					names = append(names, source.Secret.Name)
				}
			}
		}
	}
	return names
}

// ARN is the role's, by the agent's rule for names. The error is ErrRole.
func (s Settings) ARN(written string) (string, error) {
	isARN := strings.HasPrefix(written, "arn:")
	if s.Agent == Kube2IAM {
		isARN = strings.HasPrefix(strings.ToLower(written), "arn:")
	}
	switch {
	case isARN:
		return written, nil
	case s.BaseARN == "":
		return "", fmt.Errorf("%w: %q is no ARN, and what comes before it is not known: say --base-role-arn or --account", ErrRole, written)
	case s.Agent == Kiam:
		written = strings.TrimPrefix(written, "/")
	case s.Agent == Kube2IAM:
		return strings.TrimSuffix(s.BaseARN, "/") + "/" + written, nil
	}
	return s.BaseARN + written, nil
}

// roleName is the last part of an ARN, which is unique in an account.
func roleName(arn string) string { return path.Base(arn) }
