package terraform_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

var azureGuards = []guard{
	{name: "Azure: the world reads the documents, and nothing else", check: azureWorldReads, red: []spoil{
		{"the world lists", "azure/storage.tf", `container_access_type = "blob"`, `container_access_type = "container"`},
		{"the private container is open", "azure/storage.tf", `container_access_type = "private"`, `container_access_type = "blob"`},
		{"the private account could be opened", "azure/storage.tf", "allow_nested_items_to_be_public  = false", "allow_nested_items_to_be_public  = true"},
		{"the website's account could be opened", "azure/storage.tf", `allow_nested_items_to_be_public  = var.hosting == "container"`, `allow_nested_items_to_be_public  = true`},
		{"the documents are beside the state", "azure/storage.tf", "storage_account_id    = azurerm_storage_account.documents.id\n  name                  = local.container", "storage_account_id    = azurerm_storage_account.private.id\n  name                  = local.container"},
	}},
	{name: "Azure: no account has keys", check: azureNoKeys, red: []spoil{
		{"shared keys", "azure/storage.tf", "shared_access_key_enabled        = false", "shared_access_key_enabled        = true"},
		{"local users", "azure/storage.tf", "local_user_enabled               = false", "local_user_enabled               = true"},
		{"plain text", "azure/storage.tf", "https_traffic_only_enabled       = true", "https_traffic_only_enabled       = false"},
		{"a deploy with a password", "azure/function.tf", "allow = false", "allow = true"},
		{"a deploy by FTP", "azure/function.tf", `["scm", "ftp"]`, `["scm"]`},
		{"the package by a key", "azure/function.tf", `type = "UserAssignedIdentity", userAssignedIdentityResourceId`, `type = "StorageAccountConnectionString", userAssignedIdentityResourceId`},
		{"a key in the settings", "azure/function.tf", "AzureWebJobsStorage__credential", "AzureWebJobsStorage"},
		{"plain http to the function", "azure/function.tf", "httpsOnly    = true", "httpsOnly    = false"},
		{"the provider's own resource", "azure/function.tf", `resource "terraform_data" "program"`, "resource \"azurerm_function_app_flex_consumption\" \"more\" {}\n\nresource \"terraform_data\" \"program\""},
		{"a shell reads names", "azure/function.tf", `--name \"$NAME\"`, `--name ${var.name}`},
	}},
	{name: "Azure: the publisher's rights are written out, and none deletes", check: azureRights, red: []spoil{
		{"it deletes", "azure/storage.tf", `"Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write",`, `"Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write", "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete",`},
		{"all rights of a kind", "azure/storage.tf", `"Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write",`, `"Microsoft.Storage/storageAccounts/blobServices/containers/blobs/*",`},
		{"it overwrites records", "azure/storage.tf", `"Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action",`, `"Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write",`},
		{"it makes queues", "azure/queue.tf", `actions = ["Microsoft.Storage/storageAccounts/queueServices/queues/read"]`, `actions = ["Microsoft.Storage/storageAccounts/queueServices/queues/write"]`},
		{"it writes anywhere in the container", "azure/storage.tf", "condition          = local.may_write_documents\n  condition_version  = \"2.0\"", ""},
		{"its conditions allow everything", "azure/storage.tf", `@Resource[${local.blobs}:path] StringEquals`, `@Resource[${local.blobs}:path] StringLike`},
		{"records are added anywhere", "azure/storage.tf", `StringLike '${name}/*'`, `StringLike '*'`},
		{"a whole account", "azure/storage.tf", "scope              = \"${azurerm_storage_account.private.id}/blobServices/default/containers/${azurerm_storage_container.private.name}\"", "scope              = azurerm_storage_account.private.id"},
		{"a ready-made role", "azure/storage.tf", "role_definition_id = azurerm_role_definition.recorder.role_definition_resource_id", `role_definition_name = "Storage Blob Data Contributor"`},
		{"the host's role on the documents", "azure/function.tf", "scope                = azurerm_storage_account.host.id", "scope                = azurerm_storage_account.documents.id"},
		{"another grant", "azure/queue.tf", `resource "azurerm_user_assigned_identity" "exporter"`, "resource \"azurerm_role_assignment\" \"more\" {}\n\nresource \"azurerm_user_assigned_identity\" \"exporter\""},
		{"exporters read the queue", "azure/queue.tf", `"Storage Queue Data Message Sender"`, `"Storage Queue Data Contributor"`},
		{"exporters send to any queue", "azure/queue.tf", `local.queues["snapshots"]`, `azurerm_storage_account.host.id`},
	}},
	{name: "Azure: data outlives a mistake", check: azureKept, red: []spoil{
		{"a destroy takes the documents", "azure/storage.tf", "prevent_destroy = true", "prevent_destroy = false"},
		{"no versions", "azure/storage.tf", "versioning_enabled = true", "versioning_enabled = false"},
		{"a deleted blob is gone", "azure/storage.tf", "delete_retention_policy {\n      days = 90", "delete_retention_policy {\n      days = 1"},
		{"a deleted container is gone", "azure/storage.tf", "    container_delete_retention_policy {\n      days = 90\n    }\n", ""},
	}},
	{name: "Azure: trust names issuer, subject and audience", check: azureTrust, red: []spoil{
		{"another subject", "azure/trust/main.tf", "each.value.subject", `"system:serviceaccount:production:*"`},
		{"another issuer", "azure/trust/main.tf", "each.value.issuer", `"https://oidc.example.com"`},
		{"another audience", "azure/trust/main.tf", "[var.audience]", `["https://kubernetes.default.svc"]`},
		{"any audience may be set", "azure/trust/variables.tf", `startswith(var.audience, "api://AzureADTokenExchange")`, "true"},
		{"the exporter's subject", "azure/queue.tf", "each.value.exporter.subject", `"system:serviceaccount:default:default"`},
		{"owners", "azure/trust/variables.tf", `!contains(["Owner", "Contributor", "User Access Administrator"], grant.role)`, "true"},
	}},
	{name: "Azure: the limits are checked before anything is made", check: azureLimits, red: []spoil{
		{"of federated credentials", "azure/trust/main.tf", "length(local.members[each.key]) <= 20", "true"},
		{"of a condition", "azure/storage.tf", "<= 8192", "<= 81920"},
		{"half an operator's door", "azure/function.tf", "local.operable || (", "true || ("},
	}},
	{name: "Azure: a changed program is a changed package", check: azurePackage, red: []spoil{
		{"a copy in its old place", "azure/package/main.tf", `filename        = "${local.folder}/${each.value}"`, `filename        = "${var.build}/${each.value}"`},
		{"the package's name stays", "azure/package/main.tf", `kube-iam-assume-azure-${substr(local.digest, 0, 16)}.zip`, `kube-iam-assume-azure.zip`},
		{"its content is not looked at", "azure/package/main.tf", `filesha256("${var.files}/${file}")`, `file`},
		{"the program can't be run", "azure/package/main.tf", `output_file_mode = "0755"`, `output_file_mode = "0644"`},
	}},
	{name: "Azure: the operator's door is shut unless all three are set", check: azureDoor, red: []spoil{
		{"without operators", "azure/function.tf", "&& length(var.operators) > 0", ""},
		{"the function is there anyway", "azure/function.tf", "tostring(!local.operable)", `"false"`},
		{"any operator", "azure/variables.tf", "condition     = alltrue([for id in var.operators :", "condition     = alltrue([for id in [] :"},
	}},
}

