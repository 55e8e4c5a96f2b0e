# What decides who gets into Google Cloud: the mapping of tokens to principals, and the condition of each provider. Without a provider of Terraform's, so
# that it can be tested anywhere.

variable "clusters" {
  description = "The clusters of module clusters."
  type = map(object({
    issuer   = string
    exporter = object({ subject = string, namespace = string, name = string })
  }))
  nullable = false
}

variable "workloads" {
  description = "The workloads of module clusters, by namespace/name@cluster."
  type = map(object({
    account   = string
    namespace = string
    name      = string
    cluster   = string
    subject   = string
  }))
  nullable = false
}

variable "pool" {
  description = "Full name of the pool: projects/NUMBER/locations/global/workloadIdentityPools/ID."
  type        = string
  nullable    = false
}

variable "admit_exporters" {
  description = "Whether the clusters' exporters are let in beside the workloads, for Pub/Sub."
  type        = bool
  nullable    = false
}

variable "admit_unbound" {
  description = "Whether tokens are taken that are not bound to a pod, as `kubectl create token` makes them."
  type        = bool
  nullable    = false
}

variable "admit" {
  description = "What a provider's condition lists: serviceAccounts, each exactly; or namespaces, where so many service accounts are listed that the condition would be too long. Grants go to service accounts either way."
  type        = string
  nullable    = false

  validation {
    condition     = contains(["serviceAccounts", "namespaces"], var.admit)
    error_message = "admit ${jsonencode(var.admit)}: want serviceAccounts or namespaces."
  }
}

locals {
  # Provider IDs have 4 to 32 characters and do not begin with gcp-; cluster IDs have 1 to 63.
  providers = { for id, cluster in var.clusters : id => length(id) >= 4 && length(id) <= 32 && !startswith(id, "gcp-") ? id : "id-${substr(sha256(id), 0, 24)}" }

  kubernetes = "assertion['kubernetes.io']"

  # One pool holds many clusters, and every cluster can have a production/payments: so everything that grants can name begins with the cluster. A subject
  # has at most 127 bytes, and Kubernetes' names may need three times that: the service accounts that do are told by their UID, which is as unique. Which
  # they are is known here, so that the mapping needs nothing of CEL that Google does not document.
  longs = { for id, subjects in local.admitted : id => [for subject in subjects : subject if length("${id}:${subject}") > 127] }
  subjects = { for id, cluster in var.clusters : id => {
    name   = "'${id}:' + assertion.sub"
    uid    = "'${id}:uid:' + ${local.kubernetes}['serviceaccount']['uid']"
    choice = "assertion.sub in ['${join("', '", local.longs[id])}'] ? '${id}:uid:' + ${local.kubernetes}['serviceaccount']['uid'] : '${id}:' + assertion.sub"
  } }

  mappings = { for id, cluster in var.clusters : id => merge(
    {
      "google.subject"                 = length(local.longs[id]) == 0 ? local.subjects[id].name : length(local.subjects[id].choice) <= 2048 ? local.subjects[id].choice : local.subjects[id].uid
      "attribute.cluster"              = "'${id}'"
      "attribute.namespace"            = "${local.kubernetes}['namespace']"
      "attribute.service_account_name" = "${local.kubernetes}['serviceaccount']['name']"
      "attribute.service_account_uid"  = "${local.kubernetes}['serviceaccount']['uid']"
      "attribute.workload"             = "'${id}/' + ${local.kubernetes}['namespace'] + '/' + ${local.kubernetes}['serviceaccount']['name']"
    },
    var.admit_unbound ? {} : {
      "attribute.pod"     = "${local.kubernetes}['pod']['name']"
      "attribute.pod_uid" = "${local.kubernetes}['pod']['uid']"
    },
  ) }

  admitted = { for id, cluster in var.clusters : id => sort(distinct(concat(
    [for workload in values(var.workloads) : workload.subject if workload.cluster == id],
    var.admit_exporters ? [cluster.exporter.subject] : [],
  ))) }
  namespaces = { for id, subjects in local.admitted : id => sort(distinct([for subject in subjects : split(":", subject)[2]])) }

  # Nobody who is not listed gets a token of Google's at all, whatever is granted to whom later.
  conditions = { for id, subjects in local.admitted : id => length(subjects) == 0 ? "false" : join(" && ", compact([
    var.admit_unbound ? "" : "'pod' in ${local.kubernetes}",
    var.admit == "namespaces" ? "${local.kubernetes}['namespace'] in ['${join("', '", local.namespaces[id])}']" : "assertion.sub in ['${join("', '", subjects)}']",
  ])) }

  long     = [for id, condition in local.conditions : "${id} (${length(condition)} characters for ${length(local.admitted[id])} service accounts)" if length(condition) > 4096]
  repeated = length(distinct(values(local.providers))) < length(local.providers)
}

output "providers" {
  description = "Cluster ID to ID, full name, issuer, mapping and condition of its provider."
  value = { for id, cluster in var.clusters : id => {
    id        = local.providers[id]
    name      = "${var.pool}/providers/${local.providers[id]}"
    issuer    = cluster.issuer
    audience  = "https://iam.googleapis.com/${var.pool}/providers/${local.providers[id]}"
    mapping   = local.mappings[id]
    condition = local.conditions[id]
  } }

  precondition {
    condition     = length(local.long) == 0
    error_message = "Conditions of providers have at most 4,096 characters: ${join(", ", local.long)}. List fewer service accounts, or set admit = \"namespaces\"."
  }

  precondition {
    condition     = !local.repeated
    error_message = "Two clusters' providers would have one ID: give one of the clusters an ID of 4 to 32 characters that does not begin with gcp-."
  }

  precondition {
    condition     = length(local.providers) <= 200
    error_message = "${length(local.providers)} clusters need as many providers, and a pool has at most 200: use another pool for some of them."
  }
}

output "principals" {
  description = "Who each workload is to IAM, by namespace/name@cluster: exactly this service account of exactly this cluster."
  value       = { for key, workload in var.workloads : key => "principalSet://iam.googleapis.com/${var.pool}/attribute.workload/${workload.cluster}/${workload.namespace}/${workload.name}" }
}

output "exporters" {
  description = "Who each cluster's exporter is to IAM, by cluster ID."
  value       = { for id, cluster in var.clusters : id => "principalSet://iam.googleapis.com/${var.pool}/attribute.workload/${id}/${cluster.exporter.namespace}/${cluster.exporter.name}" }
}
