// Package dashboards holds the clouds' dashboards to the alarms and events that publishers have. Grafana's is held in test/observability.
package dashboards
