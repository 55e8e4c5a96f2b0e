package workload_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/kube-iam-assume/kube-iam-assume/cli/workload"
)

const pod = `
      serviceAccountName: payments
      containers:
      - name: app
        image: a
`

// template is a workload of Kubernetes' own kinds, and where its pods' specification is read from.
type template struct {
	head string
	into any
	spec func(any) core.PodSpec
}

var templates = map[string]template{
	"Pod":                   {"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:", &core.Pod{}, func(o any) core.PodSpec { return o.(*core.Pod).Spec }},
	"Deployment":            {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec:\n  template:\n    spec:", &apps.Deployment{}, func(o any) core.PodSpec { return o.(*apps.Deployment).Spec.Template.Spec }},
	"ReplicaSet":            {"apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: a}\nspec:\n  template:\n    spec:", &apps.ReplicaSet{}, func(o any) core.PodSpec { return o.(*apps.ReplicaSet).Spec.Template.Spec }},
	"StatefulSet":           {"apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: a}\nspec:\n  template:\n    spec:", &apps.StatefulSet{}, func(o any) core.PodSpec { return o.(*apps.StatefulSet).Spec.Template.Spec }},
	"DaemonSet":             {"apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: a}\nspec:\n  template:\n    spec:", &apps.DaemonSet{}, func(o any) core.PodSpec { return o.(*apps.DaemonSet).Spec.Template.Spec }},
	"Job":                   {"apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\nspec:\n  template:\n    spec:", &batch.Job{}, func(o any) core.PodSpec { return o.(*batch.Job).Spec.Template.Spec }},
	"CronJob":               {"apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: a}\nspec:\n  jobTemplate:\n   spec:\n    template:\n     spec:", &batch.CronJob{}, func(o any) core.PodSpec { return o.(*batch.CronJob).Spec.JobTemplate.Spec.Template.Spec }},
	"PodTemplate":           {"apiVersion: v1\nkind: PodTemplate\nmetadata: {name: a}\ntemplate:\n  spec:", &core.PodTemplate{}, func(o any) core.PodSpec { return o.(*core.PodTemplate).Template.Spec }},
	"ReplicationController": {"apiVersion: v1\nkind: ReplicationController\nmetadata: {name: a}\nspec:\n  template:\n    spec:", &core.ReplicationController{}, func(o any) core.PodSpec { return o.(*core.ReplicationController).Spec.Template.Spec }},
}

func logins(t testing.TB) map[string]workload.Login {
	t.Helper()
	all := map[string]workload.Login{}
	var err error
	for _, each := range []struct {
		name string
		make func() (workload.Login, error)
	}{
		{"aws", func() (workload.Login, error) {
			return workload.AWS("arn:aws:iam::111122223333:role/payments", "sts.amazonaws.com")
		}},
		{"gcp", func() (workload.Login, error) {
			return workload.GCP("projects/1/locations/global/workloadIdentityPools/kubernetes/providers/prod", "", "google-login")
		}},
		{"azure", func() (workload.Login, error) {
			const id = "00000000-0000-0000-0000-000000000001"
			return workload.Azure(id, id, "https://login.microsoftonline.com/", "api://AzureADTokenExchange")
		}},
		{"vault", func() (workload.Login, error) {
			return workload.Vault("https://vault.example.com:8200", "jwt", "payments", "vault")
		}},
	} {
		if all[each.name], err = each.make(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// Every kind, with every login at once, is what Kubernetes' own types read strictly: a token for each audience, mounted where the variables say.
func TestEveryKind(t *testing.T) {
	t.Parallel()
	options := workload.Options{Expiration: 3600}
	for kind, template := range templates {
		file := []byte(template.head + pod)
		for _, login := range logins(t) {
			r, err := workload.Inject(file, login, options)
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			file = r.File
		}
		document, _, _ := strings.Cut(string(file), "\n---\n")
		if err := yaml.UnmarshalStrict([]byte(document), template.into); err != nil {
			t.Fatalf("%s: %v\n%s", kind, err, document)
		}
		spec := template.spec(template.into)
		for name, login := range logins(t) {
			check(t, kind+" "+name, spec, login)
		}
	}
}

func check(t *testing.T, what string, spec core.PodSpec, login workload.Login) {
	t.Helper()
	i := slices.IndexFunc(spec.Volumes, func(v core.Volume) bool { return v.Name == login.Volume })
	if i < 0 || spec.Volumes[i].Projected == nil {
		t.Fatalf("%s: no volume %s", what, login.Volume)
	}
	token := spec.Volumes[i].Projected.Sources[0].ServiceAccountToken
	if token.Audience != login.Audience || token.Path != "token" || *token.ExpirationSeconds != 3600 {
		t.Errorf("%s: token %+v", what, token)
	}
	container := spec.Containers[0]
	if !slices.ContainsFunc(container.VolumeMounts, func(m core.VolumeMount) bool {
		return m.Name == login.Volume && m.MountPath == login.Folder && m.ReadOnly
	}) {
		t.Errorf("%s: mounts %+v", what, container.VolumeMounts)
	}
	for _, want := range login.Variables {
		if !slices.Contains(container.Env, core.EnvVar{Name: want.Name, Value: want.Value}) {
			t.Errorf("%s: no variable %s", what, want.Name)
		}
	}
}

// What the API server wrote into a volume is no difference, and stays.
func TestModeOfFiles(t *testing.T) {
	t.Parallel()
	for name, login := range logins(t) {
		first, err := workload.Inject([]byte(templates["Pod"].head+pod), login, workload.Options{Expiration: 3600})
		if err != nil {
			t.Fatal(err)
		}
		stored := strings.Replace(string(first.File), "projected:\n", "projected:\n      defaultMode: 420\n", 1)
		if stored == string(first.File) {
			t.Fatalf("%s: no projected volume in\n%s", name, stored)
		}
		again, err := workload.Inject([]byte(stored), login, workload.Options{Expiration: 3600})
		if err != nil || string(again.File) != stored || len(again.Changed) > 0 {
			t.Errorf("%s: %v, changed %v:\n%s", name, err, again.Changed, again.File)
		}
	}
}

// Whatever file: what is said is that it can't be done, or what is printed reads the same, and a second time changes nothing.
func FuzzInject(f *testing.F) {
	for _, template := range templates {
		f.Add(template.head + pod)
	}
	f.Add("a: 1\n--- # b\n" + templates["Pod"].head + pod + "---\n")
	f.Add("kind: Pod\nspec: {containers: [{name: a, env: null, volumeMounts: []}], volumes: [{name: aws-token, emptyDir: {}}]}")
	login := logins(f)["aws"]
	f.Fuzz(func(t *testing.T, file string) {
		first, err := workload.Inject([]byte(file), login, workload.Options{Expiration: 3600})
		if err != nil {
			if !errors.Is(err, workload.ErrFile) {
				t.Errorf("got %v", err)
			}
			return
		}
		second, err := workload.Inject(first.File, login, workload.Options{Expiration: 3600})
		if err != nil || len(second.Changed) > 0 || string(second.File) != string(first.File) {
			t.Errorf("%q became %q, and then %q (%v)", file, first.File, second.File, err)
		}
	})
}
