// Package clouds lets one exporter send a real API server's keys to three publishers at once, the functions of AWS, Google Cloud and Azure
// as they are deployed, each on an independent server of its own cloud's storage. Each judges by itself; through a rotation, and while one
// of them can't be reached, whoever reads the issuer's documents goes on verifying tokens, and in the end all three have the same.
package clouds
