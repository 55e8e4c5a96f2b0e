package stack

// featureFlags are CDK's recommended behaviours that touch what this stack uses. They are in code, and not in cdk.json, so that tests
// see the template that users get.
var featureFlags = map[string]any{
	"@aws-cdk/core:enablePartitionLiterals":          true,
	"@aws-cdk/core:checkSecretUsage":                 true,
	"@aws-cdk/aws-iam:minimizePolicies":              true,
	"@aws-cdk/aws-iam:standardizedServicePrincipals": true,
}
