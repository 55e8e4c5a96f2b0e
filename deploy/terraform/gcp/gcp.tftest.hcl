# With the real provider's schema and none of its calls, where the provider can be had. Everything is planned and nothing applied, because a test could not
# clean up what prevent_destroy keeps.

mock_provider "google" {
  override_during = plan

  mock_data "google_project" {
    defaults = {
      number = "111122223333"
    }
  }

  mock_data "google_iam_policy" {
    defaults = {
      policy_data = "{\"bindings\":[]}"
    }
  }

  mock_resource "google_cloud_run_v2_service" {
    defaults = {
      uri = "https://door-abc.a.run.app"
    }
  }

  mock_resource "google_service_account" {
    defaults = {
      email = "account@example-project.iam.gserviceaccount.com"
    }
  }

  mock_resource "google_project_iam_custom_role" {
    defaults = {
      id = "projects/example-project/roles/role"
    }
  }

  mock_resource "google_pubsub_topic" {
    defaults = {
      id = "projects/example-project/topics/kube-iam-assume-snapshots"
    }
  }
}

variables {
  project_id         = "example-project"
  region             = "europe-west3"
  bucket             = "example-oidc"
  image              = "europe-west3-docker.pkg.dev/example-project/kube-iam-assume/publisher@sha256:0000000000000000000000000000000000000000000000000000000000000000"
  clusters_directory = "../clusters/testdata/clusters"
  operators          = ["group:oncall@example.com"]
  service_accounts   = { "production/payments" = { clusters = ["prod-eu1"], roles = ["roles/storage.objectViewer"], impersonate = ["payments@example-project.iam.gserviceaccount.com"] } }
}

run "public" {
  command = plan

  assert {
    condition     = output.issuers["prod-eu1"] == "https://storage.googleapis.com/example-oidc/prod-eu1"
    error_message = jsonencode(output.issuers)
  }

  assert {
    condition = jsondecode(output.exporters["prod-eu1"]) == {
      cluster        = "prod-eu1"
      issuer         = "https://storage.googleapis.com/example-oidc/prod-eu1"
      serviceAccount = "kube-iam-assume/cluster-exporter"
      destinations = [{
        publisher = "kube-iam-assume/example-project"
        webhook   = { url = "https://door-abc.a.run.app/v1/snapshots" }
        pubsub    = { topic = "projects/example-project/topics/kube-iam-assume-snapshots", provider = "projects/111122223333/locations/global/workloadIdentityPools/kubernetes/providers/prod-eu1" }
      }]
    }
    error_message = output.exporters["prod-eu1"]
  }

  assert {
    condition     = join(" ", keys(google_cloud_run_v2_service.door)) == "operate queue reconcile webhook" && google_cloud_run_v2_service_iam_binding.door["operate"].members == toset(["group:oncall@example.com"]) && google_cloud_run_v2_service_iam_binding.door["webhook"].members == toset(["allUsers"])
    error_message = "Other doors, or other callers."
  }

  assert {
    condition     = { for env in google_cloud_run_v2_service.door["queue"].template[0].containers[0].env : env.name => env.value } == { FUNCTION_TARGET = "Queue", DOCUMENTS_BUCKET = "example-oidc", PRIVATE_BUCKET = "example-oidc-private", GOOGLE_CLOUD_PROJECT = "example-project" }
    error_message = jsonencode(google_cloud_run_v2_service.door["queue"].template[0].containers[0].env)
  }

  assert {
    condition     = data.google_iam_policy.documents.binding != null && [for binding in data.google_iam_policy.documents.binding : one(binding.condition).expression if length(binding.condition) > 0] == ["resource.name == 'projects/_/buckets/example-oidc/objects/prod-eu1/.well-known/openid-configuration' || resource.name == 'projects/_/buckets/example-oidc/objects/prod-eu1/openid/v1/jwks' || resource.name == 'projects/_/buckets/example-oidc/objects/prod-us1/.well-known/openid-configuration' || resource.name == 'projects/_/buckets/example-oidc/objects/prod-us1/openid/v1/jwks'"]
    error_message = jsonencode(data.google_iam_policy.documents.binding)
  }

  assert {
    condition     = [for binding in data.google_iam_policy.documents.binding : binding.role if contains(binding.members, "allUsers")] == ["roles/storage.legacyObjectReader"] && google_storage_bucket.documents.public_access_prevention == "inherited"
    error_message = "The world reads something else, or nothing."
  }

  assert {
    condition     = join(" ", sort(keys(google_storage_bucket_object.settings))) == "clusters/prod-eu1.yaml clusters/prod-us1.yaml publisher.yaml" && !strcontains(google_storage_bucket_object.settings["publisher.yaml"].content, "workloadIdentityProvider")
    error_message = "Other settings."
  }

  assert {
    condition     = strcontains(google_logging_metric.event["Lost"].filter, "jsonPayload.event=(\"state.lost\" OR \"log.conflict\"") && strcontains(google_logging_metric.event["Lost"].filter, "service_name=(\"kube-iam-assume-operate\" OR ")
    error_message = google_logging_metric.event["Lost"].filter
  }

  assert {
    condition     = !contains(keys(google_monitoring_alert_policy.event), "Mirror") && !strcontains(google_storage_bucket_object.settings["publisher.yaml"].content, "private")
    error_message = "An alarm about mirrors where there are none, or documents that nobody looks at."
  }

  assert {
    condition     = length(google_iam_workload_identity_pool_iam_member.publisher) == 0
    error_message = "The publisher may change providers, and has nothing to do with them."
  }
}

