variable "directory" {
  description = "Folder with one CLUSTER-ID.yaml for each cluster, as `kube-iam-assume enroll` prints them. Nothing else may be in it."
  type        = string
  nullable    = false
}

variable "issuer_base" {
  description = "URL under which every cluster has its issuer: the issuer is this, a slash and the cluster's ID. Without a trailing slash."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^https://[a-z0-9]([-.a-z0-9]*[a-z0-9])?(/[A-Za-z0-9][-A-Za-z0-9_.~]*)*$", var.issuer_base))
    error_message = "The issuer's base ${jsonencode(var.issuer_base)} must be https://HOST or https://HOST/PATH, the host in lower case, without a port, a query and a trailing slash: every cloud compares issuers byte for byte."
  }
}

variable "publisher" {
  description = "Name of the publisher, which snapshots carry as their audience. It should say where the publisher is, so that no two have one name."
  type        = string
  default     = "none"
  nullable    = false

  validation {
    condition     = length(var.publisher) >= 1 && length(var.publisher) <= 255
    error_message = "The publisher's name must have 1 to 255 characters."
  }
}

variable "retention" {
  description = "How long a key that a cluster stopped listing stays published, as a duration such as 48h. Longer than the longest token the API servers give out."
  type        = string
  default     = "48h"
  nullable    = false

  validation {
    condition     = can(regex("^([1-9][0-9]*h)?([1-9][0-9]*m)?$", var.retention)) && var.retention != ""
    error_message = "The retention ${jsonencode(var.retention)} must be hours or minutes, such as 48h or 36h30m."
  }
}

variable "workload_identity_providers" {
  description = "Cluster ID to the full name of the Workload Identity provider whose uploaded keys the publisher keeps: projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/ID. Empty if clouds fetch the documents."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "private" {
  description = "Whether nobody fetches the documents, because every cluster's keys are at its Workload Identity provider."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = !var.private || (length(var.mirrors) == 0 && var.served_at == null)
    error_message = "An issuer whose documents nobody fetches has no mirrors and is none: they would be compared with something that can't be read."
  }
}

variable "mirrors" {
  description = "URLs under which other publishers have the documents of the same issuers: a cluster's are at one of these, a slash and its ID. They are read and compared, and an alarm rings if they go on to differ."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for mirror in var.mirrors : can(regex("^https://[a-z0-9]([-.a-z0-9]*[a-z0-9])?(/[A-Za-z0-9][-A-Za-z0-9_.~]*)*$", mirror))])
    error_message = "Mirrors are https://HOST or https://HOST/PATH, the host in lower case, without a port and a trailing slash; the clusters' IDs are added to them. Given: ${jsonencode(var.mirrors)}."
  }

  validation {
    condition     = length(distinct(concat(var.mirrors, [var.issuer_base]))) == length(var.mirrors) + 1
    error_message = "A mirror is listed twice, or is the issuers' own base ${jsonencode(var.issuer_base)}: list each of the other publishers once. Given: ${jsonencode(var.mirrors)}."
  }

  validation {
    condition     = var.served_at == null ? true : !contains(var.mirrors, var.served_at)
    error_message = "${jsonencode(var.served_at)} is where this publisher has its documents: list the other publishers, and not this one."
  }
}

variable "served_at" {
  description = "On a mirror, the URL under which this publisher has its documents: a cluster's are at this, a slash and its ID. Null where that is issuer_base."
  type        = string
  default     = null

  validation {
    condition     = var.served_at == null ? true : var.served_at != var.issuer_base
    error_message = "The issuers are where this publisher has its documents (${jsonencode(var.issuer_base)}), so it is no mirror of them."
  }
}

variable "service_accounts" {
  description = "Workloads that a cloud lets in: namespace/name to the IDs of their clusters, or [\"all\"]."
  type        = map(list(string))
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for account in keys(var.service_accounts) : can(regex("^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$", account))])
    error_message = "Service accounts are namespace/name, exactly and without wildcards; not so: ${join(", ", [for account in keys(var.service_accounts) : jsonencode(account) if !can(regex("^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$", account))])}."
  }

  validation {
    condition     = alltrue([for ids in values(var.service_accounts) : length(ids) > 0 && length(distinct(ids)) == length(ids) && (!contains(ids, "all") || length(ids) == 1)])
    error_message = "Every service account names its clusters once each, or [\"all\"] alone; not so: ${join(", ", [for account, ids in var.service_accounts : account if length(ids) == 0 || length(distinct(ids)) != length(ids) || (contains(ids, "all") && length(ids) != 1)])}."
  }
}
