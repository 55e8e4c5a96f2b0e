package exporter

const (
	entraService   = "Entra"
	storageService = "the storage account"

	noFederation = "no federated credential of the identity has the cluster's issuer, the exporter's service account and the token's audience, each byte for byte; a new one can take minutes to be true"
	noEntraKey   = "Entra does not know the key that signed the exporter's token: is it published, and the documents at the issuer's URL those of this cluster?"
	noDocuments  = "Entra could not read the issuer's documents: look at the issuer's URL from outside"
)

// entraRemedies are what to do about Entra's codes.
var entraRemedies = map[string]string{
	"AADSTS70021":   noFederation,
	"AADSTS700211":  noFederation, // the issuer
	"AADSTS700212":  noFederation, // the audience
	"AADSTS700213":  noFederation, // the subject
	"AADSTS700016":  "there is no such client in the tenant: are clientID and tenantID those of the stack's output?",
	"AADSTS90002":   "there is no such tenant: is tenantID that of the stack's output, and the queue's URL of the same cloud?",
	"AADSTS7002137": noFederation, // the subject, nearly
	"AADSTS7002138": noFederation, // the subject, but for the case
	"AADSTS700024":  "the exporter's token has expired, or the clocks differ: is the token file a projected volume, which the kubelet renews?",
	"AADSTS700027":  noEntraKey,
	"AADSTS7000272": noEntraKey,
	"AADSTS50027":   "Entra does not accept the exporter's token: is the token file a projected volume, and the key that the API servers sign with RSA? Entra supports RS256 alone",
	"AADSTS5001661": noDocuments,
	"AADSTS50166":   noDocuments,
	"AADSTS90061":   noDocuments,
	"AADSTS900612":  noDocuments,
	"AADSTS53003":   "a Conditional Access policy for workload identities blocks the login",
}

// storageRemedies are what to do about the codes of Azure Storage.
var storageRemedies = map[string]string{
	"AuthorizationPermissionMismatch": "the identity may not send to the queue: give it Storage Queue Data Message Sender on it; it can take minutes to be true",
	"AuthorizationFailure":            "the storage account's firewall does not let the cluster in, or the identity may not send: allow the cluster's address, or use a private endpoint",
	"InvalidAuthenticationInfo":       "the storage account does not accept the login: is it in the tenant of the settings?",
	"AuthenticationFailed":            "the storage account does not accept the login: is it in the tenant of the settings, and the clock right?",
	"QueueNotFound":                   "there is no such queue: is the URL that of the stack's output?",
	"QueueBeingDeleted":               "the queue is being deleted: deploy the stack again",
	"AccountIsDisabled":               "the storage account is disabled",
}