func azureWorldReads(c configuration) error {
	for name, open := range map[string]string{"documents": `var.hosting == "container"`, "private": "false", "host": "false"} {
		account, err := c.resource("azure", "azurerm_storage_account", name)
		if err != nil {
			return err
		}
		if got := account.source("allow_nested_items_to_be_public"); got != open {
			return fmt.Errorf("account %s may be opened: %s", name, got)
		}
	}
	containers, err := c.resources("azurerm_storage_container")
	if err != nil {
		return err
	}
	for _, container := range containers {
		access, account := `"private"`, ""
		if container.Labels[1] == "documents" {
			access, account = `"blob"`, "azurerm_storage_account.documents.id"
		}
		if got := container.source("container_access_type"); got != access {
			return fmt.Errorf("container %s is %s, want %s", container.Labels[1], got, access)
		}
		if got := container.source("storage_account_id"); account != "" && got != account || account == "" && got == "azurerm_storage_account.documents.id" {
			return fmt.Errorf("container %s is in the account %s", container.Labels[1], got)
		}
	}
	return nil
}

func azureNoKeys(c configuration) error {
	accounts, err := c.resources("azurerm_storage_account")
	if err != nil {
		return err
	}
	for _, account := range accounts {
		for at, want := range map[string]string{
			"shared_access_key_enabled": "false", "local_user_enabled": "false", "https_traffic_only_enabled": "true", "min_tls_version": `"TLS1_2"`,
			"cross_tenant_replication_enabled": "false", "default_to_oauth_authentication": "true",
		} {
			if got := account.source(at); got != want {
				return fmt.Errorf("%s: %s is %q, want %s", account.address(), at, got, want)
			}
		}
	}
	if function, err := c.resources("azurerm_function_app_flex_consumption"); err != nil || len(function) > 0 {
		return fmt.Errorf("the provider's resource for the function writes a key of its own: %w", errors.Join(err))
	}
	text := strings.Join(strings.Fields(c["azure/function.tf"]), " ")
	for _, part := range []string{
		`httpsOnly = true`, `minTlsVersion = "1.2"`, `ftpsState = "Disabled"`, `AzureWebJobsStorage__credential = "managedidentity"`,
		`authentication = { type = "UserAssignedIdentity", userAssignedIdentityResourceId = azurerm_user_assigned_identity.publisher.id }`,
		`[for door in ["scm", "ftp"] : { type = "Microsoft.Web/sites/basicPublishingCredentialsPolicies"`, `properties = { allow = false }`,
	} {
		if !strings.Contains(text, part) {
			return fmt.Errorf("the function lacks %s", part)
		}
	}
	program, err := c.resource("azure", "terraform_data", "program")
	if err != nil {
		return err
	}
	if command := program.source("provisioner.command"); strings.Contains(command, "${") {
		return fmt.Errorf("a shell reads %s", command)
	}
	return nil
}

