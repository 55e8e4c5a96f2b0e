# With the real provider's schema and none of its calls: deploy/terraform/validate/azurerm runs it. Everything is planned and nothing applied, because a
# test could not clean up what prevent_destroy keeps.

mock_provider "azurerm" {
  override_during = plan

  mock_resource "azurerm_user_assigned_identity" {
    defaults = {
      id           = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/group/providers/Microsoft.ManagedIdentity/userAssignedIdentities/identity"
      client_id    = "11111111-1111-1111-1111-111111111111"
      principal_id = "22222222-2222-2222-2222-222222222222"
      tenant_id    = "33333333-3333-3333-3333-333333333333"
    }
  }

  mock_resource "azurerm_storage_account" {
    defaults = {
      id                     = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/group/providers/Microsoft.Storage/storageAccounts/account"
      primary_blob_endpoint  = "https://account.blob.core.windows.net/"
      primary_queue_endpoint = "https://account.queue.core.windows.net/"
      primary_web_endpoint   = "https://account.z1.web.core.windows.net/"
    }
  }

  mock_resource "azurerm_role_definition" {
    defaults = {
      role_definition_resource_id = "/subscriptions/00000000-0000-0000-0000-000000000000/providers/Microsoft.Authorization/roleDefinitions/44444444-4444-4444-4444-444444444444"
    }
  }

  mock_resource "azurerm_service_plan" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/group/providers/Microsoft.Web/serverFarms/plan"
    }
  }

  mock_resource "azurerm_log_analytics_workspace" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/group/providers/Microsoft.OperationalInsights/workspaces/workspace"
    }
  }

  mock_resource "azurerm_application_insights" {
    defaults = {
      id                = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/group/providers/Microsoft.Insights/components/insights"
      connection_string = "InstrumentationKey=00000000-0000-0000-0000-000000000000"
    }
  }

  mock_resource "azurerm_resource_group_template_deployment" {
    defaults = {
      id             = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/group/providers/Microsoft.Resources/deployments/function"
      output_content = "{\"host\": {\"type\": \"String\", \"value\": \"prod.azurewebsites.net\"}}"
    }
  }
}

variables {
  resource_group_name = "group"
  location            = "germanywestcentral"
  name                = "prod-oidc"
  account             = "prodoidc"
  clusters_directory  = "../clusters/testdata/clusters"
  package             = "package.zip"
}

run "container" {
  command = plan

  assert {
    condition     = output.issuers["prod-eu1"] == "https://prodoidc.blob.core.windows.net/documents/prod-eu1"
    error_message = jsonencode(output.issuers)
  }

  assert {
    condition = jsondecode(output.exporters["prod-eu1"]) == {
      cluster        = "prod-eu1"
      issuer         = "https://prodoidc.blob.core.windows.net/documents/prod-eu1"
      serviceAccount = "kube-iam-assume/cluster-exporter"
      destinations = [{
        publisher = "prod-oidc/prodoidc"
        webhook   = { url = "https://prod.azurewebsites.net/v1/snapshots" }
        storageQueue = {
          url      = "https://account.queue.core.windows.net/snapshots"
          tenantID = "33333333-3333-3333-3333-333333333333"
          clientID = "11111111-1111-1111-1111-111111111111"
        }
      }]
    }
    error_message = output.exporters["prod-eu1"]
  }

  assert {
    condition     = local.app_settings["DOCUMENTS_BUCKET"] == "https://prodoidc.blob.core.windows.net/documents" && local.app_settings["PRIVATE_BUCKET"] == "https://prodoidcpriv.blob.core.windows.net/private"
    error_message = "Other settings: ${join(", ", keys(local.app_settings))}"
  }

  assert {
    condition     = local.app_settings["AzureWebJobs.operate.Disabled"] == "true" && !contains(keys(local.app_settings), "OPERATORS") && output.operate_url == null
    error_message = "The operator's door is open, and nobody asked for it."
  }

  assert {
    condition     = azurerm_role_assignment.documents.condition == "((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringEquals 'prod-eu1/.well-known/openid-configuration' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringEquals 'prod-eu1/openid/v1/jwks' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringEquals 'prod-us1/.well-known/openid-configuration' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringEquals 'prod-us1/openid/v1/jwks'))"
    error_message = azurerm_role_assignment.documents.condition
  }

  assert {
    condition     = endswith(azurerm_role_assignment.logs.condition, "StringLike 'log/prodoidc.blob.core.windows.net!documents!prod-us1/*'))")
    error_message = azurerm_role_assignment.logs.condition
  }

  assert {
    condition     = strcontains(output.settings["publisher.yaml"], "\"name\": \"prod-oidc/prodoidc\"") && length(output.settings) == 3
    error_message = jsonencode(keys(output.settings))
  }

  assert {
    condition     = join(" ", keys(azurerm_monitor_scheduled_query_rules_alert_v2.event)) == "Attention Fork Lost NewKey Refused Repaired Stale" && azurerm_monitor_scheduled_query_rules_alert_v2.event["Lost"].window_duration == "PT30M" && length(one(azurerm_monitor_scheduled_query_rules_alert_v2.event["Lost"].criteria).failing_periods) == 0
    error_message = "Other alarms: ${join(" ", keys(azurerm_monitor_scheduled_query_rules_alert_v2.event))}"
  }
}