run "nothing_public" {
  command = plan

  variables {
    keys = "providers"
  }

  assert {
    condition     = google_storage_bucket.documents.public_access_prevention == "enforced" && alltrue([for binding in data.google_iam_policy.documents.binding : !contains(binding.members, "allUsers")])
    error_message = "Something is public."
  }

  assert {
    condition     = strcontains(google_storage_bucket_object.settings["publisher.yaml"].content, "\"workloadIdentityProvider\": \"projects/111122223333/locations/global/workloadIdentityPools/kubernetes/providers/prod-eu1\"")
    error_message = "The publisher does not know which provider has its keys."
  }

  assert {
    condition     = length(google_iam_workload_identity_pool_iam_member.publisher) == 1
    error_message = "The publisher can't keep the keys."
  }

  assert {
    condition     = [for issuer in yamldecode(google_storage_bucket_object.settings["publisher.yaml"].content).issuers : issuer.private] == [true, true]
    error_message = "The publisher looks for documents that nobody can read."
  }
}

run "beside_mirrors" {
  command = plan

  variables {
    issuer_base = "https://oidc.example.com"
    mirrors     = ["https://m.example.com/oidc"]
  }

  assert {
    condition     = [for issuer in yamldecode(google_storage_bucket_object.settings["publisher.yaml"].content).issuers : [issuer.url, issuer.mirrors, try(issuer.servedAt, null)]][0] == ["https://oidc.example.com/prod-eu1", ["https://m.example.com/oidc/prod-eu1"], null]
    error_message = google_storage_bucket_object.settings["publisher.yaml"].content
  }

  assert {
    condition     = google_monitoring_alert_policy.event["Mirror"].conditions[0].condition_threshold[0].duration == "900s" && google_monitoring_alert_policy.event["Lost"].conditions[0].condition_threshold[0].duration == "0s"
    error_message = "No alarm, or another, if a mirror differs."
  }
}

run "a_mirror" {
  command = plan

  variables {
    mirror_of = "https://oidc.example.com"
  }

  assert {
    condition     = [for issuer in yamldecode(google_storage_bucket_object.settings["publisher.yaml"].content).issuers : [issuer.url, issuer.servedAt]][0] == ["https://oidc.example.com/prod-eu1", "https://storage.googleapis.com/example-oidc/prod-eu1"]
    error_message = google_storage_bucket_object.settings["publisher.yaml"].content
  }

  assert {
    condition     = contains(keys(google_monitoring_alert_policy.event), "Mirror")
    error_message = "No alarm if the other publisher differs."
  }
}

run "two_places" {
  command = plan

  variables {
    issuer_base = "https://oidc.example.com"
    mirror_of   = "https://oidc.example.com"
  }

  expect_failures = [var.mirror_of]
}

run "mirrors_of_nothing_public" {
  command = plan

  variables {
    keys    = "providers"
    mirrors = ["https://m.example.com/oidc"]
  }

  expect_failures = [var.mirrors]
}

run "webhook_only" {
  command = plan

  variables {
    queue     = false
    operators = []
  }

  assert {
    condition     = join(" ", keys(google_cloud_run_v2_service.door)) == "reconcile webhook" && length(google_pubsub_topic.snapshots) == 0 && output.operate_url == null
    error_message = "There is more than was asked for: ${join(" ", keys(google_cloud_run_v2_service.door))}"
  }
}

run "no_way_in" {
  command = plan

  variables {
    queue   = false
    webhook = false
  }

  expect_failures = [google_cloud_run_v2_service.door]
}

run "a_tag" {
  command = plan

  variables {
    image = "europe-west3-docker.pkg.dev/example-project/kube-iam-assume/publisher:latest"
  }

  expect_failures = [var.image]
}

run "everybody_operates" {
  command = plan

  variables {
    operators = ["allUsers"]
  }

  expect_failures = [var.operators]
}
