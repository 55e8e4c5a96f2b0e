// Package revoke lets the command withdraw a key at four publishers at once, each behind its own real door: the function of AWS behind Lambda's API,
// that of Google Cloud behind Cloud Run's IAM, that of Azure with tokens of Entra, and a standalone publisher by its directory. Strangers read the
// documents meanwhile.
package revoke
