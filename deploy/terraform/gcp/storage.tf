# Three buckets: documents, which the world reads; private, with the state and the log; settings, which the functions read when they start.

locals {
  objects   = values(module.clusters.clusters)[*].objects
  documents = sort(flatten([for object in local.objects : [object.discovery, object.jwks]]))
  states    = sort(local.objects[*].state)
  logs      = sort(local.objects[*].log)

  # A condition has at most 12 operators, and a member at most 20 conditional bindings of one role: so the names go in dozens.
  document_groups = chunklist(local.documents, 12)
  state_groups    = chunklist(local.states, 12)
  log_groups      = chunklist(local.logs, 12)

  publisher_member = "serviceAccount:${google_service_account.publisher.email}"
}

resource "google_storage_bucket" "documents" {
  project                     = var.project_id
  name                        = var.bucket
  location                    = upper(var.region)
  uniform_bucket_level_access = true
  public_access_prevention    = local.is_public ? "inherited" : "enforced"
  force_destroy               = false

  versioning {
    enabled = true
  }

  # What is overwritten or deleted can be brought back for 90 days, and nobody can shorten that who cannot administer the bucket.
  soft_delete_policy {
    retention_duration_seconds = 7776000
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }

    condition {
      num_newer_versions         = 20
      days_since_noncurrent_time = 90
    }
  }

  lifecycle {
    prevent_destroy = true

    precondition {
      condition     = length(local.document_groups) <= 20
      error_message = "${length(local.objects)} clusters: one bucket's policy can name the documents of 120. Publish the others from another project."
    }
  }
}

resource "google_storage_bucket" "private" {
  project                     = var.project_id
  name                        = "${var.bucket}-private"
  location                    = upper(var.region)
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false

  versioning {
    enabled = true
  }

  soft_delete_policy {
    retention_duration_seconds = 7776000
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }

    condition {
      num_newer_versions         = 20
      days_since_noncurrent_time = 90
    }
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "google_storage_bucket" "settings" {
  project                     = var.project_id
  name                        = "${var.bucket}-settings"
  location                    = upper(var.region)
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false

  versioning {
    enabled = true
  }
}

resource "google_storage_bucket_object" "settings" {
  for_each = module.clusters.settings

  bucket        = google_storage_bucket.settings.name
  name          = each.key
  content       = each.value
  content_type  = "application/yaml"
  cache_control = "no-store"
}

# Overwriting an object needs the right to delete it. What keeps a stolen publisher from destroying anything is that the right is for the names of the
# documents and states alone, that old versions stay, and that soft delete keeps even those for 90 days.
resource "google_project_iam_custom_role" "writer" {
  project     = var.project_id
  role_id     = "${replace(var.name, "-", "_")}_writer"
  title       = "kube-iam-assume: writes the documents and the states"
  permissions = ["storage.objects.create", "storage.objects.delete", "storage.objects.get"]
}

# The log is create-only: who lacks the right to delete can't overwrite either.
resource "google_project_iam_custom_role" "recorder" {
  project     = var.project_id
  role_id     = "${replace(var.name, "-", "_")}_recorder"
  title       = "kube-iam-assume: adds records to the log"
  permissions = ["storage.objects.create", "storage.objects.get"]
}

# Without the right to list, Cloud Storage answers "denied" where there is no such object, and the publisher must know the difference.
resource "google_project_iam_custom_role" "lister" {
  project     = var.project_id
  role_id     = "${replace(var.name, "-", "_")}_lister"
  title       = "kube-iam-assume: tells a missing object from a forbidden one"
  permissions = ["storage.objects.list"]
}

resource "google_project_iam_custom_role" "reader" {
  project     = var.project_id
  role_id     = "${replace(var.name, "-", "_")}_reader"
  title       = "kube-iam-assume: reads objects"
  permissions = ["storage.objects.get"]
}

# The policies of the buckets are these and nothing else: a new bucket also lets in the project's editors and viewers, whom these replace. The project's
# owners stay, because they could give themselves any right.
data "google_iam_policy" "documents" {
  binding {
    role    = "roles/storage.legacyBucketOwner"
    members = ["projectOwner:${var.project_id}"]
  }

  # IAM takes no condition for everybody. But only the names below can ever be in this bucket, and legacyObjectReader can't list.
  dynamic "binding" {
    for_each = local.is_public ? ["allUsers"] : []

    content {
      role    = "roles/storage.legacyObjectReader"
      members = [binding.value]
    }
  }

  binding {
    role    = google_project_iam_custom_role.lister.id
    members = [local.publisher_member]
  }

  dynamic "binding" {
    for_each = local.document_groups

    content {
      role    = google_project_iam_custom_role.writer.id
      members = [local.publisher_member]

      condition {
        title      = "documents ${binding.key + 1}"
        expression = join(" || ", [for name in binding.value : "resource.name == 'projects/_/buckets/${var.bucket}/objects/${name}'"])
      }
    }
  }
}

resource "google_storage_bucket_iam_policy" "documents" {
  bucket      = google_storage_bucket.documents.name
  policy_data = data.google_iam_policy.documents.policy_data
}

data "google_iam_policy" "private" {
  binding {
    role    = "roles/storage.legacyBucketOwner"
    members = ["projectOwner:${var.project_id}"]
  }

  binding {
    role    = google_project_iam_custom_role.lister.id
    members = [local.publisher_member]
  }

  # A start looks for the states of clusters that vanished from the settings.
  binding {
    role    = google_project_iam_custom_role.reader.id
    members = [local.publisher_member]

    condition {
      title      = "any state"
      expression = "resource.name.startsWith('projects/_/buckets/${var.bucket}-private/objects/state/')"
    }
  }

  dynamic "binding" {
    for_each = local.state_groups

    content {
      role    = google_project_iam_custom_role.writer.id
      members = [local.publisher_member]

      condition {
        title      = "states ${binding.key + 1}"
        expression = join(" || ", [for name in binding.value : "resource.name == 'projects/_/buckets/${var.bucket}-private/objects/${name}'"])
      }
    }
  }

  dynamic "binding" {
    for_each = local.log_groups

    content {
      role    = google_project_iam_custom_role.recorder.id
      members = [local.publisher_member]

      condition {
        title      = "logs ${binding.key + 1}"
        expression = join(" || ", [for name in binding.value : "resource.name.startsWith('projects/_/buckets/${var.bucket}-private/objects/${name}/')"])
      }
    }
  }
}

resource "google_storage_bucket_iam_policy" "private" {
  bucket      = google_storage_bucket.private.name
  policy_data = data.google_iam_policy.private.policy_data
}

data "google_iam_policy" "settings" {
  binding {
    role    = "roles/storage.legacyBucketOwner"
    members = ["projectOwner:${var.project_id}"]
  }

  binding {
    role    = google_project_iam_custom_role.lister.id
    members = [local.publisher_member]
  }

  binding {
    role    = google_project_iam_custom_role.reader.id
    members = [local.publisher_member]
  }
}

resource "google_storage_bucket_iam_policy" "settings" {
  bucket      = google_storage_bucket.settings.name
  policy_data = data.google_iam_policy.settings.policy_data

  # Else whoever applies this could be shut out before the objects are there.
  depends_on = [google_storage_bucket_object.settings]
}
