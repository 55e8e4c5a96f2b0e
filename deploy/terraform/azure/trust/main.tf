# Lets workloads of enrolled clusters into Azure: an identity for each service account, with a federated credential for each of its clusters. The issuers
# may be published anywhere; Entra fetches their keys when somebody logs in.

module "clusters" {
  source = "../../clusters"

  directory        = var.clusters_directory
  issuer_base      = var.issuer_base
  service_accounts = { for name, account in var.service_accounts : name => account.clusters }
}

locals {
  # Names of service accounts may have dots and be long; those of identities may not.
  slugs = { for account in keys(var.service_accounts) : account => "${replace(replace(account, "/", "-"), ".", "-")}-${substr(sha256(account), 0, 8)}" }
  names = { for account, slug in local.slugs : account => length("${var.name}-${slug}") <= 100 ? "${var.name}-${slug}" : "${var.name}-${substr(sha256(account), 0, 24)}" }

  members = { for account in keys(var.service_accounts) : account => [for workload in values(module.clusters.workloads) : workload.cluster if workload.account == account] }
  grants = merge([for name, account in var.service_accounts : {
    for key, grant in account.roles : "${name} ${key}" => merge(grant, { account = name })
  }]...)
}

resource "azurerm_user_assigned_identity" "workload" {
  for_each = var.service_accounts

  resource_group_name = var.resource_group_name
  location            = var.location
  name                = local.names[each.key]
  tags                = var.tags

  lifecycle {
    precondition {
      condition     = length(local.members[each.key]) <= 20
      error_message = "Service account ${each.key} is in ${length(local.members[each.key])} clusters, and an identity has at most 20 federated credentials: use the module again for some of the clusters, with another name."
    }
  }
}

# Issuer, subject and audience are compared byte for byte. Entra takes one write at a time for an identity; the provider locks the identity, so that
# these are made one after the other, about four seconds each.
resource "azurerm_federated_identity_credential" "workload" {
  for_each = module.clusters.workloads

  user_assigned_identity_id = azurerm_user_assigned_identity.workload[each.value.account].id
  name                      = "kube-${each.value.cluster}"
  issuer                    = each.value.issuer
  subject                   = each.value.subject
  audience                  = [var.audience]
}

resource "azurerm_role_assignment" "workload" {
  for_each = local.grants

  scope                = each.value.scope
  role_definition_name = each.value.role
  principal_id         = azurerm_user_assigned_identity.workload[each.value.account].principal_id
  principal_type       = "ServicePrincipal"
}
