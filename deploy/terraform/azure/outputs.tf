output "issuers" {
  description = "Cluster ID to its issuer, for --service-account-issuer."
  value       = { for id, cluster in module.clusters.clusters : id => cluster.issuer }
}

output "settings" {
  description = "The publisher's settings by file name, for module azure/package, or for a pipeline that packs the function."
  value       = module.clusters.settings
}

output "exporters" {
  description = "Cluster ID to the exporter's values."
  value = { for id, cluster in module.clusters.clusters : id => jsonencode({
    cluster        = id
    issuer         = cluster.issuer
    serviceAccount = "${cluster.exporter.namespace}/${cluster.exporter.name}"
    destinations = [merge(
      {
        publisher = local.publisher
        webhook   = { url = "https://${jsondecode(azurerm_resource_group_template_deployment.function.output_content).host.value}/v1/snapshots" }
      },
      var.queue ? { storageQueue = {
        url      = "${trimsuffix(azurerm_storage_account.host.primary_queue_endpoint, "/")}/${local.queue}"
        tenantID = azurerm_user_assigned_identity.exporter[id].tenant_id
        clientID = azurerm_user_assigned_identity.exporter[id].client_id
      } } : {},
    )]
  }) }
}

output "identities" {
  description = "AZURE_CLIENT_ID and AZURE_TENANT_ID of each service account, by namespace/name."
  value       = module.trust.identities
}

output "operate_url" {
  description = "The operator's door; null if it is shut."
  value       = local.operable ? "https://${jsondecode(azurerm_resource_group_template_deployment.function.output_content).host.value}/v1/operate" : null
}

output "operator_audience" {
  description = "Audience of operators' access tokens, as `kube-iam-assume publishers` reads it; null if the door is shut."
  value       = local.operable ? var.operator_audience : null
}

output "operator_tenant_id" {
  description = "Entra tenant that operators log in to; null if the door is shut."
  value       = local.operable ? var.operator_tenant_id : null
}

output "application_insights" {
  description = "ID of the Application Insights where the function says what it did, for `az monitor app-insights query`."
  value       = azurerm_application_insights.function.app_id
}

output "storage_accounts" {
  description = "The storage accounts of the documents and of the state and the log. They stay when the rest goes."
  value       = { documents = azurerm_storage_account.documents.name, private = azurerm_storage_account.private.name }
}
