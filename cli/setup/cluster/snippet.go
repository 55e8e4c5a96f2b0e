// Package cluster is `setup cluster`: it prints what a distribution's API servers are to be told so that they issue tokens with an issuer that clouds can reach,
// and still take those of the old one. It changes nothing.
package cluster

import (
	"fmt"
	"io"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/cli/distribution"
)

// Snippet is what is to be written where, and what is to be known.
type Snippet struct {
	Distribution distribution.Name `json:"distribution"`
	Why          string            `json:"why"`
	Issuer       string            `json:"issuer"`
	Before       string            `json:"issuerBefore"`
	Where        string            `json:"where"`
	Text         string            `json:"text"`
	Rounds       []string          `json:"rounds,omitempty"` // over several API servers; none where the distribution leaves no choice
	Then         []string          `json:"then"`
	Notes        []string          `json:"notes"`
}

// form is a distribution's. In its text stand ISSUER and BEFORE for the two URLs.
type form struct {
	where, text string
	then        []string
	notes       []string
	atOnce      bool // there is one API server, or the distribution changes them by itself
}

const (
	oneByOne = "One control plane node at a time; wait until its API server is ready before you touch the next."

	// single is of distributions that keep flags in a map, which has room for one issuer.
	single = "There is room for one issuer only: tokens of BEFORE are refused as soon as the API server has restarted. Restart what speaks to the API server, so that it gets new ones."

	oneRound    = "One API server: one round, with what is above."
	firstRound  = "Several, round 1: on every API server, BEFORE first and ISSUER second, without service-account-jwks-uri. Nothing signs with ISSUER until all accept it, or servers answer 401 to each other's tokens."
	secondRound = "Several, round 2: when all have round 1, what is above, one API server after the other."

	audiences = "Default tokens keep their audience: with api-audiences left out, the new issuer would become an audience of every pod's default token."
)

var forms = map[distribution.Name]form{
	distribution.Kubeadm: {
		where: "ClusterConfiguration (kubeadm.k8s.io/v1beta4), in the ConfigMap kube-system/kubeadm-config and in the file that you give kubeadm",
		text: `apiServer:
  extraArgs:
  - {name: service-account-issuer, value: "ISSUER"}
  - {name: service-account-issuer, value: "BEFORE"}
  - {name: service-account-jwks-uri, value: "ISSUER/openid/v1/jwks"}
  - {name: api-audiences, value: "BEFORE"}
`,
		then: []string{"kubeadm init phase control-plane apiserver --config kubeadm.yaml   # on each control plane node; it writes /etc/kubernetes/manifests/kube-apiserver.yaml", oneByOne},
		notes: []string{
			audiences,
			"In v1beta3 extraArgs is a map with room for one issuer: bring the file to v1beta4 (kubeadm config migrate), or add the second --service-account-issuer to the manifest by hand.",
		},
	},
	distribution.K3s:  rancher("k3s", "k3s"),
	distribution.RKE2: rancher("rke2", "rke2-server"),
	distribution.Talos: {
		where: "a patch of the machine configuration of the control plane nodes: issuer.yaml",
		text: `# Talos 1.13 and later
cluster:
  apiServer:
    extraArgs:
      service-account-issuer: ["ISSUER", "BEFORE"]
      service-account-jwks-uri: "ISSUER/openid/v1/jwks"
      api-audiences: "BEFORE"
# Talos 1.14 and later may have this instead. Take cluster.serviceAccount out, as Talos refuses one beside the other:
#
# apiVersion: v1alpha1
# kind: KubeServiceAccountConfig
# issuer:
#   privateKey: "-----BEGIN RSA PRIVATE KEY-----..." # required: the present key, which cluster.serviceAccount.key has in base64
#   issuerURL: "ISSUER"
# accepted: {issuers: ["BEFORE"], audiences: ["BEFORE"]}
`,
		then:  []string{"talosctl patch machineconfig --nodes NODE --patch @issuer.yaml   # on each control plane node", oneByOne},
		notes: []string{audiences, "Talos 1.12 and earlier take one value: write service-account-issuer: \"ISSUER\". Then tokens of BEFORE are refused at once: restart what speaks to the API server."},
	},
	distribution.Kind: {
		where: "the configuration of a new cluster: kind.yaml",
		text: `kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
kubeadmConfigPatches:
- |
  kind: ClusterConfiguration
  apiServer:
    extraArgs:
      service-account-issuer: "ISSUER"
      service-account-jwks-uri: "ISSUER/openid/v1/jwks"
      api-audiences: "BEFORE"
`,
		then: []string{"kind create cluster --config kind.yaml"},
		notes: []string{
			audiences, "A cluster that is there: docker exec -it NODE vi /etc/kubernetes/manifests/kube-apiserver.yaml, with the flags of --distribution generic.",
			"The map works with every version: kind translates it where Kubernetes 1.36 and later want a list. A new cluster needs no second issuer, as there is no token of before.",
		},
		atOnce: true,
	},
	distribution.Minikube: {
		where: "the command line",
		text: `minikube start \
  --extra-config=apiserver.service-account-issuer=ISSUER \
  --extra-config=apiserver.service-account-jwks-uri=ISSUER/openid/v1/jwks \
  --extra-config=apiserver.api-audiences=BEFORE
`,
		notes:  []string{audiences, single},
		atOnce: true,
	},
	distribution.MicroK8s: {
		where: "/var/snap/microk8s/current/args/kube-apiserver on each control plane node, before the line with --service-account-issuer that is there",
		text: `--service-account-issuer=ISSUER
--service-account-jwks-uri=ISSUER/openid/v1/jwks
--api-audiences=BEFORE
`,
		then:  []string{"snap restart microk8s.daemon-kubelite", oneByOne},
		notes: []string{audiences, "The first --service-account-issuer signs; the line that was there has to stay behind it, as --service-account-issuer=BEFORE."},
	},
	distribution.K0s: {
		where: "/etc/k0s/k0s.yaml of each controller",
		text: `spec:
  api:
    extraArgs:
      service-account-issuer: "ISSUER"
      service-account-jwks-uri: "ISSUER/openid/v1/jwks"
      api-audiences: "BEFORE,system:konnectivity-server"
    rawArgs:
    - --service-account-issuer=BEFORE
`,
		then:  []string{"systemctl restart k0scontroller", oneByOne},
		notes: []string{audiences, "system:konnectivity-server has to stay among the audiences: konnectivity's agents log in with it."},
	},
	distribution.OpenShift: {
		where: "the resource authentication.config.openshift.io/cluster",
		text: `oc patch authentication.config.openshift.io cluster --type=merge \
  --patch '{"spec":{"serviceAccountIssuer":"ISSUER"}}'
`,
		then: []string{"oc adm wait-for-stable-cluster   # the operator restarts the API servers one by one"},
		notes: []string{
			"OpenShift goes on taking tokens of BEFORE for 24 hours by itself.",
			"It makes every issuer an audience of default tokens, and that can't be changed: never register ISSUER as an audience or client ID at a cloud.",
			"It is one round, and not yours to choose: until the last API server has restarted, tokens of ISSUER get 401 now and then.",
		},
		atOnce: true,
	},
	distribution.Generic: {
		where: "the flags of every kube-apiserver, in this order",
		text: `--service-account-issuer=ISSUER
--service-account-issuer=BEFORE
--service-account-jwks-uri=ISSUER/openid/v1/jwks
--api-audiences=BEFORE
`,
		then:  []string{oneByOne},
		notes: []string{audiences},
	},
}

