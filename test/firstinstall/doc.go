// Package firstinstall follows docs/aws.md from nothing to a pod that calls S3, with the page's own commands and files, and counts what that
// asks of a person.
//
// The commands, files and flags are taken out of the page, so that page and bench cannot drift apart; what can't be followed literally on
// a machine without a cloud is a table in steps_test.go, with the reason. The real `cdk`, `jq`, `helm` and programs run in a copy of the
// repository, against real API servers, and the AWS of test/aws/stage.
//
// Run it with `make first-install`: it needs Linux, jq, Node, and what `npm ci` installs in cdk/.
package firstinstall
