# The function: a custom handler on Flex Consumption, the one plan that needs no key of a storage account.

resource "azurerm_service_plan" "function" {
  resource_group_name = var.resource_group_name
  location            = var.location
  name                = var.name
  os_type             = "Linux"
  sku_name            = "FC1"
  tags                = var.tags
}

# The Functions host keeps locks, schedules and the package in its own account, and may do there what it likes. Nothing of ours is in it but the queue.
resource "azurerm_role_assignment" "host" {
  scope                = azurerm_storage_account.host.id
  role_definition_name = "Storage Blob Data Owner"
  principal_id         = azurerm_user_assigned_identity.publisher.principal_id
  principal_type       = "ServicePrincipal"
  description          = "the Functions host keeps its locks and the package"
}

resource "azurerm_function_app_flex_consumption" "function" {
  resource_group_name                            = var.resource_group_name
  location                                       = var.location
  name                                           = var.name
  service_plan_id                                = azurerm_service_plan.function.id
  https_only                                     = true
  webdeploy_publish_basic_authentication_enabled = false
  storage_container_type                         = "blobContainer"
  storage_container_endpoint                     = "${azurerm_storage_account.host.primary_blob_endpoint}${azurerm_storage_container.deployments.name}"
  storage_authentication_type                    = "UserAssignedIdentity"
  storage_user_assigned_identity_id              = azurerm_user_assigned_identity.publisher.id
  runtime_name                                   = "custom"
  runtime_version                                = "1.0"
  instance_memory_in_mb                          = 512
  maximum_instance_count                         = var.max_instances
  zip_deploy_file                                = var.package
  tags                                           = var.tags

  app_settings = merge(
    {
      DOCUMENTS_BUCKET                   = "https://${var.account}.blob.core.windows.net/${local.container}"
      PRIVATE_BUCKET                     = "https://${var.account}priv.blob.core.windows.net/${azurerm_storage_container.private.name}"
      AZURE_CLIENT_ID                    = azurerm_user_assigned_identity.publisher.client_id
      AzureWebJobsStorage__accountName   = azurerm_storage_account.host.name
      AzureWebJobsStorage__credential    = "managedidentity"
      AzureWebJobsStorage__clientId      = azurerm_user_assigned_identity.publisher.client_id
      SNAPSHOTS_QUEUE                    = local.queue
      SNAPSHOTS_STORAGE__queueServiceUri = trimsuffix(azurerm_storage_account.host.primary_queue_endpoint, "/")
      SNAPSHOTS_STORAGE__credential      = "managedidentity"
      SNAPSHOTS_STORAGE__clientId        = azurerm_user_assigned_identity.publisher.client_id
      FUNCTIONS_REQUEST_BODY_SIZE_LIMIT  = "131072" # a snapshot has 45 KiB at most, and the host would take 100 MB
      "AzureWebJobs.queue.Disabled"      = tostring(!var.queue)
      "AzureWebJobs.operate.Disabled"    = tostring(!local.operable)
    },
    local.operable ? {
      OPERATOR_TENANT_ID = var.operator_tenant_id
      OPERATOR_AUDIENCE  = var.operator_audience
      OPERATORS          = join(",", sort(var.operators))
    } : {},
  )

  site_config {
    application_insights_connection_string = azurerm_application_insights.function.connection_string
    minimum_tls_version                    = "1.2"
    http2_enabled                          = true
  }

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.publisher.id]
  }

  lifecycle {
    precondition {
      condition     = local.operable || (var.operator_tenant_id == null && var.operator_audience == null && length(var.operators) == 0)
      error_message = "The operator's door needs operator_tenant_id, operator_audience and operators, all three; or none of them, and is shut."
    }
  }

  # The first start needs its rights.
  depends_on = [
    azurerm_role_assignment.documents,
    azurerm_role_assignment.host,
    azurerm_role_assignment.logs,
    azurerm_role_assignment.queue,
    azurerm_role_assignment.states,
  ]
}

locals {
  operable = var.operator_tenant_id != null && var.operator_audience != null && length(var.operators) > 0
}
