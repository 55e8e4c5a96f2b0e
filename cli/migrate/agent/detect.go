package agent

import (
	"path"
	"regexp"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"

	"github.com/kube-iam-assume/kube-iam-assume/cli/migrate/inventory"
)

// Detect finds the agent's own workloads in the cluster, or in one namespace of it, and the settings that its arguments make. Anybody may name an image so:
// if they are in several namespaces, nobody knows whose arguments hold.
func Detect(c *inventory.Cluster, agent, namespace string) (Settings, []*inventory.Workload) {
	s := Defaults(agent)
	var found []*inventory.Workload
	for _, w := range c.Workloads {
		if namespace != "" && w.Namespace != namespace {
			continue
		}
		for _, container := range w.Template.Spec.Containers {
			if !runs(container, agent) {
				continue
			}
			if !slices.Contains(found, w) {
				found = append(found, w)
			}
			s.read(append(slices.Clone(container.Command), container.Args...))
			s.OnNames = s.OnNames || agent == Kiam && beforeVersion4.MatchString(container.Image)
		}
	}
	return s, found
}

// beforeVersion4 is an image of kiam that does not hold what a namespace allows against ARNs.
var beforeVersion4 = regexp.MustCompile(`:v?[123](\.|$)`)

// runs goes by the program's or the image's name, whatever registry it is from.
func runs(container core.Container, agent string) bool {
	image, _, _ := strings.Cut(path.Base(container.Image), "@")
	image, _, _ = strings.Cut(image, ":")
	return image == agent || len(container.Command) > 0 && path.Base(container.Command[0]) == agent
}

// read takes the flags that matter from a command line; --name value and --name=value are the same.
func (s *Settings) read(line []string) {
	for i, argument := range line {
		name, value, inline := strings.Cut(argument, "=")
		on := !inline || value == "true"
		if !inline && i+1 < len(line) && !strings.HasPrefix(line[i+1], "--") {
			value = line[i+1]
		}
		if strings.Contains(value, "$(") {
			continue // a variable's value, which may be anything
		}
		if text := s.texts()[name]; text != nil {
			*text = value
		}
		switch s.Agent + " " + name {
		case Kube2IAM + " --auto-discover-default-role":
			s.NodeDefault = on
		case Kube2IAM + " --namespace-restrictions":
			s.Restricted = on
		case Kiam + " --disable-strict-namespace-regexp":
			if on {
				s.Format = "regexp"
			}
		}
	}
	s.Format = strings.ToLower(s.Format)
}

// texts are the agent's flags that take a text, and where it goes.
func (s *Settings) texts() map[string]*string {
	switch s.Agent {
	case Kube2IAM:
		return map[string]*string{
			"--base-role-arn": &s.BaseARN, "--default-role": &s.DefaultRole, "--iam-role-key": &s.RoleKey, "--iam-external-id": &s.ExternalIDKey,
			"--namespace-key": &s.NamespaceKey, "--namespace-restriction-format": &s.Format,
		}
	case Kiam:
		return map[string]*string{"--role-base-arn": &s.BaseARN, "--assume-role-arn": &s.AssumeRole}
	}
	return map[string]*string{"--base-role-arn": &s.BaseARN, "--assume-role": &s.AssumeRole}
}
