# The trust policies of workloads' roles, without a provider, so that what decides who gets in can be tested anywhere.

variable "partition" {
  description = "Partition of ARNs: aws, aws-cn or aws-us-gov."
  type        = string
  nullable    = false

  validation {
    condition     = contains(["aws", "aws-cn", "aws-us-gov"], var.partition)
    error_message = "The partition ${jsonencode(var.partition)} must be aws, aws-cn or aws-us-gov."
  }
}

variable "account" {
  description = "ID of the account that has the identity providers and the roles."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account))
    error_message = "The account ${jsonencode(var.account)} must have 12 digits."
  }
}

variable "audience" {
  description = "Audience of the workloads' tokens."
  type        = string
  nullable    = false
}

variable "workloads" {
  description = "The workloads of module clusters, by namespace/name@cluster."
  type = map(object({
    account   = string
    namespace = string
    name      = string
    cluster   = string
    host      = string
    subject   = string
  }))
  nullable = false
}

variable "per_cluster" {
  description = "Service accounts, as namespace/name, that have a role of their own in each cluster."
  type        = set(string)
  nullable    = false
}

variable "maximum" {
  description = "Most characters of a trust policy: IAM's quota L-C07B4B0D."
  type        = number
  nullable    = false
}

locals {
  # By role: namespace/name, or namespace/name@cluster where there is one in each cluster.
  members = { for key, workload in var.workloads : contains(var.per_cluster, workload.account) ? key : workload.account => workload... }

  policies = { for role, members in local.members : role => jsonencode({
    Version = "2012-10-17"
    Statement = [for member in members : {
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = "arn:${var.partition}:iam::${var.account}:oidc-provider/${member.host}" }
      Condition = { StringEquals = {
        "${member.host}:aud" = var.audience
        "${member.host}:sub" = member.subject
      } }
    }]
  }) }

  # IAM does not count white space, and jsonencode makes none.
  long = [for role, policy in local.policies : "${role}: ${length(policy)} characters for ${length(local.members[role])} clusters" if length(policy) > var.maximum]
}

output "policies" {
  description = "Trust policy of each role, as JSON: audience and subject, both exactly."
  value       = local.policies

  precondition {
    condition     = length(local.long) == 0
    error_message = "Trust policies are longer than the ${var.maximum} characters that IAM's quota L-C07B4B0D allows: ${join("; ", local.long)}. Set per_cluster = true for a role in each cluster, or have the quota raised (8192 at most) and set maximum_trust_policy."
  }
}

output "members" {
  description = "The workloads of each role."
  value       = local.members
}
