# Three storage accounts, none of which has keys: documents, which the world reads; private, with the state and the log; host, with the function's own
# things and the queue. They are apart because who may read what the world reads, and what the Functions host may delete, is set for accounts.

locals {
  objects   = [for id in sort(keys(module.clusters.clusters)) : module.clusters.clusters[id].objects]
  documents = sort(flatten([for object in local.objects : [object.discovery, object.jwks]]))
  states    = sort(local.objects[*].state)
  logs      = sort(local.objects[*].log)

  blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"

  # A right to write for these names alone. Reading needs no condition: both containers hold nothing that the publisher may not read.
  may_write_documents = "((!(ActionMatches{'${local.blobs}/write'})) OR (${join(" OR ", [for name in local.documents : "@Resource[${local.blobs}:path] StringEquals '${name}'"])}))"
  may_write_states    = "((!(ActionMatches{'${local.blobs}/write'})) OR (${join(" OR ", [for name in local.states : "@Resource[${local.blobs}:path] StringEquals '${name}'"])}))"
  may_add_records     = "((!(ActionMatches{'${local.blobs}/add/action'})) OR (${join(" OR ", [for name in local.logs : "@Resource[${local.blobs}:path] StringLike '${name}/*'"])}))"
}

resource "azurerm_storage_account" "documents" {
  resource_group_name              = var.resource_group_name
  location                         = var.location
  name                             = var.account
  account_kind                     = "StorageV2"
  account_tier                     = "Standard"
  account_replication_type         = var.replication
  min_tls_version                  = "TLS1_2"
  https_traffic_only_enabled       = true
  shared_access_key_enabled        = false
  default_to_oauth_authentication  = true
  local_user_enabled               = false
  cross_tenant_replication_enabled = false
  allow_nested_items_to_be_public  = var.hosting == "container"
  tags                             = var.tags

  # What is overwritten or deleted can be brought back for 90 days.
  blob_properties {
    versioning_enabled = true

    delete_retention_policy {
      days = 90
    }

    container_delete_retention_policy {
      days = 90
    }
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "azurerm_storage_account" "private" {
  resource_group_name              = var.resource_group_name
  location                         = var.location
  name                             = "${var.account}priv"
  account_kind                     = "StorageV2"
  account_tier                     = "Standard"
  account_replication_type         = var.replication
  min_tls_version                  = "TLS1_2"
  https_traffic_only_enabled       = true
  shared_access_key_enabled        = false
  default_to_oauth_authentication  = true
  local_user_enabled               = false
  cross_tenant_replication_enabled = false
  allow_nested_items_to_be_public  = false
  tags                             = var.tags

  blob_properties {
    versioning_enabled = true

    delete_retention_policy {
      days = 90
    }

    container_delete_retention_policy {
      days = 90
    }
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "azurerm_storage_account" "host" {
  resource_group_name              = var.resource_group_name
  location                         = var.location
  name                             = "${var.account}host"
  account_kind                     = "StorageV2"
  account_tier                     = "Standard"
  account_replication_type         = var.replication
  min_tls_version                  = "TLS1_2"
  https_traffic_only_enabled       = true
  shared_access_key_enabled        = false
  default_to_oauth_authentication  = true
  local_user_enabled               = false
  cross_tenant_replication_enabled = false
  allow_nested_items_to_be_public  = false
  tags                             = var.tags
}

# blob: whoever knows a name may read it; container would let the world list as well.
resource "azurerm_storage_container" "documents" {
  count = var.hosting == "container" ? 1 : 0

  storage_account_id    = azurerm_storage_account.documents.id
  name                  = local.container
  container_access_type = "blob"

  lifecycle {
    prevent_destroy = true
  }
}

resource "azurerm_storage_account_static_website" "documents" {
  count = var.hosting == "website" ? 1 : 0

  storage_account_id = azurerm_storage_account.documents.id
  error_404_document = "404.html" # Azure wants a name; there is no such document, and a plain 404 is answered
}

resource "azurerm_storage_container" "private" {
  storage_account_id    = azurerm_storage_account.private.id
  name                  = "private"
  container_access_type = "private"

  lifecycle {
    prevent_destroy = true
  }
}

resource "azurerm_storage_container" "deployments" {
  storage_account_id    = azurerm_storage_account.host.id
  name                  = "deployments"
  container_access_type = "private"
}

# Rolling back old versions costs little, but not for ever: each heartbeat writes the state anew.
resource "azurerm_storage_management_policy" "versions" {
  for_each = { documents = azurerm_storage_account.documents.id, private = azurerm_storage_account.private.id }

  storage_account_id = each.value

  rule {
    name    = "old-versions-after-90-days"
    enabled = true

    filters {
      blob_types = ["blockBlob"]
    }

    actions {
      version {
        delete_after_days_since_creation = 90
      }
    }
  }
}

# Azure, unlike S3 and Cloud Storage, has one right to create and another to overwrite, and neither includes deleting.
resource "azurerm_role_definition" "writer" {
  name        = "${var.name} writer"
  scope       = azurerm_storage_account.documents.id
  description = "kube-iam-assume: reads and writes blobs, and deletes none"

  permissions {
    data_actions = [
      "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read",
      "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write",
    ]
  }

  assignable_scopes = [azurerm_storage_account.documents.id, azurerm_storage_account.private.id]
}

resource "azurerm_role_definition" "recorder" {
  name        = "${var.name} recorder"
  scope       = azurerm_storage_account.private.id
  description = "kube-iam-assume: reads blobs and adds new ones, and changes none"

  permissions {
    data_actions = [
      "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read",
      "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action",
    ]
  }

  assignable_scopes = [azurerm_storage_account.private.id]
}

resource "azurerm_user_assigned_identity" "publisher" {
  resource_group_name = var.resource_group_name
  location            = var.location
  name                = "${var.name}-publisher"
  tags                = var.tags
}

resource "azurerm_role_assignment" "documents" {
  scope              = "${azurerm_storage_account.documents.id}/blobServices/default/containers/${local.container}"
  role_definition_id = azurerm_role_definition.writer.role_definition_resource_id
  principal_id       = azurerm_user_assigned_identity.publisher.principal_id
  principal_type     = "ServicePrincipal"
  description        = "the publisher writes the documents"
  condition          = local.may_write_documents
  condition_version  = "2.0"

  lifecycle {
    precondition {
      condition     = max(length(local.may_write_documents), length(local.may_write_states), length(local.may_add_records)) <= 8192
      error_message = "The conditions that name the documents of ${length(local.objects)} clusters are longer than the 8,192 characters that Azure takes: publish some of the clusters from another resource group."
    }
  }

  depends_on = [azurerm_storage_container.documents, azurerm_storage_account_static_website.documents]
}

resource "azurerm_role_assignment" "states" {
  scope              = "${azurerm_storage_account.private.id}/blobServices/default/containers/${azurerm_storage_container.private.name}"
  role_definition_id = azurerm_role_definition.writer.role_definition_resource_id
  principal_id       = azurerm_user_assigned_identity.publisher.principal_id
  principal_type     = "ServicePrincipal"
  description        = "the publisher writes the states"
  condition          = local.may_write_states
  condition_version  = "2.0"
}

resource "azurerm_role_assignment" "logs" {
  scope              = "${azurerm_storage_account.private.id}/blobServices/default/containers/${azurerm_storage_container.private.name}"
  role_definition_id = azurerm_role_definition.recorder.role_definition_resource_id
  principal_id       = azurerm_user_assigned_identity.publisher.principal_id
  principal_type     = "ServicePrincipal"
  description        = "the publisher adds records to the log"
  condition          = local.may_add_records
  condition_version  = "2.0"
}
