variable "resource_group_name" {
  description = "Resource group of the identities."
  type        = string
  nullable    = false
}

variable "location" {
  description = "Region of the identities."
  type        = string
  nullable    = false
}

variable "name" {
  description = "What the identities' names begin with."
  type        = string
  nullable    = false
}

variable "clusters_directory" {
  description = "Folder with one CLUSTER-ID.yaml for each cluster, as `kube-iam-assume enroll` prints them: the same one that the publisher is deployed from."
  type        = string
  nullable    = false
}

variable "issuer_base" {
  description = "URL under which every cluster has its issuer, wherever it is published: https://HOST or https://HOST/PATH. The cluster's ID is added to it."
  type        = string
  nullable    = false
}

variable "audience" {
  description = "Audience of the tokens that Entra takes. Sovereign clouds have others than the default."
  type        = string
  default     = "api://AzureADTokenExchange"
  nullable    = false

  validation {
    condition     = startswith(var.audience, "api://AzureADTokenExchange")
    error_message = "The audience ${jsonencode(var.audience)}: Entra takes api://AzureADTokenExchange, with a suffix in sovereign clouds, and nothing else."
  }
}

variable "service_accounts" {
  description = "Workloads that are let in, by namespace/name of their Kubernetes service account, exactly: in which clusters ([\"all\"] for every one), and what their identity may do, by names of your own: which role (its name) on which scope (a resource's ID)."
  type = map(object({
    clusters = list(string)
    roles    = optional(map(object({ role = string, scope = string })), {})
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue(flatten([for account in values(var.service_accounts) : [for grant in values(account.roles) : !contains(["Owner", "Contributor", "User Access Administrator"], grant.role) && startswith(grant.scope, "/subscriptions/")]]))
    error_message = "A role is not Owner, Contributor or User Access Administrator, and its scope is a resource's ID: a workload needs rights that somebody has thought of."
  }
}

variable "tags" {
  description = "Tags of the identities."
  type        = map(string)
  default     = {}
  nullable    = false
}