run "program" {
  command = plan

  assert {
    condition     = [for resource in jsondecode(azurerm_resource_group_template_deployment.function.template_content).resources : resource.properties.allow if resource.type != "Microsoft.Web/sites"] == [false, false]
    error_message = "Somebody may deploy with a password."
  }

  assert {
    condition = { for setting in jsondecode(azurerm_resource_group_template_deployment.function.template_content).resources[0].properties.siteConfig.appSettings : setting.name => setting.value } == local.app_settings && (
      jsondecode(azurerm_resource_group_template_deployment.function.template_content).resources[0].properties.functionAppConfig.runtime == { name = "custom", version = "1.0" }
    )
    error_message = "The function is deployed with other settings."
  }

  assert {
    condition     = length(terraform_data.program) == 1
    error_message = "The program is not deployed."
  }
}

run "a_pipeline_deploys" {
  command = plan

  variables {
    deploy_program = false
    package        = null
  }

  assert {
    condition     = length(terraform_data.program) == 0
    error_message = "The program is deployed twice."
  }
}

run "nothing_to_deploy" {
  command = plan

  variables {
    package = null
  }

  expect_failures = [terraform_data.program]
}

run "website" {
  command = plan

  variables {
    hosting = "website"
  }

  assert {
    condition     = output.issuers["prod-eu1"] == "https://account.z1.web.core.windows.net/prod-eu1" && local.app_settings["DOCUMENTS_BUCKET"] == "https://prodoidc.blob.core.windows.net/$web"
    error_message = jsonencode(output.issuers)
  }

  assert {
    condition     = azurerm_storage_account.documents.allow_nested_items_to_be_public == false && length(azurerm_storage_container.documents) == 0
    error_message = "The account could be opened though its website is enough."
  }
}

run "beside_mirrors" {
  command = plan

  variables {
    issuer_base = "https://oidc.example.com"
    mirrors     = ["https://m.example.com/oidc"]
  }

  assert {
    condition     = [for issuer in yamldecode(output.settings["publisher.yaml"]).issuers : [issuer.url, issuer.mirrors, try(issuer.servedAt, null)]][0] == ["https://oidc.example.com/prod-eu1", ["https://m.example.com/oidc/prod-eu1"], null]
    error_message = output.settings["publisher.yaml"]
  }

  assert {
    condition     = one(one(azurerm_monitor_scheduled_query_rules_alert_v2.event["Mirror"].criteria).failing_periods) == { minimum_failing_periods_to_trigger_alert = 3, number_of_evaluation_periods = 4 } && azurerm_monitor_scheduled_query_rules_alert_v2.event["Mirror"].window_duration == "PT5M"
    error_message = "No alarm, or another, if a mirror differs."
  }
}

run "a_mirror" {
  command = plan

  variables {
    mirror_of = "https://oidc.example.com"
  }

  assert {
    condition     = [for issuer in yamldecode(output.settings["publisher.yaml"]).issuers : [issuer.url, issuer.servedAt]][0] == ["https://oidc.example.com/prod-eu1", "https://prodoidc.blob.core.windows.net/documents/prod-eu1"]
    error_message = output.settings["publisher.yaml"]
  }

  assert {
    condition     = contains(keys(azurerm_monitor_scheduled_query_rules_alert_v2.event), "Mirror")
    error_message = "No alarm if the other publisher differs."
  }
}

run "two_places" {
  command = plan

  variables {
    issuer_base = "https://oidc.example.com"
    mirror_of   = "https://oidc.example.com"
  }

  expect_failures = [var.mirror_of]
}

run "no_queue" {
  command = plan

  variables {
    queue = false
  }

  assert {
    condition     = length(azurerm_user_assigned_identity.exporter) == 0 && length(azurerm_role_assignment.exporter) == 0 && local.app_settings["AzureWebJobs.queue.Disabled"] == "true"
    error_message = "Exporters may send to a queue that nobody reads."
  }
}

run "operators" {
  command = plan

  variables {
    operator_tenant_id = "55555555-5555-5555-5555-555555555555"
    operator_audience  = "66666666-6666-6666-6666-666666666666"
    operators          = ["77777777-7777-7777-7777-777777777777", "88888888-8888-8888-8888-888888888888"]
  }

  assert {
    condition     = local.app_settings["OPERATORS"] == "77777777-7777-7777-7777-777777777777,88888888-8888-8888-8888-888888888888" && local.app_settings["AzureWebJobs.operate.Disabled"] == "false" && output.operate_url == "https://prod.azurewebsites.net/v1/operate"
    error_message = "Other settings: ${join(", ", keys(local.app_settings))}"
  }
}

run "half_an_operator" {
  command = plan

  variables {
    operator_tenant_id = "55555555-5555-5555-5555-555555555555"
  }

  expect_failures = [azurerm_resource_group_template_deployment.function]
}

run "an_operator_by_name" {
  command = plan

  variables {
    operators = ["jane@example.com"]
  }

  expect_failures = [var.operators]
}
