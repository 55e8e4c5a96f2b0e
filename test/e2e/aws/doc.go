// Package aws takes the AWS side the whole way, as people do: the real `cdk deploy` of the real stack, real API servers, the exporter's
// binary on the stack's outputs, and a pod's token exchanged for credentials with which the AWS SDK reads what its role allows.
//
// Run it with `make e2e-aws`: it needs Node and what `npm ci` installs in cdk/, and runs in namespaces of its own on Linux, where the names
// of AWS lead to this machine. What plays AWS there is described in test/aws/cloudformation and test/aws/cloudformation/provision.
package aws
