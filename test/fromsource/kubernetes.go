package fromsource

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// KubernetesVariable is the environment variable that says which minor of Kubernetes the tests run against, such as 1.35. Without it
// that is the newest.
const KubernetesVariable = "KUBERNETES"

// ErrUnknownKubernetes means that KubernetesVariable names a minor that cannot be built here.
var ErrUnknownKubernetes = errors.New("the tests have no such Kubernetes")

// Kubernetes is the newest kube-apiserver that the tests run against, and etcd.
var Kubernetes = Set{name: "kube", module: "test/kube/binaries", programs: []program{
	{name: "etcd", module: "go.etcd.io/etcd/server/v3", pkg: "go.etcd.io/etcd/server/v3", cost: "1 CPU-minute"},
	apiServer,
}}

// Kubeadm writes the manifests of control planes.
var Kubeadm = Set{name: "kubeadm", module: "test/kubeadm/binaries", programs: []program{{
	name: "kubeadm", module: kubernetesModule, pkg: kubernetesModule + "/cmd/kubeadm", cost: "3 CPU-minutes", version: true,
}}}

const kubernetesModule = "k8s.io/kubernetes"

var apiServer = program{
	name: "kube-apiserver", module: kubernetesModule, pkg: kubernetesModule + "/cmd/kube-apiserver",
	cost: "8 CPU-minutes", version: true,
}

// releases are what KubernetesVariable may say. All but the newest lack etcd, which is the newest's.
var releases = []Release{
	older("1.30", false), // the oldest that the chart takes
	older("1.35", true),
	{Minor: newest, ExternalSigners: true, Module: Kubernetes.module, set: Kubernetes},
}

const newest = "1.36"

func older(minor string, externalSigners bool) Release {
	module := "test/kube/versions/" + minor
	return Release{
		Minor: minor, ExternalSigners: externalSigners, Module: module,
		set: Set{name: "kube-" + minor, module: module, programs: []program{apiServer}},
	}
}

// A Release is a Kubernetes that the tests run against.
type Release struct {
	Minor           string // such as 1.36
	ExternalSigners bool   // its API servers have them without a feature gate
	Module          string // that requires it, for Download
	set             Set
}

// ChosenKubernetes is the release that KubernetesVariable names.
func ChosenKubernetes() (Release, error) {
	minor, known := cmp.Or(os.Getenv(KubernetesVariable), newest), []string{}
	for _, r := range releases {
		if r.Minor == minor {
			return r, nil
		}
		known = append(known, r.Minor)
	}
	return Release{}, fmt.Errorf("%w: %s=%q, and there are %s", ErrUnknownKubernetes, KubernetesVariable, minor, strings.Join(known, ", "))
}

// Programs are the executables of a Release.
type Programs struct {
	APIServer string
	Etcd      string
	Version   string // that the API server must say it has, such as v1.36.3
}

// Programs builds what there is not; see Set.Binaries.
func (r Release) Programs(progress io.Writer) (Programs, error) {
	etcd, err := Kubernetes.Binaries(progress)
	if err != nil {
		return Programs{}, err
	}
	server, err := r.set.Binaries(progress)
	if err != nil {
		return Programs{}, err
	}
	folder, err := nested(r.Module)
	if err != nil {
		return Programs{}, err
	}
	version, err := goTool(folder, "list", "-m", "-f", "{{.Version}}", kubernetesModule)
	if err != nil {
		return Programs{}, fmt.Errorf("find the version of Kubernetes %s: %w", r.Minor, err)
	}
	return Programs{APIServer: filepath.Join(server, apiServer.name), Etcd: filepath.Join(etcd, "etcd"), Version: version}, nil
}
