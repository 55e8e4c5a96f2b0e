// Command aws is a publisher as an AWS Lambda function: it takes snapshots from an HTTP API, a Function URL or a queue, and keeps the
// documents in S3.
//
// The package that is deployed holds this program as "bootstrap" and, beside it, publisher.yaml and the clusters' files. The environment
// names the two buckets, DOCUMENTS_BUCKET and PRIVATE_BUCKET. One function answers five events, each in its own protocol:
//
//   - HTTP API or Function URL (payload format 2.0): publish.Handler. The only event whose sender is a stranger.
//   - SQS batch, with ReportBatchItemFailures: the body of each message is a snapshot.
//   - {"reconcile": true}, from a schedule every five minutes.
//   - {"statement": {...}} or {"statement": {...}, "dryRun": true}, an operator's word by direct invocation. lambda:InvokeFunction is his
//     authentication: give it to nobody else.
//   - Custom::KubeIamAssumeDocuments, from CloudFormation: the documents are published before anything is made that reads them.
//
// It needs these permissions and no more: s3:GetObject and s3:PutObject on the issuers' two documents in the documents bucket
// (PATH/.well-known/openid-configuration and PATH/openid/v1/jwks) and on state/* and log/* in the private one; and s3:ListBucket on both
// buckets, because without it S3 answers "denied" for an object that does not exist.
package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
)

func main() {
	logger := slog.New(lambdacontext.NewLogHandler())
	slog.SetDefault(logger) // what aws-lambda-go prints by itself is JSON, too
	h := &handler{logger: logger, responses: newResponseClient(), poll: time.Second}
	h.publisher, h.unusable = open(context.Background(), os.Getenv, logger)
	if h.unusable != nil {
		logger.Error("the function can't work", "event", "settings.invalid", "detail", h.unusable.Error())
	} else {
		h.door = publish.NewHandler(h.publisher)
	}
	lambda.Start(h)
}
