// Package gcp takes a real API server's keys the whole way on Google Cloud's side: the exporter that is run, the function that is deployed,
// and an independent server of Cloud Storage, whose public objects a relying party verifies by.
package gcp
