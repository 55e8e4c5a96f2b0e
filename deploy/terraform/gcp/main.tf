# The Google Cloud side: the buckets, the function behind four doors, its queue and schedule, the pool that lets workloads in, and the alarms.

locals {
  own_base    = "https://storage.googleapis.com/${var.bucket}"
  issuer_base = coalesce(var.mirror_of, var.issuer_base, local.own_base)
  publisher   = "${var.name}/${var.project_id}"
  is_public   = var.keys == "bucket"
}

module "clusters" {
  source = "../clusters"

  directory                   = var.clusters_directory
  issuer_base                 = local.issuer_base
  publisher                   = local.publisher
  retention                   = var.retention
  mirrors                     = var.mirrors
  served_at                   = var.mirror_of == null ? null : local.own_base
  private                     = !local.is_public
  workload_identity_providers = local.is_public ? {} : module.trust.providers
}

module "trust" {
  source = "./trust"

  project_id         = var.project_id
  clusters_directory = var.clusters_directory
  issuer_base        = local.issuer_base
  pool_id            = var.pool_id
  service_accounts   = var.service_accounts
  admit              = var.admit
  admit_exporters    = var.queue
  admit_unbound      = var.admit_unbound
  upload_keys        = !local.is_public
}

module "alarms" {
  source = "../alarms"

  mirrored = length(var.mirrors) > 0 || var.mirror_of != null
}

data "google_project" "this" {
  project_id = var.project_id
}
