// Package azure takes a real API server's keys the whole way on Azure's side: the exporter that is run, the function app that is deployed,
// behind a host that speaks the Functions host's contract, and Azurite's blob storage, whose public container a relying party verifies by.
package azure
