package terraform_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var gcpGuards = []guard{
	{name: "Google: the world reads the documents, and nothing else", check: gcpWorldReads, red: []spoil{
		{"the private bucket could be opened", "gcp/storage.tf", "\"${var.bucket}-private\"\n  location                    = upper(var.region)\n  uniform_bucket_level_access = true\n  public_access_prevention    = \"enforced\"", "\"${var.bucket}-private\"\n  location                    = upper(var.region)\n  uniform_bucket_level_access = true\n  public_access_prevention    = \"inherited\""},
		{"access lists", "gcp/storage.tf", "uniform_bucket_level_access = true", "uniform_bucket_level_access = false"},
		{"the world lists", "gcp/storage.tf", "roles/storage.legacyObjectReader", "roles/storage.objectViewer"},
		{"the world reads where nothing is public", "gcp/storage.tf", `local.is_public ? ["allUsers"] : []`, `["allUsers"]`},
		{"the world reads the state", "gcp/storage.tf", "    role    = google_project_iam_custom_role.reader.id\n    members = [local.publisher_member]\n\n    condition", "    role    = google_project_iam_custom_role.reader.id\n    members = [\"allUsers\"]\n\n    condition"},
		{"everybody with an account", "gcp/queue.tf", `members = values(module.trust.exporters)`, `members = ["allAuthenticatedUsers"]`},
		{"documents could be opened where nothing is public", "gcp/storage.tf", `local.is_public ? "inherited" : "enforced"`, `"inherited"`},
	}},
	{name: "Google: every door has its own callers", check: gcpDoors, red: []spoil{
		{"everybody operates", "gcp/functions.tf", `invokers = sort(var.operators)`, `invokers = ["allUsers"]`},
		{"everybody reconciles", "gcp/functions.tf", `invokers = ["serviceAccount:${google_service_account.caller["reconcile"].email}"]`, `invokers = ["allUsers"]`},
		{"the queue's door is open to the internet", "gcp/functions.tf", `target = "Queue", ingress = "INGRESS_TRAFFIC_INTERNAL_ONLY"`, `target = "Queue", ingress = "INGRESS_TRAFFIC_ALL"`},
		{"the schedule brings no token", "gcp/functions.tf", `service_account_email = google_service_account.caller["reconcile"].email`, ``},
		{"Pub/Sub brings no token", "gcp/queue.tf", `service_account_email = google_service_account.caller["queue"].email`, ``},
		{"any operator", "gcp/variables.tf", `^(user|group|serviceAccount):[^@\\s]+@[^@\\s]+$`, `.*`},
	}},
	{name: "Google: the publisher's rights are written out", check: gcpRights, red: []spoil{
		{"it removes records", "gcp/storage.tf", `permissions = ["storage.objects.create", "storage.objects.get"]`, `permissions = ["storage.objects.create", "storage.objects.delete", "storage.objects.get"]`},
		{"all rights of a kind", "gcp/storage.tf", `permissions = ["storage.objects.list"]`, `permissions = ["storage.objects.*"]`},
		{"it administers buckets", "gcp/storage.tf", `permissions = ["storage.objects.list"]`, `permissions = ["storage.objects.list", "storage.buckets.update"]`},
		{"it writes any document", "gcp/storage.tf", `join(" || ", [for name in binding.value : "resource.name == 'projects/_/buckets/${var.bucket}/objects/${name}'"])`, `"true"`},
		{"it writes documents without a condition", "gcp/storage.tf", "        title      = \"documents ${binding.key + 1}\"\n", ""},
		{"it writes any state", "gcp/storage.tf", `join(" || ", [for name in binding.value : "resource.name == 'projects/_/buckets/${var.bucket}-private/objects/${name}'"])`, `"true"`},
		{"it overwrites records", "gcp/storage.tf", "role    = google_project_iam_custom_role.recorder.id", "role    = google_project_iam_custom_role.writer.id"},
		{"it makes providers", "gcp/functions.tf", `"iam.workloadIdentityPoolProviders.update"]`, `"iam.workloadIdentityPoolProviders.update", "iam.workloadIdentityPoolProviders.create"]`},
		{"it changes the settings", "gcp/storage.tf", "    role    = google_project_iam_custom_role.reader.id\n    members = [local.publisher_member]\n  }\n}\n\nresource \"google_storage_bucket_iam_policy\" \"settings\"", "    role    = google_project_iam_custom_role.writer.id\n    members = [local.publisher_member]\n  }\n}\n\nresource \"google_storage_bucket_iam_policy\" \"settings\""},
		{"another grant on the buckets", "gcp/queue.tf", `resource "google_pubsub_topic" "dead"`, "resource \"google_storage_bucket_iam_member\" \"more\" {}\n\nresource \"google_pubsub_topic\" \"dead\""},
		{"a right on the project", "gcp/queue.tf", `resource "google_pubsub_topic" "dead"`, "resource \"google_project_iam_member\" \"more\" {}\n\nresource \"google_pubsub_topic\" \"dead\""},
	}},
	{name: "Google: data outlives a mistake", check: gcpKept, red: []spoil{
		{"a destroy takes the documents", "gcp/storage.tf", "prevent_destroy = true", "prevent_destroy = false"},
		{"no versions", "gcp/storage.tf", "enabled = true", "enabled = false"},
		{"no soft delete", "gcp/storage.tf", "retention_duration_seconds = 7776000", "retention_duration_seconds = 0"},
		{"a full bucket is deleted", "gcp/storage.tf", "force_destroy               = false", "force_destroy               = true"},
	}},
	{name: "Google: providers are checked, and only uploaded keys are left alone", check: gcpProviders, red: []spoil{
		{"no condition", "gcp/trust/main.tf", "attribute_condition                = each.value.condition", "attribute_condition                = \"true\""},
		{"another mapping", "gcp/trust/main.tf", "attribute_mapping                  = each.value.mapping", "attribute_mapping                  = {}"},
		{"an audience of others", "gcp/trust/main.tf", "issuer_uri = each.value.issuer", "issuer_uri = each.value.issuer\n    allowed_audiences = [\"sts.amazonaws.com\"]"},
		{"uploaded keys are reset at every deploy", "gcp/trust/main.tf", "ignore_changes = [oidc[0].jwks_json]", "ignore_changes = []"},
		{"a changed condition is not seen", "gcp/trust/main.tf", "ignore_changes = [oidc[0].jwks_json]", "ignore_changes = [oidc[0].jwks_json, attribute_condition]"},
		{"uploaded keys are not seen where they are fetched", "gcp/trust/main.tf", "  oidc {\n    issuer_uri = each.value.issuer\n  }\n}", "  oidc {\n    issuer_uri = each.value.issuer\n  }\n\n  lifecycle {\n    ignore_changes = [oidc]\n  }\n}"},
		{"grants to a whole pool", "gcp/trust/main.tf", "member  = each.value.member", "member  = \"principalSet://iam.googleapis.com/pool/*\""},
		{"a principal without its cluster", "gcp/trust/mapping/main.tf", "attribute.workload/${workload.cluster}/${workload.namespace}/${workload.name}", "attribute.service_account_name/${workload.name}"},
	}},
	{name: "Google: the limits are checked before anything is made", check: gcpLimits, red: []spoil{
		{"of a condition", "gcp/trust/mapping/main.tf", "if length(condition) > 4096", "if false"},
		{"of provider IDs", "gcp/trust/mapping/main.tf", "!local.repeated", "true"},
		{"of conditional bindings", "gcp/storage.tf", "length(local.document_groups) <= 20", "true"},
		{"a subject may be too long", "gcp/trust/mapping/main.tf", "> 127", "> 1270"},
	}},
}

