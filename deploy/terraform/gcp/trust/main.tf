# Lets workloads of enrolled clusters into one project: a pool, a provider for each cluster's issuer, and grants to exactly the service accounts that are
# listed. The issuer may be published anywhere. Nothing here reads or writes a document.

module "clusters" {
  source = "../../clusters"

  directory        = var.clusters_directory
  issuer_base      = var.issuer_base
  service_accounts = { for name, account in var.service_accounts : name => account.clusters }
}

data "google_project" "this" {
  project_id = var.project_id
}

module "mapping" {
  source = "./mapping"

  clusters        = module.clusters.clusters
  workloads       = module.clusters.workloads
  pool            = "projects/${data.google_project.this.number}/locations/global/workloadIdentityPools/${var.pool_id}"
  admit           = var.admit
  admit_exporters = var.admit_exporters
  admit_unbound   = var.admit_unbound
}

resource "google_iam_workload_identity_pool" "kubernetes" {
  project                   = var.project_id
  workload_identity_pool_id = var.pool_id
  display_name              = "Kubernetes"
  description               = "workloads of self-hosted Kubernetes clusters"
}

# The audience of tokens is the provider's own name, which nothing else in the world accepts; so none is listed.
resource "google_iam_workload_identity_pool_provider" "fetched" {
  for_each = { for id, provider in module.mapping.providers : id => provider if !var.upload_keys }

  project                            = var.project_id
  workload_identity_pool_id          = google_iam_workload_identity_pool.kubernetes.workload_identity_pool_id
  workload_identity_pool_provider_id = each.value.id
  display_name                       = substr(each.key, 0, 32)
  description                        = "cluster ${each.key}"
  attribute_mapping                  = each.value.mapping
  attribute_condition                = each.value.condition

  oidc {
    issuer_uri = each.value.issuer
  }
}

# The same with uploaded keys. Only these ignore what the publisher wrote after them: where keys are fetched, an uploaded set is somebody's mistake or
# attack, and the next plan shows it.
resource "google_iam_workload_identity_pool_provider" "uploaded" {
  for_each = { for id, provider in module.mapping.providers : id => provider if var.upload_keys }

  project                            = var.project_id
  workload_identity_pool_id          = google_iam_workload_identity_pool.kubernetes.workload_identity_pool_id
  workload_identity_pool_provider_id = each.value.id
  display_name                       = substr(each.key, 0, 32)
  description                        = "cluster ${each.key}; the publisher keeps its keys"
  attribute_mapping                  = each.value.mapping
  attribute_condition                = each.value.condition

  oidc {
    issuer_uri = each.value.issuer
    jwks_json  = module.clusters.clusters[each.key].jwks
  }

  lifecycle {
    ignore_changes = [oidc[0].jwks_json]
  }
}

locals {
  grants = merge([for key, workload in module.clusters.workloads : {
    for role in var.service_accounts[workload.account].roles : "${key} ${role}" => { member = module.mapping.principals[key], role = role }
  }]...)
  impersonations = merge([for key, workload in module.clusters.workloads : {
    for email in var.service_accounts[workload.account].impersonate : "${key} ${email}" => { member = module.mapping.principals[key], email = email }
  }]...)
}

resource "google_project_iam_member" "workload" {
  for_each = local.grants

  project = var.project_id
  role    = each.value.role
  member  = each.value.member

  depends_on = [google_iam_workload_identity_pool.kubernetes]
}

resource "google_service_account_iam_member" "workload" {
  for_each = local.impersonations

  service_account_id = "projects/-/serviceAccounts/${each.value.email}"
  role               = "roles/iam.workloadIdentityUser"
  member             = each.value.member

  depends_on = [google_iam_workload_identity_pool.kubernetes]
}
