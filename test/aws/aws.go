// Package aws runs a stand-in for Amazon Web Services for tests: versitygw, an independent server of S3, IAM and STS, built
// from source the first time, which takes about two minutes of CPU (`make aws` shows the progress).
//
// StartS3 starts S3 alone, on a loopback address, in any test.
//
// StartCloud starts S3, IAM and STS under their own names, https://BUCKET.s3.REGION.amazonaws.com and so on, so that a program
// is tested as it is deployed: no endpoint, no port, no certificate of its settings is another than in production. For that
// the test process needs a network of its own, in which those names lead to it and nothing else can be reached:
//
//	func TestMain(m *testing.M) { aws.Main(m) }
//
// Main runs the test binary again, in namespaces of the Linux kernel in which an ordinary user is root: no right of the
// machine's root is needed or gained, and nothing of the machine's own network is touched. Where user namespaces are
// forbidden the tests fail and say how to allow them. What a test starts in there inherits the network; in its environment
// SSL_CERT_FILE and NODE_EXTRA_CA_CERTS name the stand-in's authority (Go's and Node's own variables), there is no proxy, and
// no variable of AWS.
//
// # What differs from Amazon's
//
//   - The account is always 000000000000, there are no managed policies, and no service but S3, IAM and STS. Cloud.Serve puts
//     further ones beside them.
//   - STS knows AssumeRoleWithWebIdentity and GetCallerIdentity only: let a user with a role's policies play whom a service
//     would lend the role to. A trust policy that does not fit is InvalidIdentityToken, not AccessDenied. A key set is kept for
//     5 min, and fetched again for an unknown key ID at most every 30 s.
//   - S3 keeps objects as files, so "a" and "a/b" cannot both be objects, and needs extended attributes of the file system
//     that tests have their temporary folders in. It never answers ConditionalRequestConflict. To who may not list a
//     bucket it says NoSuchKey of an absent object, not AccessDenied.
package aws

// AccountID is the account of every stand-in.
const AccountID = "000000000000"
