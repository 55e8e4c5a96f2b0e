// Package vault takes a real API server's tokens to a real Vault that `setup vault` has set up, through a rotation and a revocation.
package vault