func gcpWorldReads(c configuration) error {
	for name, prevention := range map[string]string{"documents": `local.is_public ? "inherited" : "enforced"`, "private": `"enforced"`, "settings": `"enforced"`} {
		bucket, err := c.resource("gcp", "google_storage_bucket", name)
		if err != nil {
			return err
		}
		if got := bucket.source("public_access_prevention"); got != prevention || bucket.source("uniform_bucket_level_access") != "true" {
			return fmt.Errorf("bucket %s could be opened: public access prevention is %s", name, got)
		}
	}
	policies, err := c.gcpBindings()
	if err != nil {
		return err
	}
	for _, b := range policies {
		everybody := strings.Contains(b.members, "allUsers") || strings.Contains(b.each, "allUsers")
		if everybody && (b.policy != "documents" || b.role != `"roles/storage.legacyObjectReader"` || b.each != `local.is_public ? ["allUsers"] : []`) {
			return fmt.Errorf("the world has %s on the bucket %s", b.role, b.policy)
		}
	}
	for file, text := range c {
		if strings.HasPrefix(file, "gcp/") && strings.Contains(text, "allAuthenticatedUsers") {
			return fmt.Errorf("%s lets everybody in who has an account", file)
		}
		if file != "gcp/storage.tf" && file != "gcp/functions.tf" && strings.HasPrefix(file, "gcp/") && strings.Contains(text, "allUsers") {
			return fmt.Errorf("%s lets everybody in", file)
		}
	}
	return nil
}

