// Package chart proves the Helm chart: rendered by the real Helm, judged by schemas made of Kubernetes' own API description, applied to
// real API servers that enforce its rights and policies, and run, as far as a machine without containers can, from what was rendered.
package chart
