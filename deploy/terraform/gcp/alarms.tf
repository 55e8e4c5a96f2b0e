# Alarms are made of the lines of the function's log, by the events' names, so that all clouds alarm on the same things. What to do about each is in
# docs/aws.md under the anchor of its name, and in docs/gcp.md what is Google's own.

locals {
  log_of_doors = "resource.type=\"cloud_run_revision\" AND resource.labels.location=\"${var.region}\" AND resource.labels.service_name=(${join(" OR ", [for door in sort(local.door_names) : "\"${var.name}-${door}\""])})"
  of_doors     = "resource.type = \"cloud_run_revision\" AND resource.labels.location = \"${var.region}\" AND resource.labels.service_name = one_of(${join(", ", [for door in sort(local.door_names) : "\"${var.name}-${door}\""])})"

  # Alarms of the platform's own metrics.
  platform = {
    Errors    = { says = "the function failed", filter = "metric.type = \"run.googleapis.com/request_count\" AND ${local.of_doors} AND metric.labels.response_code_class = \"5xx\"" }
    Throttles = { says = "the function was not run because too many were running", filter = "metric.type = \"run.googleapis.com/request_count\" AND ${local.of_doors} AND metric.labels.response_code = \"429\"" }
  }
}

resource "google_logging_metric" "event" {
  for_each = module.alarms.alarms

  project     = var.project_id
  name        = "${var.name}/${each.key}"
  description = each.value.says
  filter      = "${local.log_of_doors} AND jsonPayload.event=(${join(" OR ", [for event in each.value.events : "\"${event}\""])})"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
  }
}

resource "google_monitoring_alert_policy" "event" {
  for_each = module.alarms.alarms

  project               = var.project_id
  display_name          = "${var.name}: ${each.key}"
  combiner              = "OR"
  notification_channels = var.notification_channels

  conditions {
    display_name = each.value.says

    condition_threshold {
      filter          = "metric.type = \"logging.googleapis.com/user/${google_logging_metric.event[each.key].name}\" AND resource.type = \"cloud_run_revision\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = each.value.periods == 1 ? "0s" : "${each.value.periods * 300}s"

      # A period without a line is one without the trouble.
      evaluation_missing_data = each.value.periods == 1 ? null : "EVALUATION_MISSING_DATA_INACTIVE"

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  alert_strategy {
    auto_close = "1800s"
  }

  documentation {
    mime_type = "text/markdown"
    content   = "${each.value.says}. What to do: docs/aws.md#alarm-${lower(each.key)}"
  }
}

resource "google_monitoring_alert_policy" "platform" {
  for_each = local.platform

  project               = var.project_id
  display_name          = "${var.name}: ${each.key}"
  combiner              = "OR"
  notification_channels = var.notification_channels

  conditions {
    display_name = each.value.says

    condition_threshold {
      filter          = each.value.filter
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  alert_strategy {
    auto_close = "1800s"
  }

  documentation {
    mime_type = "text/markdown"
    content   = "${each.value.says}. What to do: docs/gcp.md#alarm-${lower(each.key)}"
  }
}

resource "google_monitoring_alert_policy" "asleep" {
  project               = var.project_id
  display_name          = "${var.name}: Asleep"
  combiner              = "OR"
  notification_channels = var.notification_channels

  conditions {
    display_name = "the function has not run for 15 minutes: nothing reconciles"

    condition_absent {
      filter   = "metric.type = \"run.googleapis.com/request_count\" AND resource.type = \"cloud_run_revision\" AND resource.labels.service_name = \"${google_cloud_run_v2_service.door["reconcile"].name}\""
      duration = "900s"

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "The function has not run for 15 minutes: nothing reconciles. What to do: docs/gcp.md#alarm-asleep"
  }
}

resource "google_monitoring_alert_policy" "dead_letters" {
  for_each = local.queues

  project               = var.project_id
  display_name          = "${var.name}: DeadLetters"
  combiner              = "OR"
  notification_channels = var.notification_channels

  conditions {
    display_name = "snapshots could not be handled five times"

    condition_threshold {
      filter          = "metric.type = \"pubsub.googleapis.com/subscription/num_undelivered_messages\" AND resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id = \"${google_pubsub_subscription.dead[each.key].name}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"

      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  alert_strategy {
    auto_close = "1800s"
  }

  documentation {
    mime_type = "text/markdown"
    content   = "Snapshots could not be handled five times. What to do: docs/gcp.md#alarm-deadletters"
  }
}