// gcpBinding is one binding of a bucket's policy.
type gcpBinding struct {
	policy, role, members, each, condition string
}

func (c configuration) gcpBindings() ([]gcpBinding, error) {
	data, err := c.blocks("gcp", "data")
	if err != nil {
		return nil, err
	}
	var all []gcpBinding
	for _, policy := range data {
		if policy.Labels[0] != "google_iam_policy" {
			continue
		}
		for _, b := range policy.inner("binding") {
			all = append(all, gcpBinding{policy.Labels[1], b.source("role"), b.source("members"), "", b.source("condition.expression")})
		}
		for _, b := range policy.inner("dynamic") {
			all = append(all, gcpBinding{policy.Labels[1], b.source("content.role"), b.source("content.members"), b.source("for_each"), b.source("content.condition.expression")})
			if b.source("content.condition.expression") != "" && b.source("content.condition.title") == "" {
				return nil, fmt.Errorf("a condition of the bucket %s has no title, which Google refuses", policy.Labels[1])
			}
		}
	}
	return all, nil
}

func gcpDoors(c configuration) error {
	text := strings.Join(strings.Fields(c["gcp/functions.tf"]), " ")
	for _, door := range []string{
		`webhook = { target = "Webhook", ingress = "INGRESS_TRAFFIC_ALL", invokers = ["allUsers"] }`,
		`queue = { target = "Queue", ingress = "INGRESS_TRAFFIC_INTERNAL_ONLY", invokers = ["serviceAccount:${google_service_account.caller["queue"].email}"] }`,
		`reconcile = { target = "Reconcile", ingress = "INGRESS_TRAFFIC_INTERNAL_ONLY", invokers = ["serviceAccount:${google_service_account.caller["reconcile"].email}"] }`,
		`operate = { target = "Operate", ingress = "INGRESS_TRAFFIC_ALL", invokers = sort(var.operators) }`,
	} {
		if !strings.Contains(text, door) {
			return fmt.Errorf("want the door %s", door)
		}
	}
	if strings.Count(text, "allUsers") != 1 {
		return errors.New("more than the webhook is open to everybody")
	}
	invokers, err := c.resource("gcp", "google_cloud_run_v2_service_iam_binding", "door")
	if err != nil {
		return err
	}
	if invokers.source("role") != `"roles/run.invoker"` || invokers.source("members") != "local.doors[each.key].invokers" {
		return errors.New("who may invoke a door is not what its list says")
	}
	for kind, at := range map[[2]string]string{
		{"google_cloud_scheduler_job", "reconcile"}: `http_target.oidc_token.service_account_email`,
		{"google_pubsub_subscription", "snapshots"}: `push_config.oidc_token.service_account_email`,
	} {
		caller, err := c.resource("gcp", kind[0], kind[1])
		if err != nil {
			return err
		}
		if !strings.HasPrefix(caller.source(at), "google_service_account.caller[") {
			return fmt.Errorf("%s calls without a token of its own", caller.address())
		}
	}
	operators, err := c.variable("gcp", "operators")
	if err != nil {
		return err
	}
	if !strings.Contains(operators.source("validation.condition"), `^(user|group|serviceAccount):`) {
		return errors.New("an operator could be everybody")
	}
	return nil
}

