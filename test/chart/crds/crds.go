//go:build crds

// Package crds names the module that the Prometheus operator's resources are described in. Nothing is built of it: the tests read the
// files beside its source.
package crds

import _ "github.com/prometheus-operator/prometheus-operator/pkg/versionutil"
