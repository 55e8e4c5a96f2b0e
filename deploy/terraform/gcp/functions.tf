# One image behind four doors, each a service of its own, so that IAM guards every door by itself.

locals {
  doors = merge(
    var.webhook ? { webhook = { target = "Webhook", ingress = "INGRESS_TRAFFIC_ALL", invokers = ["allUsers"] } } : {},
    var.queue ? { queue = { target = "Queue", ingress = "INGRESS_TRAFFIC_INTERNAL_ONLY", invokers = ["serviceAccount:${google_service_account.caller["queue"].email}"] } } : {},
    { reconcile = { target = "Reconcile", ingress = "INGRESS_TRAFFIC_INTERNAL_ONLY", invokers = ["serviceAccount:${google_service_account.caller["reconcile"].email}"] } },
    length(var.operators) == 0 ? {} : { operate = { target = "Operate", ingress = "INGRESS_TRAFFIC_ALL", invokers = sort(var.operators) } },
  )
  door_names = setunion(["reconcile"], var.webhook ? ["webhook"] : [], var.queue ? ["queue"] : [], length(var.operators) == 0 ? [] : ["operate"])

  # Services read their settings when they start: new ones need new instances.
  settings_digest = sha256(jsonencode(module.clusters.settings))
}

resource "google_service_account" "publisher" {
  project      = var.project_id
  account_id   = "${var.name}-publisher"
  display_name = "kube-iam-assume: the publisher"
}

# Who may knock at the doors that are for machines: Pub/Sub at one, Cloud Scheduler at the other.
resource "google_service_account" "caller" {
  for_each = setunion(["reconcile"], var.queue ? ["queue"] : [])

  project      = var.project_id
  account_id   = "${var.name}-${each.key}"
  display_name = "kube-iam-assume: calls ${each.key}"
}

resource "google_cloud_run_v2_service" "door" {
  for_each = local.door_names

  project             = var.project_id
  location            = var.region
  name                = "${var.name}-${each.key}"
  description         = "judges snapshots and publishes the OIDC documents of Kubernetes clusters: ${local.doors[each.key].target}"
  ingress             = local.doors[each.key].ingress
  deletion_protection = false

  template {
    service_account                  = google_service_account.publisher.email
    timeout                          = "90s"
    max_instance_request_concurrency = 10
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    labels                           = { settings = substr(local.settings_digest, 0, 32) }

    scaling {
      min_instance_count = 0
      max_instance_count = var.max_instances
    }

    containers {
      image       = var.image
      working_dir = "/settings"

      env {
        name  = "FUNCTION_TARGET"
        value = local.doors[each.key].target
      }

      env {
        name  = "DOCUMENTS_BUCKET"
        value = google_storage_bucket.documents.name
      }

      env {
        name  = "PRIVATE_BUCKET"
        value = google_storage_bucket.private.name
      }

      env {
        name  = "GOOGLE_CLOUD_PROJECT"
        value = var.project_id
      }

      resources {
        limits            = { cpu = "1", memory = "512Mi" }
        cpu_idle          = true
        startup_cpu_boost = true
      }

      volume_mounts {
        name       = "settings"
        mount_path = "/settings"
      }
    }

    volumes {
      name = "settings"

      gcs {
        bucket    = google_storage_bucket.settings.name
        read_only = true
      }
    }
  }

  lifecycle {
    precondition {
      condition     = var.webhook || var.queue
      error_message = "Neither webhook nor queue: no snapshot could come in."
    }
  }

  # The first instance needs its rights and its settings.
  depends_on = [
    google_storage_bucket_iam_policy.documents,
    google_storage_bucket_iam_policy.private,
    google_storage_bucket_iam_policy.settings,
    google_storage_bucket_object.settings,
    google_iam_workload_identity_pool_iam_member.publisher,
  ]
}

resource "google_cloud_run_v2_service_iam_binding" "door" {
  for_each = local.door_names

  project  = var.project_id
  location = var.region
  name     = google_cloud_run_v2_service.door[each.key].name
  role     = "roles/run.invoker"
  members  = local.doors[each.key].invokers
}

resource "google_cloud_scheduler_job" "reconcile" {
  project          = var.project_id
  region           = var.region
  name             = "${var.name}-reconcile"
  description      = "compares what is published with what should be"
  schedule         = "*/5 * * * *"
  time_zone        = "Etc/UTC"
  attempt_deadline = "90s"

  http_target {
    http_method = "POST"
    uri         = google_cloud_run_v2_service.door["reconcile"].uri

    oidc_token {
      service_account_email = google_service_account.caller["reconcile"].email
      audience              = google_cloud_run_v2_service.door["reconcile"].uri
    }
  }

  depends_on = [google_cloud_run_v2_service_iam_binding.door]
}

# Google's API has no narrower right than to update a provider whole. It is given for this pool, which holds nothing but the clusters' providers.
resource "google_project_iam_custom_role" "key_keeper" {
  count = local.is_public ? 0 : 1

  project     = var.project_id
  role_id     = "${replace(var.name, "-", "_")}_key_keeper"
  title       = "kube-iam-assume: keeps the keys of the clusters' providers"
  permissions = ["iam.workloadIdentityPoolProviders.get", "iam.workloadIdentityPoolProviders.update"]
}

resource "google_iam_workload_identity_pool_iam_member" "publisher" {
  count = local.is_public ? 0 : 1

  project                   = var.project_id
  workload_identity_pool_id = module.trust.pool_id
  role                      = google_project_iam_custom_role.key_keeper[0].id
  member                    = local.publisher_member
}
