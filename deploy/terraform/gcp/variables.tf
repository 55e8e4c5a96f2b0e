variable "project_id" {
  description = "ID of the project that publishes. Best one of its own: whoever may administer its storage or deploy its functions decides who is believed."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][-a-z0-9]{4,28}[a-z0-9]$", var.project_id))
    error_message = "The project ID ${jsonencode(var.project_id)} must have 6 to 30 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "region" {
  description = "Region of the functions, the buckets and the schedule, such as europe-west3."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "The region ${jsonencode(var.region)} must be one such as europe-west3."
  }
}

variable "name" {
  description = "What the names of everything begin with, and the name of the publisher before the project's ID."
  type        = string
  default     = "kube-iam-assume"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]([-a-z0-9]{0,16}[a-z0-9])?$", var.name))
    error_message = "The name ${jsonencode(var.name)} must have at most 18 lower-case letters, digits and inner hyphens, beginning with a letter: service accounts' names are made of it."
  }
}

variable "clusters_directory" {
  description = "Folder with one CLUSTER-ID.yaml for each cluster, as `kube-iam-assume enroll` prints them. Nothing else may be in it."
  type        = string
  nullable    = false
}

variable "image" {
  description = "Container image of functions/gcp, by its digest: REGION-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE@sha256:DIGEST. One image has all four entry points."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[^@\\s]+@sha256:[0-9a-f]{64}$", var.image))
    error_message = "The image ${jsonencode(var.image)} must end in @sha256: and its digest: a tag can be moved to another program."
  }
}

variable "bucket" {
  description = "Name of the documents bucket. It is part of every issuer, and is unique in the world: if it is ever deleted, anybody can take the name and with it the issuers. The other buckets' names begin with it."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]([-a-z0-9]{1,52}[a-z0-9])$", var.bucket)) && !startswith(var.bucket, "goog") && !strcontains(var.bucket, "google")
    error_message = "The bucket's name ${jsonencode(var.bucket)} must have 3 to 54 lower-case letters, digits and inner hyphens, and no google in it."
  }
}

variable "issuer_base" {
  description = "URL under which the clusters' issuers are, if it is not the bucket's own: a host of your own in front of it; or, with keys = providers, what the API servers have already. Null for https://storage.googleapis.com/BUCKET."
  type        = string
  default     = null
}

variable "mirror_of" {
  description = "URL under which another publisher publishes the same issuers, for a publisher that is a mirror of it: the documents in this bucket name those issuers, and are compared with those that are there. Instead of issuer_base."
  type        = string
  default     = null

  validation {
    condition     = var.mirror_of == null || var.issuer_base == null
    error_message = "issuer_base is for a host that leads to this publisher's documents, mirror_of for one that leads to another's: give one of them."
  }

  validation {
    condition     = var.mirror_of == null || var.keys == "bucket"
    error_message = "A mirror's documents are fetched and compared, and with keys = providers nobody can: give the issuers as issuer_base."
  }
}

variable "mirrors" {
  description = "URLs under which other publishers have the documents of the same issuers; the clusters' IDs are added to them. What is at mirror_of is compared anyway."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = length(var.mirrors) == 0 || var.keys == "bucket"
    error_message = "Mirrors compare documents, and with keys = providers nobody can fetch those of this publisher."
  }
}

variable "keys" {
  description = "How Google learns the keys: bucket, where it and every other cloud fetch the public documents; or providers, where the publisher writes them into the Workload Identity providers and nothing is public."
  type        = string
  default     = "bucket"
  nullable    = false

  validation {
    condition     = contains(["bucket", "providers"], var.keys)
    error_message = "keys ${jsonencode(var.keys)}: want bucket or providers."
  }
}

variable "retention" {
  description = "How long a key that a cluster stopped listing stays published, such as 48h. Longer than the longest token the API servers give out."
  type        = string
  default     = "48h"
  nullable    = false
}

variable "webhook" {
  description = "Whether snapshots may come by HTTPS from anywhere. Signatures decide who is believed."
  type        = bool
  default     = true
  nullable    = false
}

variable "queue" {
  description = "Whether snapshots may come by Pub/Sub, from exporters that log in with their own tokens."
  type        = bool
  default     = true
  nullable    = false
}

variable "operators" {
  description = "Who may use the operator's door, as members of IAM: user:…, group:… or serviceAccount:…. Nobody, if it is empty."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for member in var.operators : can(regex("^(user|group|serviceAccount):[^@\\s]+@[^@\\s]+$", member))])
    error_message = "Operators are user:ADDRESS, group:ADDRESS or serviceAccount:ADDRESS, one by one; never a domain, and never everybody."
  }
}

variable "pool_id" {
  description = "ID of the Workload Identity pool. A deleted pool keeps its ID for 30 days."
  type        = string
  default     = "kubernetes"
  nullable    = false
}

variable "service_accounts" {
  description = "Workloads that are let into this project, by namespace/name of their Kubernetes service account, exactly: in which clusters ([\"all\"] for every one), with which roles in this project, and which service accounts of Google's they may act as."
  type = map(object({
    clusters    = list(string)
    roles       = optional(list(string), [])
    impersonate = optional(list(string), [])
  }))
  default  = {}
  nullable = false
}

variable "admit" {
  description = "What a provider's condition lists: serviceAccounts, or namespaces where a cluster has so many that the condition would be longer than 4,096 characters."
  type        = string
  default     = "serviceAccounts"
  nullable    = false
}

variable "admit_unbound" {
  description = "Whether Google takes tokens that are not bound to a pod, as `kubectl create token` makes them."
  type        = bool
  default     = false
  nullable    = false
}

variable "notification_channels" {
  description = "Full names of the Cloud Monitoring channels that alarms go to: projects/PROJECT/notificationChannels/ID."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for channel in var.notification_channels : can(regex("^projects/[^/]+/notificationChannels/[0-9]+$", channel))])
    error_message = "Notification channels are projects/PROJECT/notificationChannels/ID."
  }
}

variable "max_instances" {
  description = "Most instances of each function at once: the ceiling of what somebody can make you pay who calls the webhook."
  type        = number
  default     = 5
  nullable    = false

  validation {
    condition     = var.max_instances >= 1 && var.max_instances <= 100 && floor(var.max_instances) == var.max_instances
    error_message = "max_instances must be 1 to 100."
  }
}
