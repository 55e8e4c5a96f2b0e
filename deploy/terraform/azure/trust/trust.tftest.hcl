# With the real provider's schema and none of its calls: deploy/terraform/validate/azurerm runs it.

mock_provider "azurerm" {
  mock_resource "azurerm_user_assigned_identity" {
    defaults = {
      id           = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/group/providers/Microsoft.ManagedIdentity/userAssignedIdentities/identity"
      client_id    = "11111111-1111-1111-1111-111111111111"
      principal_id = "22222222-2222-2222-2222-222222222222"
      tenant_id    = "33333333-3333-3333-3333-333333333333"
    }
  }
}

variables {
  resource_group_name = "group"
  location            = "germanywestcentral"
  name                = "prod"
  clusters_directory  = "../../clusters/testdata/clusters"
  issuer_base         = "https://oidc.example.com"
  service_accounts = {
    "production/payments" = {
      clusters = ["all"]
      roles    = { vault = { role = "Key Vault Secrets User", scope = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/group" } }
    }
    "production/report.daily" = { clusters = ["prod-us1"] }
  }
}

run "apply" {
  assert {
    condition     = join(" ", sort(keys(azurerm_federated_identity_credential.workload))) == "production/payments@prod-eu1 production/payments@prod-us1 production/report.daily@prod-us1"
    error_message = "Other credentials: ${join(" ", keys(azurerm_federated_identity_credential.workload))}"
  }

  assert {
    condition = (
      azurerm_federated_identity_credential.workload["production/payments@prod-eu1"].issuer == "https://oidc.example.com/prod-eu1" &&
      azurerm_federated_identity_credential.workload["production/payments@prod-eu1"].subject == "system:serviceaccount:production:payments" &&
      one(azurerm_federated_identity_credential.workload["production/payments@prod-eu1"].audience) == "api://AzureADTokenExchange"
    )
    error_message = "The credential trusts another issuer, subject or audience."
  }

  assert {
    condition     = azurerm_role_assignment.workload["production/payments vault"].role_definition_name == "Key Vault Secrets User" && length(azurerm_role_assignment.workload) == 1
    error_message = "Another grant."
  }

  assert {
    condition     = can(regex("^[a-zA-Z0-9][-_a-zA-Z0-9]{2,127}$", azurerm_user_assigned_identity.workload["production/report.daily"].name))
    error_message = "An identity can't be named ${azurerm_user_assigned_identity.workload["production/report.daily"].name}."
  }

  assert {
    condition     = output.identities["production/payments"].client_id == "11111111-1111-1111-1111-111111111111" && output.audience == "api://AzureADTokenExchange"
    error_message = jsonencode(output.identities)
  }
}

run "another_audience" {
  command = plan

  variables {
    audience = "sts.amazonaws.com"
  }

  expect_failures = [var.audience]
}

run "an_owner" {
  command = plan

  variables {
    service_accounts = { "production/payments" = { clusters = ["all"], roles = { all = { role = "Owner", scope = "/subscriptions/00000000-0000-0000-0000-000000000000" } } } }
  }

  expect_failures = [var.service_accounts]
}
