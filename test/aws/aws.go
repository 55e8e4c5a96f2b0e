// Package aws runs a stand-in for Amazon Web Services for tests: versitygw, an independent server of S3, IAM and STS, built
// from source the first time, which takes about two minutes of CPU (`go run ./test/aws/build` shows the progress).
//
// StartS3 starts S3 alone, on a loopback address.
package aws
