output "issuers" {
  description = "Cluster ID to its issuer, for --service-account-issuer."
  value       = { for id, cluster in module.clusters.clusters : id => cluster.issuer }
}

output "providers" {
  description = "Cluster ID to the full name of its provider: projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/ID."
  value       = { for id, provider in module.mapping.providers : id => provider.name }
}

output "audiences" {
  description = "Cluster ID to the audience of its workloads' projected tokens."
  value       = { for id, provider in module.mapping.providers : id => provider.audience }
}

output "principals" {
  description = "Who each workload is to IAM, by namespace/name@cluster, for grants of your own."
  value       = module.mapping.principals
}

output "exporters" {
  description = "Who each cluster's exporter is to IAM, by cluster ID."
  value       = module.mapping.exporters
}

output "pool_id" {
  description = "ID of the pool."
  value       = google_iam_workload_identity_pool.kubernetes.workload_identity_pool_id
}

output "credentials" {
  description = "Cluster ID to the content of the file that GOOGLE_APPLICATION_CREDENTIALS names in a pod. It holds no secret: it says where the token is and who takes it."
  value = { for id, provider in module.mapping.providers : id => jsonencode({
    type               = "external_account"
    audience           = "//iam.googleapis.com/${provider.name}"
    subject_token_type = "urn:ietf:params:oauth:token-type:jwt"
    token_url          = "https://sts.googleapis.com/v1/token"
    credential_source  = { file = "/var/run/secrets/google/token", format = { type = "text" } }
  }) }
}
