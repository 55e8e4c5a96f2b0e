variable "resource_group_name" {
  description = "Resource group of everything. Best one of its own: whoever may administer its storage or deploy its function decides who is believed."
  type        = string
  nullable    = false
}

variable "location" {
  description = "Region, such as germanywestcentral. It must have Flex Consumption."
  type        = string
  nullable    = false
}

variable "name" {
  description = "What the names of everything begin with, and the name of the function app, which is unique in the world: https://NAME.azurewebsites.net."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][-a-z0-9]{1,30}[a-z0-9]$", var.name))
    error_message = "The name ${jsonencode(var.name)} must have 3 to 32 lower-case letters, digits and inner hyphens, beginning with a letter."
  }
}

variable "account" {
  description = "Name of the storage account of the documents. It is part of every issuer, and is unique in the world: if it is ever deleted, anybody can take the name and with it the issuers. The other accounts' names begin with it."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]{3,20}$", var.account))
    error_message = "The account's name ${jsonencode(var.account)} must have 3 to 20 lower-case letters and digits."
  }
}

variable "replication" {
  description = "Replication of the storage accounts: ZRS, or LRS where the region has no zones, or GZRS."
  type        = string
  default     = "ZRS"
  nullable    = false

  validation {
    condition     = contains(["LRS", "ZRS", "GRS", "GZRS", "RAGRS", "RAGZRS"], var.replication)
    error_message = "replication ${jsonencode(var.replication)}: want LRS, ZRS, GRS, GZRS, RAGRS or RAGZRS."
  }
}

variable "clusters_directory" {
  description = "Folder with one CLUSTER-ID.yaml for each cluster, as `kube-iam-assume enroll` prints them. Nothing else may be in it."
  type        = string
  nullable    = false
}

variable "package" {
  description = "Path of the function's zip with its settings in it: output path of module azure/package, or one that a pipeline made. A changed package needs a changed name. It is deployed with `az`. Null without deploy_program."
  type        = string
  default     = null
}

variable "deploy_program" {
  description = "Whether the program is deployed, with `az`. False for a pipeline that does it by itself."
  type        = bool
  default     = true
  nullable    = false
}

variable "hosting" {
  description = "Where the documents are: container, a container that anybody may read, whose URL is known before it exists; or website, the account's static website, where a policy forbids public containers."
  type        = string
  default     = "container"
  nullable    = false

  validation {
    condition     = contains(["container", "website"], var.hosting)
    error_message = "hosting ${jsonencode(var.hosting)}: want container or website."
  }
}

variable "issuer_base" {
  description = "URL under which the clusters' issuers are, if it is not the storage account's own: a host of your own in front of it. Null for the account's."
  type        = string
  default     = null
}

variable "mirror_of" {
  description = "URL under which another publisher publishes the same issuers, for a publisher that is a mirror of it: the documents in this account name those issuers, and are compared with those that are there. Instead of issuer_base."
  type        = string
  default     = null

  validation {
    condition     = var.mirror_of == null || var.issuer_base == null
    error_message = "issuer_base is for a host that leads to this publisher's documents, mirror_of for one that leads to another's: give one of them."
  }
}

variable "mirrors" {
  description = "URLs under which other publishers have the documents of the same issuers; the clusters' IDs are added to them. What is at mirror_of is compared anyway."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "retention" {
  description = "How long a key that a cluster stopped listing stays published, such as 48h. Longer than the longest token the API servers give out."
  type        = string
  default     = "48h"
  nullable    = false
}

variable "queue" {
  description = "Whether snapshots may come by a Storage queue, from exporters that log in with their own tokens, beside the webhook."
  type        = bool
  default     = true
  nullable    = false
}

variable "audience" {
  description = "Audience of the tokens that Entra takes. Sovereign clouds have others than the default."
  type        = string
  default     = "api://AzureADTokenExchange"
  nullable    = false
}

variable "service_accounts" {
  description = "Workloads that are let in, by namespace/name of their Kubernetes service account, exactly: in which clusters ([\"all\"] for every one), and what their identity may do, by names of your own: which role (its name) on which scope (a resource's ID)."
  type = map(object({
    clusters = list(string)
    roles    = optional(map(object({ role = string, scope = string })), {})
  }))
  default  = {}
  nullable = false
}

variable "operator_tenant_id" {
  description = "Entra tenant that operators log in to. Null shuts the operator's door."
  type        = string
  default     = null

  validation {
    condition     = var.operator_tenant_id == null || can(regex("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", var.operator_tenant_id))
    error_message = "The tenant ${jsonencode(var.operator_tenant_id)} must be a UUID in lower case."
  }
}

variable "operator_audience" {
  description = "Audience of operators' access tokens: the application ID of an app registration of your own that stands for the operator's door."
  type        = string
  default     = null
}

variable "operators" {
  description = "Object IDs in Entra of who may use the operator's door, one by one."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for id in var.operators : can(regex("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", id))])
    error_message = "Operators are object IDs: UUIDs in lower case."
  }
}

variable "action_group_ids" {
  description = "IDs of the Azure Monitor action groups that alarms go to."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "alarm_frequency" {
  description = "How often the log is asked about each alarm, as PT5M, PT10M or PT15M. Azure charges three times as much for five minutes as for fifteen."
  type        = string
  default     = "PT15M"
  nullable    = false

  validation {
    condition     = contains(["PT5M", "PT10M", "PT15M"], var.alarm_frequency)
    error_message = "alarm_frequency ${jsonencode(var.alarm_frequency)}: want PT5M, PT10M or PT15M."
  }
}

variable "max_instances" {
  description = "Most instances of the function at once: the ceiling of what somebody can make you pay who calls the webhook."
  type        = number
  default     = 40
  nullable    = false

  validation {
    condition     = var.max_instances >= 1 && var.max_instances <= 1000 && floor(var.max_instances) == var.max_instances
    error_message = "max_instances must be 1 to 1000."
  }
}

variable "log_retention_days" {
  description = "How long the function's log is kept."
  type        = number
  default     = 90
  nullable    = false

  validation {
    condition     = contains([30, 60, 90, 120, 180, 270, 365, 550, 730], var.log_retention_days)
    error_message = "log_retention_days must be 30, 60, 90, 120, 180, 270, 365, 550 or 730."
  }
}

variable "tags" {
  description = "Tags of everything this module makes."
  type        = map(string)
  default     = {}
  nullable    = false
}
