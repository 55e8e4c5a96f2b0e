output "issuers" {
  description = "Cluster ID to its issuer, for --service-account-issuer."
  value       = { for id, cluster in module.clusters.clusters : id => cluster.issuer }
}

output "identities" {
  description = "AZURE_CLIENT_ID and AZURE_TENANT_ID of each service account, by namespace/name."
  value       = { for account, identity in azurerm_user_assigned_identity.workload : account => { client_id = identity.client_id, tenant_id = identity.tenant_id } }
}

output "audience" {
  description = "Audience of the projected token that AZURE_FEDERATED_TOKEN_FILE names."
  value       = var.audience
}
