# Snapshots by Pub/Sub: exporters publish with the tokens of their own clusters, and Pub/Sub pushes to the queue's door.

locals {
  queues       = var.queue ? toset(["snapshots"]) : toset([])
  pubsub_agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_pubsub_topic" "snapshots" {
  for_each = local.queues

  project                    = var.project_id
  name                       = "${var.name}-snapshots"
  message_retention_duration = "3600s"
}

resource "google_pubsub_topic" "dead" {
  for_each = local.queues

  project = var.project_id
  name    = "${var.name}-dead"
}

resource "google_pubsub_subscription" "snapshots" {
  for_each = local.queues

  project                    = var.project_id
  name                       = "${var.name}-snapshots"
  topic                      = google_pubsub_topic.snapshots[each.key].id
  ack_deadline_seconds       = 60
  message_retention_duration = "3600s" # a snapshot is believed for at most an hour

  push_config {
    push_endpoint = google_cloud_run_v2_service.door["queue"].uri

    oidc_token {
      service_account_email = google_service_account.caller["queue"].email
      audience              = google_cloud_run_v2_service.door["queue"].uri
    }
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead[each.key].id
    max_delivery_attempts = 5
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "300s"
  }

  expiration_policy {
    ttl = "" # never
  }

  depends_on = [google_cloud_run_v2_service_iam_binding.door]
}

# Dead letters wait here to be looked at, and to be counted.
resource "google_pubsub_subscription" "dead" {
  for_each = local.queues

  project                    = var.project_id
  name                       = "${var.name}-dead"
  topic                      = google_pubsub_topic.dead[each.key].id
  message_retention_duration = "604800s"

  expiration_policy {
    ttl = "" # never
  }
}

resource "google_pubsub_topic_iam_binding" "exporters" {
  for_each = local.queues

  project = var.project_id
  topic   = google_pubsub_topic.snapshots[each.key].name
  role    = "roles/pubsub.publisher"
  members = values(module.trust.exporters)
}

# Pub/Sub itself moves a message to the dead letters.
resource "google_pubsub_topic_iam_binding" "dead" {
  for_each = local.queues

  project = var.project_id
  topic   = google_pubsub_topic.dead[each.key].name
  role    = "roles/pubsub.publisher"
  members = [local.pubsub_agent]
}

resource "google_pubsub_subscription_iam_binding" "snapshots" {
  for_each = local.queues

  project      = var.project_id
  subscription = google_pubsub_subscription.snapshots[each.key].name
  role         = "roles/pubsub.subscriber"
  members      = [local.pubsub_agent]
}
