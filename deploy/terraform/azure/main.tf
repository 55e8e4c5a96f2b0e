# The Azure side: the storage accounts, the function with its queue and timer, the identities of workloads and exporters, and the alarms.
#
# The provider needs storage_use_azuread = true, because no account here has keys.

locals {
  container   = var.hosting == "website" ? "$web" : "documents"
  own_base    = var.hosting == "website" ? trimsuffix(azurerm_storage_account.documents.primary_web_endpoint, "/") : "https://${var.account}.blob.core.windows.net/${local.container}"
  issuer_base = var.mirror_of != null ? var.mirror_of : var.issuer_base != null ? var.issuer_base : local.own_base
  publisher   = "${var.name}/${var.account}"
}

module "clusters" {
  source = "../clusters"

  directory   = var.clusters_directory
  issuer_base = local.issuer_base
  publisher   = local.publisher
  retention   = var.retention
  mirrors     = var.mirrors
  served_at   = var.mirror_of == null ? null : local.own_base
}

module "trust" {
  source = "./trust"

  resource_group_name = var.resource_group_name
  location            = var.location
  name                = var.name
  clusters_directory  = var.clusters_directory
  issuer_base         = local.issuer_base
  audience            = var.audience
  service_accounts    = var.service_accounts
  tags                = var.tags
}

module "alarms" {
  source = "../alarms"

  mirrored = length(var.mirrors) > 0 || var.mirror_of != null
}