func azureRights(c configuration) error {
	const blobs, queues = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/", "Microsoft.Storage/storageAccounts/queueServices/queues/"
	want := map[string][]string{
		"writer":   {blobs + "read", blobs + "write"},
		"recorder": {blobs + "read", blobs + "add/action"},
		"queue":    {queues + "messages/read", queues + "messages/add/action", queues + "messages/process/action"},
	}
	roles, err := c.resources("azurerm_role_definition")
	if err != nil {
		return err
	}
	for _, role := range roles {
		permissions := role.inner("permissions")
		if len(permissions) != 1 {
			return fmt.Errorf("role %s has %d lists of permissions", role.Labels[1], len(permissions))
		}
		if got, err := permissions[0].strings("data_actions"); err != nil || !slices.Equal(got, want[role.Labels[1]]) {
			return fmt.Errorf("role %s may %q: %w", role.Labels[1], got, errors.Join(err))
		}
		if got := permissions[0].source("actions"); got != "" && got != `["`+queues+`read"]` && got != `["Microsoft.Storage/storageAccounts/queueServices/queues/read"]` {
			return fmt.Errorf("role %s may %s", role.Labels[1], got)
		}
	}
	if len(roles) != len(want) {
		return fmt.Errorf("%d roles, want %d", len(roles), len(want))
	}
	return azureAssignments(c)
}

// azureAssignments: every grant, with its role, its scope and its condition.
func azureAssignments(c configuration) error {
	const private = `"${azurerm_storage_account.private.id}/blobServices/default/containers/${azurerm_storage_container.private.name}"`
	custom := func(name string) string { return "azurerm_role_definition." + name + ".role_definition_resource_id" }
	want := map[string][3]string{
		"documents": {custom("writer"), `"${azurerm_storage_account.documents.id}/blobServices/default/containers/${local.container}"`, "local.may_write_documents"},
		"states":    {custom("writer"), private, "local.may_write_states"},
		"logs":      {custom("recorder"), private, "local.may_add_records"},
		"queue":     {custom("queue"), "each.value", ""},
		"host":      {`"Storage Blob Data Owner"`, "azurerm_storage_account.host.id", ""},
		"exporter":  {`"Storage Queue Data Message Sender"`, `local.queues["snapshots"]`, ""},
		"workload":  {"each.value.role", "each.value.scope", ""},
	}
	assignments, err := c.resources("azurerm_role_assignment")
	if err != nil {
		return err
	}
	for _, a := range assignments {
		got := [3]string{a.source("role_definition_id") + a.source("role_definition_name"), a.source("scope"), a.source("condition")}
		if got != want[a.Labels[1]] {
			return fmt.Errorf("%s is %q, want %q", a.address(), got, want[a.Labels[1]])
		}
	}
	if len(assignments) != len(want) {
		return fmt.Errorf("%d grants, want %d", len(assignments), len(want))
	}
	for _, part := range []string{
		`may_write_documents = "((!(ActionMatches{'${local.blobs}/write'})) OR (${join(" OR ", [for name in local.documents : "@Resource[${local.blobs}:path] StringEquals '${name}'"])}))"`,
		`may_write_states    = "((!(ActionMatches{'${local.blobs}/write'})) OR (${join(" OR ", [for name in local.states : "@Resource[${local.blobs}:path] StringEquals '${name}'"])}))"`,
		`may_add_records     = "((!(ActionMatches{'${local.blobs}/add/action'})) OR (${join(" OR ", [for name in local.logs : "@Resource[${local.blobs}:path] StringLike '${name}/*'"])}))"`,
	} {
		if !strings.Contains(c["azure/storage.tf"], part) {
			return fmt.Errorf("want the condition %s", part)
		}
	}
	return nil
}

