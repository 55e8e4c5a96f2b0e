package migrate

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/kube-iam-assume/kube-iam-assume/cli/migrate/agent"
	"github.com/kube-iam-assume/kube-iam-assume/cli/visible"
	"github.com/kube-iam-assume/kube-iam-assume/cli/workload"
)

const sessionNameVariable = "AWS_ROLE_SESSION_NAME"

var sessionName = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]{2,64}$`)

// change plans one workload: first the token beside the old way, then, when that has proved itself, without the old way.
func (p *planner) change(t *task) {
	p.left = append(p.left, t.ID())
	after, notes, err := p.switched(t)
	if err != nil {
		p.decide(t.ID(), err.Error(), "Change it by hand, with kube-iam-assume inject aws.")
		return
	}
	if t.Controller != "" {
		p.decide(t.ID(), fmt.Sprintf("%s makes its pods, which this plan does not know to patch", t.Controller),
			fmt.Sprintf("There, set serviceAccountName: %s, and add what kube-iam-assume inject aws --role-arn %s adds; later, take %s out.", t.account.Name, t.role, p.traces(t)))
		return
	}
	w := Workload{ID: t.ID(), Namespace: t.Namespace, Kind: t.Kind, Name: t.Name.Name, Role: t.role, ServiceAccount: t.account}
	for _, note := range append(notes, p.notes(t)...) {
		w.Notes = append(w.Notes, visible.Line(note))
	}
	w.Verify = p.verification(t)
	finished := p.finished(t, after.DeepCopy())
	if ask, err := p.Settings.Asks(p.cluster, t.Namespace, *finished); err != nil || ask != nil && !ask.ByDefault {
		p.decide(t.ID(), "the Secrets "+join(t.ask.Secrets)+" are in a volume with other things, and stay in it", "Take them out of the volume by hand, when the workload has its role by the token.")
	}
	if t.Kind == "Pod" || t.Kind == "Job" {
		w.Replacement, w.Original = replacement(t, finished), replacement(t, &t.Template)
	} else if err := w.patches(&t.Template, after, finished); err != nil {
		p.decide(t.ID(), err.Error(), "Change it by hand, with kube-iam-assume inject aws.")
		return
	}
	p.plan.Workloads = append(p.plan.Workloads, w)
}

// switched is the template with the service account, the token and the variables, and without what SDKs would take before them.
func (p *planner) switched(t *task) (*core.PodTemplateSpec, []string, error) {
	after := t.Template.DeepCopy()
	if t.Account().Name != t.account.Name {
		// The API server takes the second where the first is missing, so both change, and both change back.
		after.Spec.ServiceAccountName, after.Spec.DeprecatedServiceAccount = t.account.Name, t.account.Name
	}
	removeCredentialFiles(&after.Spec, t.ask.Secrets)
	login, err := workload.AWS(t.role, p.Audience)
	if err != nil {
		return nil, nil, err
	}
	login.Rivals = append(login.Rivals, credentialFiles[:2]...)
	if sessionName.MatchString(t.ask.SessionName) {
		login.Variables = append(login.Variables, workload.Variable{Name: sessionNameVariable, Value: t.ask.SessionName})
	}
	source, err := yaml.Marshal(nested(t.Kind, t.Name.Name, after.Spec))
	if err != nil {
		return nil, nil, err
	}
	result, err := workload.Inject(source, login, workload.Options{Expiration: p.Expiration})
	if err != nil {
		return nil, nil, err
	}
	spec, err := unnested(t.Kind, result.File)
	if err != nil {
		return nil, nil, err
	}
	after.Spec = spec
	return after, result.Notes, nil
}

// templatePath is where a kind has its pods' template.
func templatePath(kind string) []string {
	switch kind {
	case "CronJob":
		return []string{"spec", "jobTemplate", "spec", "template"}
	case "Pod":
		return nil
	}
	return []string{"spec", "template"}
}

func nest(kind string, template any) any {
	keys := templatePath(kind)
	for _, key := range slices.Backward(keys) {
		template = map[string]any{key: template}
	}
	return template
}

func nested(kind, name string, spec core.PodSpec) any {
	o := nest(kind, map[string]any{"spec": spec}).(map[string]any)
	o["kind"], o["metadata"] = kind, map[string]any{"name": name}
	return o
}

func unnested(kind string, file []byte) (core.PodSpec, error) {
	data, err := yaml.YAMLToJSON(file)
	for _, key := range append(templatePath(kind), "spec") {
		var o map[string]json.RawMessage
		if err == nil {
			err = json.Unmarshal(data, &o)
		}
		data = o[key]
	}
	var spec core.PodSpec
	if err == nil {
		err = json.Unmarshal(data, &spec)
	}
	return spec, err
}

// credentialFiles are the variables by which SDKs find files with credentials, of which some SDKs take the first two before the token.
var credentialFiles = []string{"AWS_SHARED_CREDENTIALS_FILE", "AWS_CREDENTIAL_PROFILES_FILE", "AWS_CONFIG_FILE"}

// eachContainer includes those that run at the start.
func eachContainer(spec *core.PodSpec, do func(*core.Container)) {
	for i := range spec.InitContainers {
		do(&spec.InitContainers[i])
	}
	for i := range spec.Containers {
		do(&spec.Containers[i])
	}
}

// removeCredentialFiles takes out the variables that point into the volumes of the Secrets, and no other.
func removeCredentialFiles(spec *core.PodSpec, secrets []string) {
	volumes := volumesOf(spec, secrets)
	eachContainer(spec, func(c *core.Container) {
		c.Env = slices.DeleteFunc(c.Env, func(v core.EnvVar) bool {
			return slices.Contains(credentialFiles, v.Name) && slices.ContainsFunc(c.VolumeMounts, func(m core.VolumeMount) bool {
				return slices.Contains(volumes, m.Name) && strings.HasPrefix(v.Value, strings.TrimSuffix(m.MountPath, "/")+"/")
			})
		})
	})
}

// volumesOf are the volumes made of one of the Secrets and nothing else.
func volumesOf(spec *core.PodSpec, secrets []string) []string {
	var names []string
	for _, v := range spec.Volumes {
		made := agent.MountedSecrets(core.PodSpec{Volumes: []core.Volume{v}})
		if len(made) == 1 && slices.Contains(secrets, made[0]) && (v.Projected == nil || len(v.Projected.Sources) == 1) {
			names = append(names, v.Name)
		}
	}
	return names
}

// finished takes the old way's traces out of a switched template.
func (p *planner) finished(t *task, template *core.PodTemplateSpec) *core.PodTemplateSpec {
	for _, key := range []string{p.Settings.RoleKey, p.Settings.ExternalIDKey, p.Settings.SessionKey} {
		delete(template.Annotations, key)
	}
	volumes := volumesOf(&template.Spec, t.ask.Secrets)
	template.Spec.Volumes = slices.DeleteFunc(template.Spec.Volumes, func(v core.Volume) bool { return slices.Contains(volumes, v.Name) })
	eachContainer(&template.Spec, func(c *core.Container) {
		c.VolumeMounts = slices.DeleteFunc(c.VolumeMounts, func(m core.VolumeMount) bool { return slices.Contains(volumes, m.Name) })
	})
	return template
}

// traces are what finished takes out, in words.
func (p *planner) traces(t *task) string {
	if len(t.ask.Secrets) > 0 {
		return "the volumes of the Secrets " + join(t.ask.Secrets) + " and the variables that name files in them"
	}
	return "the annotation " + p.Settings.RoleKey
}

// replacement is an object as it can be made anew, when it can't be changed: without what the API server and controllers wrote into it.
func replacement(t *task, template *core.PodTemplateSpec) json.RawMessage {
	spec := template.Spec.DeepCopy()
	spec.NodeName, spec.Priority, spec.PreemptionPolicy = "", nil, nil
	isAccess := func(name string) bool { return strings.HasPrefix(name, "kube-api-access-") }
	spec.Volumes = slices.DeleteFunc(spec.Volumes, func(v core.Volume) bool { return isAccess(v.Name) })
	eachContainer(spec, func(c *core.Container) {
		c.VolumeMounts = slices.DeleteFunc(c.VolumeMounts, func(m core.VolumeMount) bool { return isAccess(m.Name) })
	})
	labels := map[string]string{}
	for key, value := range template.Labels {
		if !slices.Contains([]string{"controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"}, key) {
			labels[key] = value
		}
	}
	metadata := map[string]any{"name": t.Name.Name, "namespace": t.Namespace}
	inner := map[string]any{"labels": labels, "annotations": template.Annotations}
	if t.Kind == "Pod" {
		metadata["labels"], metadata["annotations"] = labels, template.Annotations
		return encode(map[string]any{"apiVersion": t.APIVersion, "kind": t.Kind, "metadata": metadata, "spec": spec})
	}
	var job struct {
		Spec map[string]json.RawMessage `json:"spec"`
	}
	_ = json.Unmarshal(t.Object, &job) // it was read as a Job before
	outer := map[string]any{}
	for key, value := range job.Spec {
		if key != "selector" && key != "template" {
			outer[key] = value
		}
	}
	outer["template"] = map[string]any{"metadata": inner, "spec": spec}
	return encode(map[string]any{"apiVersion": t.APIVersion, "kind": t.Kind, "metadata": metadata, "spec": outer})
}

// notes are what the patch can't do, or a person should see before it.
func (p *planner) notes(t *task) []string {
	var notes []string
	if t.ask.SessionName != "" && !sessionName.MatchString(t.ask.SessionName) {
		notes = append(notes, fmt.Sprintf("the session name %q is not one: want 2 to 64 letters, digits and _ + = , . @ -. It is left out.", t.ask.SessionName))
	}
	if t.ask.ExternalID != "" {
		notes = append(notes, "it sends an external ID, which AssumeRoleWithWebIdentity does not take. Audience and subject, exactly, take its place in a trust policy that is yours. "+
			"A role of somebody else's who insists on it: let the workload take a role of your own by its token and that one by AssumeRole (a profile with role_arn, external_id and source_profile).")
	}
	if t.ask.Duration > 3600 {
		notes = append(notes, fmt.Sprintf("its sessions last %d s. SDKs ask an hour by a token and renew in time; only what hands the credentials on has to ask for more (MaxSessionDuration of the role allows it).", t.ask.Duration))
	}
	if t.Template.Spec.HostNetwork && p.Settings.Agent != agent.Controller {
		notes = append(notes, "it is on the host's network, where the agent can't tell its pods from the node: today it acts as the node, from the switch on as the role.")
	}
	region, unseen := false, false
	eachContainer(&t.Template.Spec, func(c *core.Container) {
		unseen = unseen || len(c.EnvFrom) > 0
		for _, v := range c.Env {
			region = region || v.Name == "AWS_REGION" || v.Name == "AWS_DEFAULT_REGION"
		}
	})
	if !region {
		notes = append(notes, "no AWS_REGION is set: what asked the metadata address for it gets no answer once that is closed. Set it.")
	}
	if unseen {
		notes = append(notes, "envFrom was not looked into: AWS_ACCESS_KEY_ID, AWS_PROFILE or AWS_SHARED_CREDENTIALS_FILE from there would go before the token.")
	}
	return append(append(notes, managed(t)...), rollout(t)...)
}

// managers are marks of what will put a workload back to what it says.
var managers = []struct{ mark, who string }{
	{"argocd.argoproj.io/tracking-id", "Argo CD"},
	{"argocd.argoproj.io/instance", "Argo CD"},
	{"kustomize.toolkit.fluxcd.io/name", "Flux"},
	{"helm.toolkit.fluxcd.io/name", "Flux"},
	{"meta.helm.sh/release-name", "Helm"},
}

func managed(t *task) []string {
	var o struct {
		Metadata struct {
			Labels map[string]string `json:"labels"`
		} `json:"metadata"`
	}
	_ = json.Unmarshal(t.Object, &o) // it was read before
	for _, manager := range managers {
		name, found := t.Annotations[manager.mark]
		if !found {
			name, found = o.Metadata.Labels[manager.mark]
		}
		if found {
			return []string{fmt.Sprintf("%s (%s) makes it, and would undo a patch: make the same change there.", manager.who, name)}
		}
	}
	return nil
}

// rollout tells how a changed template gets to the pods, where it does not by itself.
func rollout(t *task) []string {
	var o struct {
		Spec struct {
			Paused         bool `json:"paused"`
			UpdateStrategy struct {
				Type string `json:"type"`
			} `json:"updateStrategy"`
		} `json:"spec"`
	}
	_ = json.Unmarshal(t.Object, &o) // a kind that has no such members
	switch {
	case t.Kind == "ReplicaSet", t.Kind == "ReplicationController", o.Spec.UpdateStrategy.Type == "OnDelete":
		return []string{"its pods stay as they are until you delete them, one by one."}
	case t.Kind == "Deployment" && o.Spec.Paused:
		return []string{"it is paused: nothing happens before kubectl rollout resume."}
	case t.Kind == "CronJob":
		return []string{"its next run is the first with the token."}
	}
	return nil
}

// verification is what shows that a workload got there, in order.
func (p *planner) verification(t *task) []string {
	kind := strings.ToLower(t.Kind)
	partition, id := accountOf(t.role)
	commands := []string{fmt.Sprintf("kubectl -n %s create token %s --audience %s | kube-iam-assume verify - --issuer %s --audience %s", t.Namespace, t.account.Name, p.Audience, p.Cluster.Issuer, p.Audience)}
	switch t.Kind {
	case "Deployment", "StatefulSet", "DaemonSet":
		commands = append(commands, fmt.Sprintf("kubectl -n %s rollout status %s/%s", t.Namespace, kind, t.Name.Name))
	case "CronJob":
		commands = append(commands, fmt.Sprintf("kubectl -n %s create job --from=cronjob/%s %.40s-check", t.Namespace, t.Name.Name, t.Name.Name))
	}
	target := kind + "/" + t.Name.Name
	if t.Kind == "CronJob" {
		target = fmt.Sprintf("job/%.40s-check", t.Name.Name)
	}
	return append(commands, fmt.Sprintf("kubectl -n %s exec %s -- aws sts get-caller-identity   # wanted: arn:%s:sts::%s:assumed-role/%s/…", t.Namespace, target, partition, id, lastPart(t.role)))
}

func lastPart(name string) string { return name[strings.LastIndex(name, "/")+1:] }