func rancher(name, unit string) form {
	return form{
		where: "/etc/rancher/" + name + "/config.yaml of each server",
		text: `kube-apiserver-arg:
- service-account-issuer=ISSUER
- service-account-issuer=BEFORE
- service-account-jwks-uri=ISSUER/openid/v1/jwks
`,
		then:  []string{"systemctl restart " + unit, oneByOne},
		notes: []string{"If the file has kube-apiserver-arg already, add the lines to it: a second one would replace the first. The audiences of default tokens are fixed here, and stay."},
	}
}

// Write fills a distribution's form.
func Write(name distribution.Name, why, issuer, before string) Snippet {
	fill := strings.NewReplacer("ISSUER", issuer, "BEFORE", before).Replace
	f := forms[name]
	s := Snippet{Distribution: name, Why: why, Issuer: issuer, Before: before, Where: f.where, Text: fill(f.text)}
	if !f.atOnce {
		s.Rounds = []string{oneRound, fill(firstRound), secondRound}
	}
	s.Then = append(s.Then, f.then...)
	for _, note := range f.notes {
		s.Notes = append(s.Notes, fill(note))
	}
	s.Notes = append(s.Notes,
		"First see that the documents are there: kube-iam-assume inspect "+issuer,
		"Leave the old issuer in until the longest token that it signed has expired, then take it out.")
	return s
}

func (s Snippet) print(out io.Writer) error {
	fmt.Fprintf(out, "# %s (%s)\n# In %s:\n%s", s.Distribution, s.Why, s.Where, s.Text)
	for _, round := range s.Rounds {
		fmt.Fprintf(out, "# %s\n", round)
	}
	for _, then := range s.Then {
		fmt.Fprintf(out, "# Then: %s\n", then)
	}
	for _, note := range s.Notes {
		if _, err := fmt.Fprintf(out, "# Note: %s\n", note); err != nil {
			return err
		}
	}
	return nil
}
