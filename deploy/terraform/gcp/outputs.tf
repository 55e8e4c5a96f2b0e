output "issuers" {
  description = "Cluster ID to its issuer, for --service-account-issuer."
  value       = module.trust.issuers
}

output "exporters" {
  description = "Cluster ID to the exporter's values."
  value = { for id, cluster in module.clusters.clusters : id => jsonencode({
    cluster        = id
    issuer         = cluster.issuer
    serviceAccount = "${cluster.exporter.namespace}/${cluster.exporter.name}"
    destinations = [merge(
      { publisher = local.publisher },
      var.webhook ? { webhook = { url = "${google_cloud_run_v2_service.door["webhook"].uri}/v1/snapshots" } } : {},
      var.queue ? { pubsub = { topic = google_pubsub_topic.snapshots["snapshots"].id, provider = module.trust.providers[id] } } : {},
    )]
  }) }
}

output "audiences" {
  description = "Cluster ID to the audience of its workloads' projected tokens."
  value       = module.trust.audiences
}

output "credentials" {
  description = "Cluster ID to the content of the file that GOOGLE_APPLICATION_CREDENTIALS names in a pod. It holds no secret."
  value       = module.trust.credentials
}

output "principals" {
  description = "Who each workload is to IAM, by namespace/name@cluster, for grants of your own."
  value       = module.trust.principals
}

output "operate_url" {
  description = "The operator's door; null if there are no operators."
  value       = try(google_cloud_run_v2_service.door["operate"].uri, null)
}

output "log_filter" {
  description = "Where the functions say what they did, for `gcloud logging read`."
  value       = local.log_of_doors
}

output "buckets" {
  description = "The buckets of the documents and of the state and the log. They stay when the rest goes."
  value       = { documents = google_storage_bucket.documents.name, private = google_storage_bucket.private.name }
}
