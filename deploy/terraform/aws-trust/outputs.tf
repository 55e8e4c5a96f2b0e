output "issuers" {
  description = "Cluster ID to its issuer, for --service-account-issuer."
  value       = { for id, cluster in module.clusters.clusters : id => cluster.issuer }
}

output "roles" {
  description = "AWS_ROLE_ARN of each service account, by namespace/name, and by namespace/name@cluster where each cluster has its own."
  value       = { for role, made in aws_iam_role.workload : role => made.arn }
}

output "audience" {
  description = "Audience of the projected token that AWS_WEB_IDENTITY_TOKEN_FILE names."
  value       = var.audience
}
