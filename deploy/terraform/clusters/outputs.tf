output "clusters" {
  description = "Cluster ID to what follows from its file: issuer, host (the issuer without its scheme), exporter, names of its objects, its keys as an uploadable JWK Set."
  value       = local.clusters

  # One check stops every plan that uses this module.
  precondition {
    condition     = length(local.problems) == 0
    error_message = "The clusters' files need attention:\n- ${join("\n- ", local.problems)}"
  }
}

output "workloads" {
  description = "One entry for each service account in each of its clusters, by namespace/name@cluster."
  value       = local.workloads
}

output "settings" {
  description = "The publisher's settings by file name: publisher.yaml and the clusters' files, as they lie beside the function."
  value       = merge({ for id, text in local.texts : "clusters/${id}.yaml" => text }, { "publisher.yaml" = local.publisher })
}
