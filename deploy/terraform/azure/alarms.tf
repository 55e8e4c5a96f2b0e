# Alarms are made of the lines of the function's log, by the events' names, so that all clouds alarm on the same things. What to do about each is in
# docs/aws.md under the anchor of its name, and in docs/azure.md what is Azure's own.

locals {
  # Lines can be asked for some minutes after they were written. So each time the log is asked about more than the time since the last.
  window = { PT5M = "PT15M", PT10M = "PT30M", PT15M = "PT30M" }[var.alarm_frequency]

  platform = {
    Errors    = { says = "the function failed", query = "requests | where success == false and toint(resultCode) !between (400 .. 499)" }
    Throttles = { says = "the function was not run because too many were running", query = "requests | where resultCode == \"429\"" }
  }
}

resource "azurerm_log_analytics_workspace" "function" {
  resource_group_name = var.resource_group_name
  location            = var.location
  name                = var.name
  sku                 = "PerGB2018"
  retention_in_days   = var.log_retention_days
  tags                = var.tags
}

resource "azurerm_application_insights" "function" {
  resource_group_name = var.resource_group_name
  location            = var.location
  name                = var.name
  application_type    = "other"
  workspace_id        = azurerm_log_analytics_workspace.function.id
  retention_in_days   = var.log_retention_days
  tags                = var.tags
}

resource "azurerm_monitor_scheduled_query_rules_alert_v2" "event" {
  for_each = module.alarms.alarms

  resource_group_name     = var.resource_group_name
  location                = var.location
  name                    = "${var.name}-${each.key}"
  display_name            = "${var.name}: ${each.key}"
  description             = "${each.value.says}. What to do: docs/aws.md#alarm-${lower(each.key)}"
  scopes                  = [azurerm_application_insights.function.id]
  severity                = contains(["Fork", "Lost", "NewKey"], each.key) ? 1 : 2
  evaluation_frequency    = each.value.periods == 1 ? var.alarm_frequency : "PT5M"
  window_duration         = each.value.periods == 1 ? local.window : "PT5M"
  auto_mitigation_enabled = true
  tags                    = var.tags

  # A handler's line of JSON is the message of a trace.
  criteria {
    query                   = "traces | extend event = tostring(parse_json(message).event) | where event in (${join(", ", [for event in each.value.events : "\"${event}\""])})"
    time_aggregation_method = "Count"
    operator                = "GreaterThan"
    threshold               = 0

    # One more than must fail, because the newest may not have its lines yet.
    dynamic "failing_periods" {
      for_each = each.value.periods == 1 ? [] : [each.value.periods]

      content {
        minimum_failing_periods_to_trigger_alert = failing_periods.value
        number_of_evaluation_periods             = failing_periods.value + 1
      }
    }
  }

  action {
    action_groups = var.action_group_ids
  }
}

resource "azurerm_monitor_scheduled_query_rules_alert_v2" "platform" {
  for_each = local.platform

  resource_group_name     = var.resource_group_name
  location                = var.location
  name                    = "${var.name}-${each.key}"
  display_name            = "${var.name}: ${each.key}"
  description             = "${each.value.says}. What to do: docs/azure.md#alarm-${lower(each.key)}"
  scopes                  = [azurerm_application_insights.function.id]
  severity                = 2
  evaluation_frequency    = var.alarm_frequency
  window_duration         = local.window
  auto_mitigation_enabled = true
  tags                    = var.tags

  criteria {
    query                   = each.value.query
    time_aggregation_method = "Count"
    operator                = "GreaterThan"
    threshold               = 0
  }

  action {
    action_groups = var.action_group_ids
  }
}

# Nothing at all in a quarter of an hour in which the timer should have run three times.
resource "azurerm_monitor_scheduled_query_rules_alert_v2" "asleep" {
  resource_group_name     = var.resource_group_name
  location                = var.location
  name                    = "${var.name}-Asleep"
  display_name            = "${var.name}: Asleep"
  description             = "The function has not run for 15 minutes: nothing reconciles. What to do: docs/azure.md#alarm-asleep"
  scopes                  = [azurerm_application_insights.function.id]
  severity                = 2
  evaluation_frequency    = var.alarm_frequency
  window_duration         = "PT15M"
  auto_mitigation_enabled = true
  tags                    = var.tags

  criteria {
    query                   = "requests | where operation_Name == \"reconcile\""
    time_aggregation_method = "Count"
    operator                = "LessThan"
    threshold               = 1
  }

  action {
    action_groups = var.action_group_ids
  }
}

# Storage has no metric for one queue, so what counts is failures: a message that failed five times was put aside.
resource "azurerm_monitor_scheduled_query_rules_alert_v2" "dead_letters" {
  count = var.queue ? 1 : 0

  resource_group_name     = var.resource_group_name
  location                = var.location
  name                    = "${var.name}-DeadLetters"
  display_name            = "${var.name}: DeadLetters"
  description             = "Snapshots could not be handled five times. What to do: docs/azure.md#alarm-deadletters"
  scopes                  = [azurerm_application_insights.function.id]
  severity                = 2
  evaluation_frequency    = var.alarm_frequency
  window_duration         = "PT15M"
  auto_mitigation_enabled = true
  tags                    = var.tags

  criteria {
    query                   = "requests | where operation_Name == \"queue\" and success == false"
    time_aggregation_method = "Count"
    operator                = "GreaterThanOrEqual"
    threshold               = 5
  }

  action {
    action_groups = var.action_group_ids
  }
}
