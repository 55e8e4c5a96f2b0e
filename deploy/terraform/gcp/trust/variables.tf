variable "project_id" {
  description = "ID of the project that has the pool and the grants."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][-a-z0-9]{4,28}[a-z0-9]$", var.project_id))
    error_message = "The project ID ${jsonencode(var.project_id)} must have 6 to 30 lower-case letters, digits and hyphens, beginning with a letter."
  }
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

variable "pool_id" {
  description = "ID of the Workload Identity pool, which this module makes. A deleted pool keeps its ID for 30 days."
  type        = string
  default     = "kubernetes"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][-a-z0-9]{2,30}[a-z0-9]$", var.pool_id)) && !startswith(var.pool_id, "gcp-")
    error_message = "The pool's ID ${jsonencode(var.pool_id)} must have 4 to 32 lower-case letters, digits and inner hyphens, and not begin with gcp-."
  }
}

variable "service_accounts" {
  description = "Workloads that are let in, by namespace/name of their Kubernetes service account, exactly: in which clusters ([\"all\"] for every one), with which roles in this project, and which service accounts of Google's they may act as."
  type = map(object({
    clusters    = list(string)
    roles       = optional(list(string), [])
    impersonate = optional(list(string), [])
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue(flatten([for account in values(var.service_accounts) : [for role in account.roles : can(regex("^(roles|projects/[^/]+/roles|organizations/[^/]+/roles)/[A-Za-z0-9_.]+$", role)) && !contains(["roles/owner", "roles/editor"], role)]]))
    error_message = "Roles are roles/NAME, projects/ID/roles/NAME or organizations/ID/roles/NAME, and not roles/owner or roles/editor: a workload needs rights that somebody has thought of."
  }

  validation {
    condition     = alltrue(flatten([for account in values(var.service_accounts) : [for email in account.impersonate : can(regex("^[a-z0-9-]+@[a-z0-9.:-]+\\.gserviceaccount\\.com$", email))]]))
    error_message = "impersonate lists e-mail addresses of Google service accounts: NAME@PROJECT.iam.gserviceaccount.com."
  }
}

variable "admit" {
  description = "What a provider's condition lists: serviceAccounts, or namespaces where a cluster has so many that the condition would be longer than 4,096 characters."
  type        = string
  default     = "serviceAccounts"
  nullable    = false
}

variable "admit_exporters" {
  description = "Whether the clusters' exporters are let in beside the workloads. They need it for Pub/Sub only."
  type        = bool
  default     = false
  nullable    = false
}

variable "admit_unbound" {
  description = "Whether tokens are taken that are not bound to a pod, as `kubectl create token` makes them. Then attribute.pod and attribute.pod_uid are not mapped."
  type        = bool
  default     = false
  nullable    = false
}

variable "upload_keys" {
  description = "Whether the providers have the clusters' keys uploaded instead of fetching them from the issuer. They start with the keys of the clusters' files, and a publisher keeps them from then on."
  type        = bool
  default     = false
  nullable    = false
}
