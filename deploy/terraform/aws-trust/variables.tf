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

variable "roles" {
  description = "Roles of workloads, by namespace/name of the service account, exactly: in which clusters ([\"all\"] for every one), with which policies, and whether each cluster has a role of its own. A policy document is JSON."
  type = map(object({
    clusters             = list(string)
    managed_policies     = optional(list(string), [])
    inline_policies      = optional(map(string), {})
    per_cluster          = optional(bool, false)
    max_session_duration = optional(number, 3600)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for role in values(var.roles) : role.max_session_duration >= 3600 && role.max_session_duration <= 43200])
    error_message = "A role's max_session_duration must be 3600 to 43200 seconds."
  }

  validation {
    condition     = alltrue(flatten([for role in values(var.roles) : [for policy in values(role.inline_policies) : can(jsondecode(policy).Statement)]]))
    error_message = "Every inline policy must be JSON with Statement; write it with jsonencode."
  }
}

variable "role_prefix" {
  description = "What the names of all roles begin with."
  type        = string
  default     = "kube"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,20}$", var.role_prefix))
    error_message = "The prefix ${jsonencode(var.role_prefix)} must be 1 to 20 letters, digits, _ and -."
  }
}

variable "permissions_boundary" {
  description = "ARN of the permissions boundary of all roles; null for none."
  type        = string
  default     = null
}

variable "audience" {
  description = "Audience of the workloads' tokens. One token has one audience: never the issuer's URL, and never the API server's own."
  type        = string
  default     = "sts.amazonaws.com"
  nullable    = false

  validation {
    condition     = length(var.audience) >= 1 && length(var.audience) <= 255 && !strcontains(var.audience, "*") && !startswith(var.audience, "https://kubernetes.default")
    error_message = "The audience ${jsonencode(var.audience)} must have 1 to 255 characters, no wildcard, and not be the API server's."
  }
}

variable "create_providers" {
  description = "Whether this module makes the identity providers. False where another configuration of the same account has them: an account has one for each issuer."
  type        = bool
  default     = true
  nullable    = false
}

variable "maximum_providers" {
  description = "IAM's quota L-858F3967 of identity providers in the account: 100, unless it was raised (700 at most)."
  type        = number
  default     = 100
  nullable    = false

  validation {
    condition     = var.maximum_providers >= 1 && var.maximum_providers <= 700
    error_message = "The quota of identity providers is 1 to 700."
  }
}

variable "maximum_trust_policy" {
  description = "IAM's quota L-C07B4B0D of characters in a role's trust policy: 2048, unless it was raised (8192 at most)."
  type        = number
  default     = 2048
  nullable    = false

  validation {
    condition     = var.maximum_trust_policy >= 2048 && var.maximum_trust_policy <= 8192
    error_message = "The quota of a trust policy's characters is 2048 to 8192."
  }
}

variable "tags" {
  description = "Tags of everything this module makes."
  type        = map(string)
  default     = {}
  nullable    = false
}
