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

locals {
  operable = var.operator_tenant_id != null && var.operator_audience != null && length(var.operators) > 0

  app_settings = merge(
    {
      DOCUMENTS_BUCKET                      = "https://${var.account}.blob.core.windows.net/${local.container}"
      PRIVATE_BUCKET                        = "https://${var.account}priv.blob.core.windows.net/${azurerm_storage_container.private.name}"
      AZURE_CLIENT_ID                       = azurerm_user_assigned_identity.publisher.client_id
      APPLICATIONINSIGHTS_CONNECTION_STRING = azurerm_application_insights.function.connection_string
      AzureWebJobsStorage__accountName      = azurerm_storage_account.host.name
      AzureWebJobsStorage__credential       = "managedidentity"
      AzureWebJobsStorage__clientId         = azurerm_user_assigned_identity.publisher.client_id
      SNAPSHOTS_QUEUE                       = local.queue
      SNAPSHOTS_STORAGE__queueServiceUri    = trimsuffix(azurerm_storage_account.host.primary_queue_endpoint, "/")
      SNAPSHOTS_STORAGE__credential         = "managedidentity"
      SNAPSHOTS_STORAGE__clientId           = azurerm_user_assigned_identity.publisher.client_id
      FUNCTIONS_REQUEST_BODY_SIZE_LIMIT     = "131072" # a snapshot has 45 KiB at most, and the host would take 100 MB
      "AzureWebJobs.queue.Disabled"         = tostring(!var.queue)
      "AzureWebJobs.operate.Disabled"       = tostring(!local.operable)
    },
    local.operable ? {
      OPERATOR_TENANT_ID = var.operator_tenant_id
      OPERATOR_AUDIENCE  = var.operator_audience
      OPERATORS          = join(",", sort(var.operators))
    } : {},
  )

  app = {
    type       = "Microsoft.Web/sites"
    apiVersion = "2024-04-01"
    name       = var.name
    location   = var.location
    kind       = "functionapp,linux"
    tags       = var.tags
    identity   = { type = "UserAssigned", userAssignedIdentities = { (azurerm_user_assigned_identity.publisher.id) = {} } }
    properties = {
      serverFarmId = azurerm_service_plan.function.id
      httpsOnly    = true
      functionAppConfig = {
        deployment = { storage = {
          type           = "blobContainer"
          value          = "${azurerm_storage_account.host.primary_blob_endpoint}${azurerm_storage_container.deployments.name}"
          authentication = { type = "UserAssignedIdentity", userAssignedIdentityResourceId = azurerm_user_assigned_identity.publisher.id }
        } }
        scaleAndConcurrency = { maximumInstanceCount = var.max_instances, instanceMemoryMB = 512 }
        runtime             = { name = "custom", version = "1.0" }
      }
      siteConfig = {
        minTlsVersion = "1.2"
        ftpsState     = "Disabled"
        appSettings   = [for name in sort(keys(local.app_settings)) : { name = name, value = local.app_settings[name] }]
      }
    }
  }
}

# As a template, because the provider's own resource for this plan writes a connection string with an empty key into AzureWebJobsStorage, which the host
# then tries to use, and wants a password to deploy.
resource "azurerm_resource_group_template_deployment" "function" {
  resource_group_name = var.resource_group_name
  name                = "${var.name}-function"
  deployment_mode     = "Incremental"
  tags                = var.tags

  template_content = jsonencode({
    "$schema"      = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
    contentVersion = "1.0.0.0"
    resources = concat([local.app], [for door in ["scm", "ftp"] : {
      type       = "Microsoft.Web/sites/basicPublishingCredentialsPolicies"
      apiVersion = "2024-04-01"
      name       = "${var.name}/${door}"
      properties = { allow = false } # nobody deploys with a password
      dependsOn  = ["[resourceId('Microsoft.Web/sites', '${var.name}')]"]
    }])
    outputs = { host = { type = "string", value = "[reference(resourceId('Microsoft.Web/sites', '${var.name}'), '2024-04-01').defaultHostName]" } }
  })

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

# The program itself, by the command line, which logs in as whoever applies this. Names come by the environment, so that no shell reads them.
resource "terraform_data" "program" {
  count = var.deploy_program ? 1 : 0

  triggers_replace = [var.package, azurerm_resource_group_template_deployment.function.id]

  provisioner "local-exec" {
    command = "az functionapp deployment source config-zip --subscription \"$SUBSCRIPTION\" --resource-group \"$GROUP\" --name \"$NAME\" --src \"$PACKAGE\" --output none"

    environment = {
      SUBSCRIPTION = split("/", azurerm_service_plan.function.id)[2]
      GROUP        = var.resource_group_name
      NAME         = var.name
      PACKAGE      = var.package
    }
  }

  lifecycle {
    precondition {
      condition     = var.package != null
      error_message = "There is no package to deploy: give package = module.package.path, or set deploy_program = false and let a pipeline deploy it."
    }
  }

  depends_on = [azurerm_resource_group_template_deployment.function]
}