func gcpRights(c configuration) error {
	want := map[string][]string{
		"writer":     {"storage.objects.create", "storage.objects.delete", "storage.objects.get"},
		"recorder":   {"storage.objects.create", "storage.objects.get"},
		"lister":     {"storage.objects.list"},
		"reader":     {"storage.objects.get"},
		"key_keeper": {"iam.workloadIdentityPoolProviders.get", "iam.workloadIdentityPoolProviders.update"},
	}
	roles, err := c.resources("google_project_iam_custom_role")
	if err != nil {
		return err
	}
	for _, role := range roles {
		if got, err := role.strings("permissions"); err != nil || !slices.Equal(got, want[role.Labels[1]]) {
			return fmt.Errorf("role %s has %q: %w", role.Labels[1], got, errors.Join(err))
		}
	}
	if len(roles) != len(want) {
		return fmt.Errorf("%d roles, want %d", len(roles), len(want))
	}
	bindings, err := c.gcpBindings()
	if err != nil {
		return err
	}
	const publisher = "[local.publisher_member]"
	exact := func(bucket string) string {
		return `join(" || ", [for name in binding.value : "resource.name == 'projects/_/buckets/` + bucket + `/objects/${name}'"])`
	}
	custom := func(name string) string { return "google_project_iam_custom_role." + name + ".id" }
	allowed := []gcpBinding{
		{"documents", custom("lister"), publisher, "", ""},
		{"documents", custom("writer"), publisher, "local.document_groups", exact("${var.bucket}")},
		{"private", custom("lister"), publisher, "", ""},
		{"private", custom("reader"), publisher, "", `"resource.name.startsWith('projects/_/buckets/${var.bucket}-private/objects/state/')"`},
		{"private", custom("writer"), publisher, "local.state_groups", exact("${var.bucket}-private")},
		{"private", custom("recorder"), publisher, "local.log_groups", `join(" || ", [for name in binding.value : "resource.name.startsWith('projects/_/buckets/${var.bucket}-private/objects/${name}/')"])`},
		{"settings", custom("lister"), publisher, "", ""},
		{"settings", custom("reader"), publisher, "", ""},
		{"documents", `"roles/storage.legacyObjectReader"`, "[binding.value]", `local.is_public ? ["allUsers"] : []`, ""},
	}
	for _, name := range []string{"documents", "private", "settings"} {
		allowed = append(allowed, gcpBinding{name, `"roles/storage.legacyBucketOwner"`, `["projectOwner:${var.project_id}"]`, "", ""})
	}
	for _, b := range bindings {
		if !slices.Contains(allowed, b) {
			return fmt.Errorf("the bucket %s has a right more: %+v", b.policy, b)
		}
	}
	if len(bindings) != len(allowed) {
		return fmt.Errorf("%d bindings on buckets, want %d", len(bindings), len(allowed))
	}
	return gcpOtherGrants(c)
}

