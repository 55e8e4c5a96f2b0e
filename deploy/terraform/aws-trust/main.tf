# Lets workloads of enrolled clusters assume roles of one AWS account: an identity provider for each cluster's issuer, and the roles that trust them.
# The issuer may be published anywhere; its documents must be readable before this is applied.

module "clusters" {
  source = "../clusters"

  directory        = var.clusters_directory
  issuer_base      = var.issuer_base
  service_accounts = { for account, role in var.roles : account => role.clusters }
}

module "policies" {
  source = "./policies"

  partition   = data.aws_partition.current.partition
  account     = data.aws_caller_identity.current.account_id
  audience    = var.audience
  workloads   = module.clusters.workloads
  per_cluster = [for account, role in var.roles : account if role.per_cluster]
  maximum     = var.maximum_trust_policy
}

data "aws_partition" "current" {}

data "aws_caller_identity" "current" {}

# Without thumbprints: hosts of public certificates need none, and a list would be wrong at the next renewal of an intermediate one.
resource "aws_iam_openid_connect_provider" "cluster" {
  for_each = { for id, cluster in module.clusters.clusters : id => cluster if var.create_providers }

  url            = each.value.issuer
  client_id_list = [var.audience]
  tags           = var.tags

  lifecycle {
    precondition {
      condition     = length(module.clusters.clusters) <= var.maximum_providers
      error_message = "${length(module.clusters.clusters)} clusters need as many identity providers, IAM's quota L-858F3967 allows ${var.maximum_providers} in an account (700 at most)."
    }
  }
}

locals {
  # Namespaces have no dot and names of service accounts no @, so no two roles have one name.
  names = { for role, members in module.policies.members : role => "${var.role_prefix}.${replace(role, "/", ".")}" }

  attachments = merge([for role, members in module.policies.members : {
    for arn in var.roles[members[0].account].managed_policies : "${role} ${arn}" => { role = role, arn = arn }
  }]...)
  inline = merge([for role, members in module.policies.members : {
    for name, policy in var.roles[members[0].account].inline_policies : "${role} ${name}" => { role = role, name = name, policy = policy }
  }]...)
}

resource "aws_iam_role" "workload" {
  for_each = module.policies.policies

  name                 = length(local.names[each.key]) <= 64 ? local.names[each.key] : "${substr(local.names[each.key], 0, 47)}-${substr(sha256(local.names[each.key]), 0, 16)}"
  description          = substr("service account ${each.key} in ${join(", ", [for member in module.policies.members[each.key] : member.cluster])}", 0, 1000)
  assume_role_policy   = each.value
  max_session_duration = var.roles[module.policies.members[each.key][0].account].max_session_duration
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags

  depends_on = [aws_iam_openid_connect_provider.cluster]
}

resource "aws_iam_role_policy_attachment" "workload" {
  for_each = local.attachments

  role       = aws_iam_role.workload[each.value.role].name
  policy_arn = each.value.arn
}

resource "aws_iam_role_policy" "workload" {
  for_each = local.inline

  role   = aws_iam_role.workload[each.value.role].name
  name   = each.value.name
  policy = each.value.policy
}