func azureKept(c configuration) error {
	for _, name := range []string{"documents", "private"} {
		account, err := c.resource("azure", "azurerm_storage_account", name)
		if err != nil {
			return err
		}
		container, err := c.resource("azure", "azurerm_storage_container", name)
		if err != nil {
			return err
		}
		for at, want := range map[string]string{
			"lifecycle.prevent_destroy": "true", "blob_properties.versioning_enabled": "true",
			"blob_properties.delete_retention_policy.days": "90", "blob_properties.container_delete_retention_policy.days": "90",
		} {
			if got := account.source(at); got != want {
				return fmt.Errorf("account %s: %s is %q, want %s", name, at, got, want)
			}
		}
		if container.source("lifecycle.prevent_destroy") != "true" {
			return fmt.Errorf("a destroy takes the container %s", name)
		}
	}
	return nil
}

func azureTrust(c configuration) error {
	for at, want := range map[[2]string][3]string{
		{"azure/trust", "workload"}: {"each.value.issuer", "each.value.subject", "[var.audience]"},
		{"azure", "exporter"}:       {"each.value.issuer", "each.value.exporter.subject", "[var.audience]"},
	} {
		credential, err := c.resource(at[0], "azurerm_federated_identity_credential", at[1])
		if err != nil {
			return err
		}
		if got := [3]string{credential.source("issuer"), credential.source("subject"), credential.source("audience")}; got != want {
			return fmt.Errorf("%s trusts %q, want %q", credential.address(), got, want)
		}
	}
	audience, err := c.variable("azure/trust", "audience")
	if err != nil {
		return err
	}
	accounts, err := c.variable("azure/trust", "service_accounts")
	if err != nil {
		return err
	}
	if audience.source("validation.condition") != `startswith(var.audience, "api://AzureADTokenExchange")` {
		return errors.New("the audience is not checked")
	}
	if !strings.Contains(accounts.source("validation.condition"), `!contains(["Owner", "Contributor", "User Access Administrator"], grant.role)`) {
		return errors.New("a workload could own the subscription")
	}
	return nil
}

func azureLimits(c configuration) error {
	for at, want := range map[[3]string]string{
		{"azure/trust", "azurerm_user_assigned_identity", "workload"}:       "length(local.members[each.key]) <= 20",
		{"azure", "azurerm_role_assignment", "documents"}:                   "max(length(local.may_write_documents), length(local.may_write_states), length(local.may_add_records)) <= 8192",
		{"azure", "azurerm_resource_group_template_deployment", "function"}: "local.operable || (var.operator_tenant_id == null && var.operator_audience == null && length(var.operators) == 0)",
	} {
		limited, err := c.resource(at[0], at[1], at[2])
		if err != nil {
			return err
		}
		if got := limited.source("lifecycle.precondition.condition"); got != want {
			return fmt.Errorf("%s is checked by %q, want %q", limited.address(), got, want)
		}
	}
	return nil
}

func azureDoor(c configuration) error {
	text := c["azure/function.tf"]
	for _, part := range []string{
		"operable = var.operator_tenant_id != null && var.operator_audience != null && length(var.operators) > 0",
		"= tostring(!local.operable)",
	} {
		if !strings.Contains(text, part) {
			return fmt.Errorf("want %q", part)
		}
	}
	operators, err := c.variable("azure", "operators")
	if err != nil {
		return err
	}
	if !strings.HasPrefix(operators.source("validation.condition"), "alltrue([for id in var.operators : can(regex(") {
		return errors.New("operators are not checked one by one")
	}
	return nil
}

// azurePackage: Terraform copies a file again only if its name changed.
func azurePackage(c configuration) error {
	text := strings.Join(strings.Fields(c["azure/package/main.tf"]), " ")
	for _, part := range []string{
		`digest = sha256(jsonencode([var.settings, { for file in local.files : file => filesha256("${var.files}/${file}") }]))`,
		`folder = "${var.build}/${substr(local.digest, 0, 16)}"`,
		`filename = "${local.folder}/${each.value}"`, `filename = "${local.folder}/${each.key}"`, `source_dir = local.folder`,
		`path = "${var.build}/kube-iam-assume-azure-${substr(local.digest, 0, 16)}.zip"`, `output_path = local.path`, `value = local.path`, `output_file_mode = "0755"`,
	} {
		if !strings.Contains(text, part) {
			return fmt.Errorf("want %s", part)
		}
	}
	return nil
}