// gcpOtherGrants: every grant outside of the buckets' policies, and of the workloads' own.
func gcpOtherGrants(c configuration) error {
	all, err := c.blocks("", "resource")
	if err != nil {
		return err
	}
	want := []string{
		"gcp/trust:google_project_iam_member.workload",
		"gcp/trust:google_service_account_iam_member.workload",
		"gcp:google_cloud_run_v2_service_iam_binding.door",
		"gcp:google_iam_workload_identity_pool_iam_member.publisher",
		"gcp:google_pubsub_subscription_iam_binding.snapshots",
		"gcp:google_pubsub_topic_iam_binding.dead",
		"gcp:google_pubsub_topic_iam_binding.exporters",
		"gcp:google_storage_bucket_iam_policy.documents",
		"gcp:google_storage_bucket_iam_policy.private",
		"gcp:google_storage_bucket_iam_policy.settings",
	}
	granting := regexp.MustCompile(`^google_.*_iam_(member|binding|policy)$`)
	var got []string
	for _, b := range all {
		if granting.MatchString(b.Labels[0]) {
			got = append(got, b.address())
		}
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		return fmt.Errorf("the grants are %q, want %q", got, want)
	}
	return nil
}

func gcpKept(c configuration) error {
	for _, name := range []string{"documents", "private"} {
		bucket, err := c.resource("gcp", "google_storage_bucket", name)
		if err != nil {
			return err
		}
		for at, want := range map[string]string{
			"lifecycle.prevent_destroy": "true", "force_destroy": "false", "versioning.enabled": "true", "soft_delete_policy.retention_duration_seconds": "7776000",
			"lifecycle_rule.condition.num_newer_versions": "20", "lifecycle_rule.condition.days_since_noncurrent_time": "90",
		} {
			if got := bucket.source(at); got != want {
				return fmt.Errorf("bucket %s: %s is %q, want %s", name, at, got, want)
			}
		}
	}
	return nil
}

func gcpProviders(c configuration) error {
	for name, ignored := range map[string]string{"fetched": "", "uploaded": "[oidc[0].jwks_json]"} {
		provider, err := c.resource("gcp/trust", "google_iam_workload_identity_pool_provider", name)
		if err != nil {
			return err
		}
		for at, want := range map[string]string{
			"attribute_mapping": "each.value.mapping", "attribute_condition": "each.value.condition", "oidc.issuer_uri": "each.value.issuer",
			"oidc.allowed_audiences": "", "lifecycle.ignore_changes": ignored,
		} {
			if got := provider.source(at); got != want {
				return fmt.Errorf("provider %s: %s is %q, want %q", name, at, got, want)
			}
		}
	}
	for _, kind := range []string{"google_project_iam_member", "google_service_account_iam_member"} {
		grant, err := c.resource("gcp/trust", kind, "workload")
		if err != nil {
			return err
		}
		if got := grant.source("member"); got != "each.value.member" {
			return fmt.Errorf("%s grants to %s", kind, got)
		}
	}
	const exact = `"principalSet://iam.googleapis.com/${var.pool}/attribute.workload/${workload.cluster}/${workload.namespace}/${workload.name}"`
	if !strings.Contains(c["gcp/trust/mapping/main.tf"], exact) {
		return errors.New("a principal is not one service account of one cluster")
	}
	return nil
}

func gcpLimits(c configuration) error {
	bucket, err := c.resource("gcp", "google_storage_bucket", "documents")
	if err != nil {
		return err
	}
	if bucket.source("lifecycle.precondition.condition") != "length(local.document_groups) <= 20" {
		return errors.New("the number of documents in a bucket's policy is not checked")
	}
	text := c["gcp/trust/mapping/main.tf"]
	for _, part := range []string{"if length(condition) > 4096", "condition     = length(local.long) == 0", "condition     = !local.repeated", "> 127]", "<= 200"} {
		if !strings.Contains(text, part) {
			return fmt.Errorf("the mapping does not check %q", part)
		}
	}
	return nil
}
