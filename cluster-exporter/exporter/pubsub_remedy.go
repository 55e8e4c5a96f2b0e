package exporter

const (
	stsService         = "Google's STS"
	credentialsService = "IAM Credentials"
	pubsubService      = "Pub/Sub"
)

// googleServices are those that are asked, by host.
var googleServices = map[string]string{
	"sts.googleapis.com": stsService, "iamcredentials.googleapis.com": credentialsService, "pubsub.googleapis.com": pubsubService,
}

// googleRemedies are what to do about the codes of each.
var googleRemedies = map[string]map[string]string{
	stsService: {
		"invalid_grant": "Google does not accept the exporter's token: is its key published, or in the provider's uploaded key set? " +
			"Is the provider's issuer the cluster's, and an audience of the provider the token's? Are the clocks right?",
		"unauthorized_client": "the provider's attribute condition or mapping does not let the exporter's service account in",
		"invalid_target":      "the provider in the settings is not that of the stack's output, or is disabled or deleted",
		"invalid_request":     "the provider in the settings is not that of the stack's output",
	},
	credentialsService: {
		"PERMISSION_DENIED": "the exporter's principal may not act as the service account: give it roles/iam.workloadIdentityUser on it, and enable the IAM Service Account Credentials API",
		"NOT_FOUND":         "there is no such service account: is it that of the stack's output?",
	},
	pubsubService: {
		"PERMISSION_DENIED": "who logged in may not publish to the topic: give it roles/pubsub.publisher on it; it can take minutes to be true",
		"NOT_FOUND":         "there is no such topic: is it that of the stack's output?",
		"UNAUTHENTICATED":   "Google does not accept its own login any more: correct the clock",
	},
}
