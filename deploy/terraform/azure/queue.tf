# Snapshots by a Storage queue. Exporters add messages with the tokens of their own clusters; they can neither read nor remove any.

locals {
  queue  = "snapshots"
  queues = { for queue in ["snapshots", "snapshots-poison"] : queue => "${azurerm_storage_account.host.id}/queueServices/default/queues/${queue}" }
}

# The poison queue is made here, because the function may not make queues.
resource "azurerm_storage_queue" "snapshots" {
  for_each = toset(["snapshots", "snapshots-poison"])

  storage_account_id = azurerm_storage_account.host.id
  name               = each.value
}

resource "azurerm_role_definition" "queue" {
  name        = "${var.name} queue"
  scope       = azurerm_storage_account.host.id
  description = "kube-iam-assume: takes snapshots from the queue, and puts aside those that can't be handled"

  permissions {
    actions = ["Microsoft.Storage/storageAccounts/queueServices/queues/read"]
    data_actions = [
      "Microsoft.Storage/storageAccounts/queueServices/queues/messages/read",
      "Microsoft.Storage/storageAccounts/queueServices/queues/messages/add/action",
      "Microsoft.Storage/storageAccounts/queueServices/queues/messages/process/action",
    ]
  }

  assignable_scopes = [azurerm_storage_account.host.id]
}

resource "azurerm_role_assignment" "queue" {
  for_each = local.queues

  scope              = each.value
  role_definition_id = azurerm_role_definition.queue.role_definition_resource_id
  principal_id       = azurerm_user_assigned_identity.publisher.principal_id
  principal_type     = "ServicePrincipal"
  description        = "the function takes snapshots from ${each.key}"

  depends_on = [azurerm_storage_queue.snapshots]
}

resource "azurerm_user_assigned_identity" "exporter" {
  for_each = var.queue ? module.clusters.clusters : {}

  resource_group_name = var.resource_group_name
  location            = var.location
  name                = "${var.name}-exporter-${each.key}"
  tags                = var.tags
}

resource "azurerm_federated_identity_credential" "exporter" {
  for_each = var.queue ? module.clusters.clusters : {}

  user_assigned_identity_id = azurerm_user_assigned_identity.exporter[each.key].id
  name                      = "kube-${each.key}"
  issuer                    = each.value.issuer
  subject                   = each.value.exporter.subject
  audience                  = [var.audience]
}

resource "azurerm_role_assignment" "exporter" {
  for_each = var.queue ? module.clusters.clusters : {}

  scope                = local.queues["snapshots"]
  role_definition_name = "Storage Queue Data Message Sender"
  principal_id         = azurerm_user_assigned_identity.exporter[each.key].principal_id
  principal_type       = "ServicePrincipal"
  description          = "the exporter of cluster ${each.key} sends snapshots"

  depends_on = [azurerm_storage_queue.snapshots]
}
